"""The embedded default on a scene it never saw, as a person runs it: processes, signals, a damaged cache, a full disk."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vlad
from vlad.cli import main
from vlad.config import make_settings
from vlad.pipeline import Analyzer
from vlad.segments import iou
from vlad.sim import World
from vlad.wording import COLOURS

VLAD = [sys.executable, "-m", "vlad"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer(make_settings())


@pytest.fixture(scope="module")
def analysis(analyzer: Analyzer, clip: Path) -> vlad.Analysis:
    return analyzer(clip)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """The command in this process: (exit status, stdout, stderr)."""

    def call(*arguments: str, cache: Path | None = None) -> tuple[int, str, str]:
        if cache:
            monkeypatch.setenv("VLAD_CACHE", str(cache))
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        return (int(stop.value.code or 0), *capfd.readouterr())

    return call


def test_the_fight_is_found_named_and_explained(analysis: vlad.Analysis, world: World) -> None:
    event = next(e for e in world.events if e.anomalous)
    best = max(analysis.segments, key=lambda s: iou((event.start, event.end), (s.start, s.end)))
    assert iou((event.start, event.end), (best.start, best.end)) > 0.3
    assert best.label == "fighting"
    said = next(e for e in analysis.explanations if e.segment == best)
    assert (said.verdict, said.fields["what"].split(":")[0]) == ("anomaly", "fighting")
    assert "appears to" in said.text
    assert said.prompt.startswith("explain@")
    assert all(best.start <= t <= best.end for t in said.times)


def colours_in(words: str) -> set[str]:
    return set(COLOURS) & set(re.findall(r"[a-z]+", words.lower()))


def unmeasured(analyzer: Analyzer, analysis: vlad.Analysis) -> tuple[set[str], set[str]]:
    """Colours that explanations name and no fact of their segment does, and all that they name."""
    strange, named = set(), set()
    for said in analysis.explanations:
        facts = " ".join(
            f.text for f in analyzer.facts(analysis.video, said.segment) if "colour" in f.kind or f.kind == "clothes"
        )
        own = colours_in(" ".join([said.text, *said.fields.values()]))
        strange, named = strange | (own - colours_in(facts)), named | own
    return strange, named


def test_words_of_a_rendered_scene_name_only_colours_that_were_measured(
    analyzer: Analyzer, analysis: vlad.Analysis, world: World
) -> None:
    strange, named = unmeasured(analyzer, analysis)
    assert strange == set()
    assert named, "it names some"
    assert named <= colours_in(" ".join(e.attributes["who"] for e in world.events)), "and they are those that are worn"


@pytest.mark.data
@pytest.mark.parametrize("name", ["c01.mp4", "c06.mp4", "c30.mp4"])
def test_words_of_real_footage_name_only_colours_that_were_measured(name: str) -> None:
    analyzer = Analyzer(make_settings(enter=0.01))  # whatever it is, something is said of it
    analysis = analyzer(Path(os.environ["VLAD_DATA"]) / "clips" / name)
    assert analysis.explanations
    assert unmeasured(analyzer, analysis)[0] == set()


def test_scores_are_absolute(analysis: vlad.Analysis) -> None:
    assert 0 <= analysis.track.scores.min() < 0.2
    assert analysis.track.scores.max() <= 1


@pytest.mark.slow
def test_a_class_is_a_word_that_a_user_may_change(clip: Path) -> None:
    found = vlad.analyze(clip, classes=("two people fighting", "a parked car"), explain=False)
    assert {s.label for s in found.segments} == {"two people fighting"}


@pytest.mark.slow
def test_demo_prints_segments_explanations_and_the_truth(run: Run, tmp_path: Path) -> None:
    start = time.monotonic()
    code, out, err = run("demo", "-o", str(tmp_path), cache=tmp_path / "cache")
    assert code == 0, err
    assert time.monotonic() - start < 60
    assert "compared with the scene's truth" in out
    assert "IoU" in out
    assert "appears to" in out
    assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_two_runs_share_a_cache(clip: Path, tmp_path: Path) -> None:
    env = {**os.environ, "VLAD_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(
            [*VLAD, "analyze", str(clip), "--no-explain", "-o", str(tmp_path / name)], env=env, stderr=subprocess.PIPE
        )
        for name in "ab"
    ]
    errors = [process.communicate()[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    first, second = (json.loads((tmp_path / name / "scene.json").read_text()) for name in "ab")
    assert first["track"] == second["track"]


@pytest.mark.slow
def test_a_damaged_cache_entry_is_computed_again(
    run: Run, clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ("analyze", str(clip), "--no-explain", "-o", str(tmp_path / "out"))
    assert run(*options, cache=tmp_path / "cache")[0] == 0
    before = (tmp_path / "out/scene.csv").read_text()
    (entry,) = (p for p in (tmp_path / "cache").rglob("*") if p.is_file())
    entry.write_bytes(entry.read_bytes()[:100])
    assert run(*options, cache=tmp_path / "cache")[0] == 0
    assert "damaged" in caplog.text
    assert (tmp_path / "out/scene.csv").read_text() == before


@pytest.mark.slow
def test_ctrl_c_leaves_what_is_finished_and_nothing_half_written(clip: Path, tmp_path: Path) -> None:
    names = []
    for index in range(12):
        (tmp_path / f"{index}.mp4").write_bytes(
            clip.read_bytes() + bytes([index])
        )  # twelve clips, no cache between them
        names.append(str(tmp_path / f"{index}.mp4"))
    env = {**os.environ, "VLAD_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*VLAD, "analyze", *names, "-o", str(tmp_path / "out")], env=env, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background inherits that it is ignored
    )  # fmt: skip
    while not (tmp_path / "out/0.html").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 130
    assert "interrupted; " in told
    assert "Traceback" not in told
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert len(written) % 3 == 0
    for name in written:
        if name.endswith(".json"):
            json.loads((tmp_path / "out" / name).read_text())


@pytest.mark.slow
def test_a_full_disk_is_one_line(clip: Path, tmp_path: Path) -> None:
    limited = f"ulimit -f 8; exec {sys.executable} -m vlad analyze {clip} --no-explain -o {tmp_path / 'out'}"
    env = {**os.environ, "VLAD_CACHE": str(tmp_path / "cache")}
    told = subprocess.run(
        ["bash", "-c", f"trap '' XFSZ; {limited}"], env=env, capture_output=True, text=True, check=False
    )
    assert told.returncode == 1
    assert "cannot be written" in told.stderr.splitlines()[-1]
    assert "Traceback" not in told.stderr
    assert list((tmp_path / "out").glob("*.html")) == []


@pytest.mark.slow
def test_a_scorer_refuses_the_features_of_another_encoder(run: Run, clip: Path, tmp_path: Path) -> None:
    code, _, err = run("analyze", str(clip), "--no-explain", "--set", "motion=false", "-o", str(tmp_path))
    assert code == 1
    assert "this scorer was trained on nano@" in err
    assert len(err.splitlines()) == 1


def test_doctor_finds_all_well(run: Run) -> None:
    code, out, _ = run("doctor")
    assert code == 0, out
    assert "checksums right" in out
    assert "next: vlad analyze" in out


@pytest.mark.slow
def test_json_on_stdout_is_nothing_else(run: Run, clip: Path, tmp_path: Path) -> None:
    _, out, _ = run("analyze", "--json", str(clip), "-o", str(tmp_path))
    (found,) = json.loads(out)
    assert found["explanations"][0]["model"].startswith("nano")


@pytest.mark.slow
@pytest.mark.parametrize("bits", [4, 8])
def test_few_bits_say_what_sixteen_say_and_leave_the_tower_whole(bits: int, clip: Path) -> None:
    analyzer = Analyzer(make_settings(explainer_bits=bits, max_explanations=1, cache=None))
    analysis = analyzer(clip)
    assert [e.verdict for e in analysis.explanations] == ["anomaly"]
    assert "fighting" in analysis.explanations[0].text
    model: Any = analyzer.explainer.engine.model  # type: ignore[attr-defined]
    quantised = {n for n, m in model.named_modules() if type(m).__name__ in ("Linear4bit", "Linear8bitLt")}
    assert quantised
    assert all("language_model" in n for n in quantised)
