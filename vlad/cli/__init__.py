"""One verb for each thing a person comes to do; words and exit codes, no work of its own.

In: the command line. Out: tables and files; exit 0 all well, 1 an expected failure (one line each on stderr), 2 wrong usage,
130 interrupted. Knows no model: everything heavy is imported by the verb that needs it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

import vlad
from vlad.errors import ClusterError, InputError, SettingsError, VladError

from . import again, language, live, many, movement, place, reviewing, rules
from .common import (
    Adopt,
    Changes,
    Preset,
    Ray,
    Together,
    check_folder,
    complain,
    pass_on,
    printable,
    progress_bar,
    quiet,
    read_changes,
    show,
    verb,
)

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Finds the moments of a surveillance video that do not belong, shows when, and says why.",
)  # fmt: skip
models = typer.Typer(no_args_is_help=True, help="Published weights that presets use.")
app.add_typer(models, name="models")
app.add_typer(language.prompts, name="prompts")
app.add_typer(rules.rules, name="rules")
app.add_typer(movement.movement, name="movement")
app.add_typer(place.place, name="place")
app.command("find-again")(again.find_again)
app.command()(live.watch)
for name in ("users", "groups", "audit", "verdicts"):
    app.add_typer(getattr(reviewing, name), name=name)
for name in ("app", "work", "backup", "restore"):
    app.command(name)(getattr(reviewing, name))
for words in (language.explain, language.summarise, language.chat):
    app.command()(words)


def _version(asked: bool) -> None:
    if asked:
        print(f"vlad {vlad.__version__}")
        raise typer.Exit


@app.callback()
def whole(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and end.")
    ] = False,
) -> None:
    """Finds the moments of a surveillance video that do not belong, shows when, and says why."""


PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
INTERRUPTED = 130
DRAWN = "the demo, since its scene is drawn"
FINETUNE = """usage: vlad finetune RECIPE [key=value...] [--plan] [--anew]

  nano           the embedded weights, all of them, from the simulated world and open photos
  ucf-crime      a scorer on features of UCF-Crime; xd-violence, shanghaitech: on theirs
  custom         a scorer on features of your own videos
  llava-lora     a LoRA adapter for a LLaVA-family model, on rows of `vlad instruct`; llava-qlora: over 4-bit weights
  FILE.yaml      a recipe of your own

Every key of a recipe can be changed: vlad finetune ucf-crime data.features=FOLDER head=rtfm out=runs/mine
The recipes lie beside finetune/recipe.py, each key with a comment on its effect; a bad one tells all its faults at once, before anything is loaded.
Heads are trained as their authors do on ucf-crime, xd-violence and shanghaitech; schedule=short is vlad's own way, for a processor.
--plan prints rows, steps, parameters and memory of a scorer's training, and stops.
A run that was stopped goes on where it was when started again with the same `out`, recipe and features; --anew begins it again."""


@app.command()
def analyze(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Clips; names with a leading dash after --.")],
    preset: Preset = "nano",
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")] = Path("vlad-out"),
    explain: Annotated[bool, typer.Option("--explain/--no-explain", help="Ask the language model why.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else.")] = False,
    adopt: Adopt = "",
    ray: Ray = "",
    together: Together = 1,
    set_: Changes = None,
) -> None:
    """Flag the spans of each clip that do not belong, and write NAME.json, NAME.csv and NAME.html."""
    changes = read_changes(set_ or [])
    settings = vlad.make_settings(preset, **({} if explain else {"explain": False}), **changes)
    check_folder(out)
    quiet()
    results = many.there(paths, settings, out, adopt, ray) if ray else many.here(paths, settings, out, adopt, together)
    done: dict[int, vlad.Analysis] = {}
    code = 0
    try:
        for number, found in results:
            if isinstance(found, VladError):
                complain(f"{paths[number]}: {found}" if isinstance(found, ClusterError) else str(found))
                code = 1
                continue
            done[number], written = found
            if not as_json:
                show(done[number], written)
    except KeyboardInterrupt:
        complain(f"interrupted; {len(done)} of {len(paths)} clips are finished, their results are in {out}")
        code = INTERRUPTED
    if as_json:
        to_dict = import_module("vlad.report").to_dict
        print(json.dumps([to_dict(done[number]) for number in sorted(done)], ensure_ascii=True))
    raise typer.Exit(code)


@app.command()
def objects(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE_OR_PICTURE...", help="Clips or pictures.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else.")] = False,
    set_: Changes = None,
) -> None:
    """Boxes of people and things, in pictures or at a set rate (objects_rate) in clips."""
    settings = vlad.make_settings(**read_changes(set_ or []))
    quiet()
    look = verb("vlad.looks", "look")
    found, code = [], 0
    for path in paths:
        try:
            found.append(look(path, settings))
        except VladError as error:
            complain(str(error))
            code = 1
    if as_json:
        print(json.dumps(found, ensure_ascii=True))
    else:
        for one in found:
            labels = [box["label"] for frame in one["frames"] for box in frame["boxes"]]
            told = ", ".join(f"{labels.count(name)} {name}" for name in dict.fromkeys(labels)) or "nothing"
            print(printable(f"{one['path']}: {len(one['frames'])} frames; boxes: {told}"))
    raise typer.Exit(code)


@app.command()
def anonymise(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP...", help="Clips; the originals stay as they are.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for NAME.mp4, without sound.")],
    what: Annotated[str, typer.Option(help="faces or people.")] = "faces",
    how: Annotated[str, typer.Option(help="mosaic, blur or silhouette.")] = "mosaic",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else.")] = False,
    set_: Changes = None,
) -> None:
    """Cover every face (or person) that is found, for as long as it is there. What no look finds stays: look before anything leaves the house."""
    for name, value, known in (("what", what, ("faces", "people")), ("how", how, ("mosaic", "blur", "silhouette"))):
        if value not in known:
            raise SettingsError(f"--{name} {value}: expected one of {', '.join(known)}")
    stems = [clip.stem for clip in clips]
    double = sorted({stem for stem in stems if stems.count(stem) > 1})
    if double:
        raise InputError(f"two clips would be written as {double[0]}.mp4; name another folder for one of them")
    settings = vlad.make_settings(**read_changes(set_ or []))
    check_folder(out)
    quiet()
    write = verb("vlad.anonymise", "write")
    found, code = [], 0
    for clip in clips:
        try:
            found.append(write(clip, out, settings, what=what, how=how))
        except VladError as error:
            complain(str(error))
            code = 1
    if as_json:
        print(json.dumps(found, ensure_ascii=True))
    for one in () if as_json else found:
        told = f"{one['written']}: {one['tracks']} {what} followed and covered, {one['second_look']} more boxes found at a second look"
        print(printable(told))
        for doubt in one["look_at"]:
            print(printable(f"  look at {doubt['start']:.1f} to {doubt['end']:.1f} s: not sure what was covered there"))
    raise typer.Exit(code)


@app.command()
def demo(
    clip: Annotated[Path | None, typer.Option(help="Your own clip instead of a rendered scene.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of the rendered scene.")] = 1_000_007,
) -> None:
    """Render a CCTV scene with an anomaly, analyse it, and compare with its truth."""
    check_folder(out)
    quiet()
    from vlad import demo as scenes

    world = None if clip else scenes.scene(seed)
    path = clip or out / "scene.mp4"
    if world:
        print(f"rendering {path} ({world.duration:.0f} s, seed {world.seed})", file=sys.stderr)
        scenes.render(world, path)
    settings = vlad.make_settings()
    with progress_bar(path.name) as tell:
        analysis = vlad.Analyzer(settings)(path, on_progress=tell)
    show(analysis, scenes.save_report(analysis, out, settings, "" if clip else DRAWN))
    for explanation in analysis.explanations:
        start, end = explanation.segment.start, explanation.segment.end
        fields = "; ".join(f"{name}: {value}" for name, value in explanation.fields.items())
        print(printable(f"{start:.1f}-{end:.1f} s {explanation.verdict}: {explanation.text} ({fields})"))
    if world:
        print("\n".join(scenes.compare(world, analysis)))


@app.command()
def doctor() -> None:
    """Say what is installed, which device, which weights are here, and what to run next."""
    quiet()
    from vlad.doctor import report

    lines, well = report()
    print("\n".join(lines))
    raise typer.Exit(0 if well else 1)


@models.command("list")
def models_list() -> None:
    """Every preset's weights with size, licence, revision, and whether they are here."""
    print(import_module("vlad.weights").describe())


@models.command("pull")
def models_pull(preset: Annotated[str, typer.Argument(help="nano, clip-b16 or clip-l14.")]) -> None:
    """Fetch the weights of a preset; the only verb that uses the network."""
    for path in import_module("vlad.weights").pull(preset):
        print(path)


@models.command("merge")
def models_merge(
    base: Annotated[str, typer.Argument(help="nano, a folder, or a hub name that is here.")],
    adapter: Annotated[str, typer.Argument(help="Folder of a PEFT adapter for it.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the merged model.")],
) -> None:
    """Write an adapter into the weights of its base, for servers that take no adapters."""
    check_folder(out)
    print(verb("vlad.finetune.sft", "merge")(base, adapter, out))


@app.command("eval", context_settings=PASS_ON)
def evaluate(context: typer.Context) -> None:
    """Measure: `vlad eval nano`, `vlad eval speed`."""
    pass_on("vlad.eval.run", context.args)


def _crops(value: int) -> int:
    if value not in (1, 5, 10):
        raise typer.BadParameter("choose 1, 5 or 10")
    return value


@app.command()
def features(
    sources: Annotated[
        list[Path], typer.Argument(metavar="FOLDER_OR_LIST...", help="Folders, clips, lists of paths, CSVs.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for NAME.npy and manifest.jsonl.")],
    preset: Preset = "nano",
    crops: Annotated[int, typer.Option(callback=_crops, help="1, 5 or 10 a frame.")] = 1,
    sound: Annotated[bool, typer.Option("--sound", help="Also NAME__logmel.npy, of clips with a sound track.")] = False,
    ray: Ray = "",
    together: Together = 1,
    set_: Changes = None,
) -> None:
    """Videos to features on disk, as researchers keep them; goes on where it was stopped."""
    settings = vlad.make_settings(preset, **read_changes(set_ or []))
    made = verb("vlad.finetune.extract", "run")(
        sources, out, settings, crops=crops, sound=sound, ray=ray, together=together
    )
    raise typer.Exit(made)


@app.command(context_settings=PASS_ON)
def finetune(context: typer.Context) -> None:
    """Train: `vlad finetune nano` rebuilds the embedded weights; `vlad finetune RECIPE key=value...` trains a scorer."""
    if context.args and context.args[0] in ("-h", "--help"):
        print(FINETUNE)
        raise typer.Exit
    if not context.args or context.args[0].startswith("-"):
        complain(FINETUNE)
        raise typer.Exit(2)
    pass_on("vlad.finetune.run", context.args)


@app.command()
def instruct(
    source: Annotated[str, typer.Argument(help="A file of HIVAU, UCA, CUVA, VAU-Bench, LLaVA, verdicts; or sim.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="JSONL of rows for `vlad finetune llava-lora`.")],
    kind: Annotated[
        str, typer.Option(help="hivau, uca, cuva, vau-bench, llava or verdicts, where it cannot be told.")
    ] = "",
    media: Annotated[
        Path | None, typer.Option(help="Folder of its clips and pictures; missing ones are named.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Of the simulated world: questions.")] = 2000,
    first: Annotated[int, typer.Option(min=0, max=99_999, help="Of the simulated world: first seed.")] = 0,
    tests: Annotated[
        bool,
        typer.Option(
            "--tests", help="Keep test videos, to cross-validate on them; measure nothing else by what is tuned so."
        ),
    ] = False,
) -> None:
    """Turn instruction data of any of the field's shapes into rows to tune on; UCF-Crime's test videos are left out and counted."""
    made = verb("vlad.finetune.instruct", "run")
    for line in made(source, out, kind=kind, media=media, count=count, first=first, tests=tests):
        print(printable(line))


Clips = Annotated[list[Path] | None, typer.Option(help="Clips, folders of clips, or lists; may be repeated.")]
Scorer = Annotated[str, typer.Argument(help="A trained scorer's folder, or nano.")]
Folder = Annotated[Path, typer.Option("-o", "--out", help="Folder of the scorer that comes out.")]


@app.command()
def adapt(
    scorer: Scorer,
    out: Folder,
    normal: Clips = None,
    anomalous: Clips = None,
    relearn: Annotated[
        bool, typer.Option("--relearn", help="Of a bn-wvad head: take its statistics anew from the normal clips.")
    ] = False,
    preset: Preset = "nano",
    set_: Changes = None,
) -> None:
    """Fit a scorer to a new scene from a few clips of it, without forgetting what it knew."""
    settings = vlad.make_settings(preset, **read_changes(set_ or []))
    check_folder(out)
    for line in verb("vlad.finetune.adapt", "run")(
        scorer, out, settings, normal=normal or [], anomalous=anomalous or [], relearn=relearn
    ):
        print(line)


@app.command()
def calibrate(
    rate: Annotated[
        float, typer.Option("--false-alarms-per-hour", min=0.01, help="At most so many on normal footage.")
    ],
    scorer: Annotated[str, typer.Argument(help="A trained scorer's folder, or nano.")] = "",
    normal: Annotated[
        list[Path] | None, typer.Option(help="Clips of normal footage, folders, or lists; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the scorer that comes out.")] = None,
    camera: Annotated[
        str,
        typer.Option(
            help="Of a library: its own threshold, by its clips and stream in which nobody confirmed anything."
        ),
    ] = "",
    library: reviewing.Where = reviewing.HERE,
    folder: reviewing.Folder = None,
    validation: Annotated[
        Path | None, typer.Option(help="CSV path,label,start,end (s) of clips with truth: scores become probabilities.")
    ] = None,
    preset: Preset = "nano",
    set_: Changes = None,
) -> None:
    """Set the threshold by normal footage, with the guarantee that a conformal quantile gives; with --validation, probabilities."""
    if camera:
        if scorer or normal or out or validation:
            raise SettingsError("calibrate: --camera takes the scores that its library has; no scorer, clips or folder")
        for line in verb("vlad.finetune.calibrate", "run_camera")(reviewing.opened(library, folder), camera, rate):
            print(printable(line))
        return
    if not scorer or not normal or out is None:
        raise SettingsError("calibrate: expected a SCORER, --normal and -o; or --camera and --library")
    settings = vlad.make_settings(preset, **read_changes(set_ or []))
    check_folder(out)
    made = verb("vlad.finetune.calibrate", "run")
    for line in made(scorer, settings, out, normal=normal, rate=rate, validation=validation):
        print(line)


@app.command()
def score(
    scorer: Scorer,
    sources: Annotated[list[Path], typer.Argument(metavar="FEATURES...", help="Folders, lists or CSVs of features.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for NAME.npy, a score a snippet.")],
    audio: Annotated[Path | None, typer.Option(help="Folder of NAME__vggish.npy, for a scorer with sound.")] = None,
    fps: Annotated[
        float, typer.Option(min=0.1, help="Frames a second of the videos, 16 of which are a snippet.")
    ] = 30.0,
    preset: Preset = "nano",
    set_: Changes = None,
) -> None:
    """Score features on disk, for `vlad eval detection`."""
    settings = vlad.make_settings(preset, **read_changes(set_ or []))
    check_folder(out)
    print(verb("vlad.finetune.score", "run")(scorer, sources, out, settings, audio=audio, fps=fps))


@app.command("import")
def import_(
    kind: Annotated[str, typer.Argument(help="vadclip, hl-net, ur-dmu, rtfm or pel4vad.")],
    file: Annotated[Path, typer.Argument(help="The published state dict, a .pth or .pkl.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the scorer.  [default: KIND]")] = None,
    labels: Annotated[
        str, typer.Option(help="Of vadclip and pel4vad: ucf-crime, xd-violence, or class names with commas.")
    ] = "ucf-crime",
    encoder: Annotated[
        str, typer.Option(help="What made the features it was trained on.  [default: vadclip-b16, or KIND-i3d]")
    ] = "",
) -> None:
    """Turn published weights into a scorer's folder; nothing in the file is run."""
    out = out or Path(kind)
    check_folder(out)
    print(verb("vlad.finetune.published", "run")(kind, file, out, labels=labels, encoder=encoder))


def main(arguments: Sequence[str] | None = None) -> None:
    """The `vlad` command; always ends in SystemExit."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="vlad")
    except VladError as error:
        complain(str(error))
        sys.exit(1)
    except BrokenPipeError:  # `vlad ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
