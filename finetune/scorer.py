"""A head from weak labels: one trainer for all of them.

    vlad finetune ucf-crime data.features=FOLDER_OR_CSV [head=rtfm] [scorer.lr=1e-4] [out=runs/ucf-crime] ...

In: features on disk, each video with its classes or none. Out: a folder that `--set scorer_weights=DIR` takes: head.json,
head.safetensors, result.json with the recipe, the data's hashes and the selection score, log.jsonl, curves.png. The best epoch is chosen
on a held-out slice of the training videos; no test set is read here. A run that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from torch.nn.utils.rnn import pad_sequence

from vlad.config import make_settings
from vlad.device import choose_device
from vlad.encoder import ClipEncoder, load_encoder
from vlad.errors import InputError, SettingsError
from vlad.motion import MOTION_DIM
from vlad.scorers import HEADS
from vlad.scorers.head import EmbedText, Head, HeadConfig, save_head, sentences
from vlad.scorers.normality import NormalityHead
from vlad.scorers.vadclip import text_shape

from .adapt import remember
from .data import FeatureFile, find_features, known, manifest_encoder, with_audio
from .losses import LOSSES, Batch, top_mean
from .recipe import HeadRecipe, ScorerRecipe, load_head_recipe

Floats = npt.NDArray[np.float32]
NAMED = ("mil", "vadclip", "tpwng")  # heads that cannot do without class names
SOUND = 128  # numbers of sound a snippet
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Bag:
    """One video: its classes, () for a normal one, and `load(k)`, the features float32 [T, width] of its crop `k`."""

    name: str
    classes: tuple[str, ...]
    load: Callable[[int], Floats]
    crops: int = 1


def held(values: Floats, classes: tuple[str, ...], name: str = "") -> Bag:
    """A bag whose features are in memory."""
    return Bag(name, classes, lambda crop: values)


def shortened(values: Floats, length: int, fill: str) -> Floats:
    """At most `length` snippets [<= length, width]: means of even pieces, as VadCLIP does; `fill` repeat stretches shorter ones to it."""
    if not length or len(values) == length or (len(values) < length and fill == "mask"):
        return values
    edges = np.linspace(0, len(values), length + 1).astype(int)
    starts = np.minimum(edges[:-1], len(values) - 1)
    return np.stack([values[a : max(b, a + 1)].mean(axis=0) for a, b in zip(starts, edges[1:], strict=True)])


def batch_of(
    bags: Sequence[Bag], config: HeadConfig, recipe: ScorerRecipe, rng: np.random.Generator, device: torch.device
) -> Batch:
    """Bags side by side, one crop of each, normal ones first, with the recipe's noise; none longer than what the head sees at once."""
    length = min((n for n in (recipe.length, config.window) if n), default=0)
    arrays = [shortened(b.load(int(rng.integers(b.crops))), length, recipe.fill) for b in bags]
    values = pad_sequence([torch.tensor(a) for a in arrays], batch_first=True).to(device)
    lengths = torch.tensor([len(a) for a in arrays], device=device)
    if recipe.drift or recipe.noise:
        shift = values.std(dim=(0, 1)) * torch.randn(len(bags), 1, values.shape[2], device=device)
        values = values + recipe.drift * shift + recipe.noise * torch.randn_like(values)
    classes = torch.tensor([[float(label in b.classes) for label in config.labels] for b in bags], device=device)
    return Batch(values, torch.arange(values.shape[1], device=device)[None] < lengths[:, None], classes)


def selection_score(head: Head, bags: Sequence[Bag], names: torch.Tensor | None, device: torch.device) -> float:
    """ROC-AUC of bag scores on weak labels; without anomalous bags, minus the error on the normal ones. Higher is better."""
    head.eval()
    window, scores = head.config.window, []
    with torch.inference_mode():
        for bag in bags:
            whole = torch.tensor(bag.load(0), device=device)
            found = torch.cat([head(piece[None], None, names).logits[0] for piece in whole.split(window or len(whole))])
            scores.append(float(top_mean(found[None], torch.ones_like(found, dtype=torch.bool)[None])))
    truth = [bool(b.classes) for b in bags]
    return float(roc_auc_score(truth, scores)) if len(set(truth)) == 2 else -float(np.mean(scores))


@dataclass
class Training:
    """Everything that one run changes, so that it can be put aside and taken up."""

    head: Head
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    best: float = -np.inf
    kept: dict[str, torch.Tensor] | None = None
    since: int = 0  # epochs since the best

    def weights(self) -> dict[str, torch.Tensor]:
        """What training changes; a frozen text tower, a hundred times as large, is left out."""
        frozen = {name for name, p in self.head.named_parameters() if not p.requires_grad}
        return {k: v.detach().clone() for k, v in self.head.state_dict().items() if k not in frozen}

    def put(self, weights: dict[str, torch.Tensor]) -> None:
        """`weights` back into the head."""
        self.head.load_state_dict({**self.head.state_dict(), **weights})

    def save(self, path: Path) -> None:
        """Weights, the best so far, the optimiser's moments: tensors, no pickle."""
        state = {f"head.{k}": v for k, v in self.weights().items()}
        state |= {f"kept.{k}": v for k, v in (self.kept or {}).items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            state |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in moments.items()}
        facts = {"epoch": self.epoch, "best": self.best, "since": self.since}
        part = path.with_suffix(".part")
        save_file(
            {k: v.detach().cpu().clone().contiguous() for k, v in state.items()}, part, {"facts": json.dumps(facts)}
        )
        part.replace(path)

    def load(self, path: Path) -> None:
        """What `save` wrote."""
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
        self.epoch, self.best, self.since = facts["epoch"], facts["best"], facts["since"]
        state = load_file(path)

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

        self.put(part("head."))
        self.kept = part("kept.") or None
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in part("optimiser.").items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})


def train_head(
    head: Head, train: Sequence[Bag], select: Sequence[Bag], *, names: torch.Tensor | None, recipe: ScorerRecipe,
    extra: Sequence[Bag] = (), share: float = 0.0, device: torch.device | None = None, work: Path | None = None,
    tell: Callable[[dict[str, Any]], None] = lambda row: None,
) -> float:  # fmt: skip
    """Train `head` in place to its best epoch on `select`, and return the score it had there.

    extra: other bags, of which each step takes `share`. work: folder for a checkpoint, from which a stopped run goes on. tell: gets a
    log row an epoch.
    """
    device = device or torch.device("cpu")
    head.to(device)
    names = None if names is None else names.to(device)
    kinds = [[[b for b in bags if bool(b.classes) == wanted] for bags in (train, extra)] for wanted in (False, True)]
    if head.config.kind == "normality":
        kinds = kinds[:1]
    steps = max(1, max(len(own) for own, _ in kinds) // recipe.batch)
    trained = [p for p in head.parameters() if p.requires_grad]
    run = Training(head, torch.optim.AdamW(trained, lr=recipe.lr, weight_decay=recipe.weight_decay))
    checkpoint = work / CHECKPOINT if work else None
    if checkpoint and checkpoint.is_file():
        run.load(checkpoint)
    bar = Progress(disable=not sys.stderr.isatty())
    with bar:
        task = bar.add_task(head.config.kind, total=recipe.epochs, completed=run.epoch)
        while run.epoch < recipe.epochs and not (recipe.patience and run.since >= recipe.patience):
            loss = _epoch(run, kinds, share, steps, names, recipe, device)
            score = selection_score(head, select, names, device)
            run.since += 1
            if score >= run.best:
                run.best, run.since = score, 0
                run.kept = run.weights()
            tell({"stage": head.config.kind, "epoch": run.epoch, "loss": round(loss, 4), "selection": round(score, 4)})
            run.epoch += 1
            if checkpoint:
                run.save(checkpoint)
            bar.update(task, completed=run.epoch)
    assert run.kept is not None
    run.put(run.kept)
    head.to(torch.device("cpu"))
    head.eval()
    return run.best


def _epoch(
    run: Training, kinds: list[list[list[Bag]]], share: float, steps: int, names: torch.Tensor | None, recipe: ScorerRecipe,
    device: torch.device,
) -> float:  # fmt: skip
    """One epoch, drawn from its own seed, so that a run that goes on is the run that was not stopped; its mean loss."""
    loss_of = LOSSES[run.head.config.kind]
    rng = np.random.default_rng([recipe.seed, run.epoch])
    torch.manual_seed(recipe.seed * 100_003 + run.epoch)
    run.head.train()
    total = 0.0
    for step in range(steps):
        done = (run.epoch * steps + step) / (recipe.epochs * steps)
        for group in run.optimiser.param_groups:
            group["lr"] = recipe.lr * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * done)))
        bags = [bag for kind in kinds for bag in _draw(kind, recipe.batch, share, rng)]
        batch = batch_of(bags, run.head.config, recipe, rng, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            out = run.head(batch.values, batch.mask, names)
        loss = loss_of(_in_float(out), batch, recipe)
        run.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(run.head.parameters()), 1.0)
        run.optimiser.step()
        total += loss.item() / steps
    return total


def _in_float(out: Any) -> Any:
    """Losses are summed in float32, whatever the head ran in."""
    extra = {k: v.float() if v.is_floating_point() else v for k, v in out.extra.items()}
    return out._replace(
        logits=out.logits.float(), classes=None if out.classes is None else out.classes.float(), extra=extra
    )


def _draw(kind: list[list[Bag]], count: int, share: float, rng: np.random.Generator) -> list[Bag]:
    """`count` bags of one kind, a share of them of the second sort where there are any."""
    own, extra = kind
    others = round(count * share) if extra else 0
    return [own[int(i)] for i in rng.integers(0, len(own), count - others)] + [
        extra[int(i)] for i in rng.integers(0, max(len(extra), 1), others)
    ]


def split(bags: Sequence[Bag], share: float, seed: int) -> tuple[list[Bag], list[Bag]]:
    """Training bags and the held-out slice, `share` of each kind and at least one. Raises InputError where a kind has too few."""
    rng = np.random.default_rng([seed, 7])
    train: list[Bag] = []
    select: list[Bag] = []
    for wanted in (False, True):
        kind = [b for b in bags if bool(b.classes) == wanted]
        if len(kind) == 1:
            raise InputError(f"only one {'anomalous' if wanted else 'normal'} video; training and selection need two")
        order = rng.permutation(len(kind))
        count = max(1, round(len(kind) * share)) if kind else 0
        select += [kind[i] for i in order[:count]]
        train += [kind[i] for i in order[count:]]
    return train, select


def read_bags(
    files: Sequence[FeatureFile], classes: dict[str, str], audio: bool
) -> tuple[list[Bag], int, dict[str, str]]:
    """Bags of feature files, their width, and the hash of each. Raises InputError that names every file that does not fit."""
    bags, hashes, faults = [], {}, []
    widths: dict[int, list[str]] = {}
    for file in known(files):
        try:
            load = with_audio(file) if audio else file.load
            first = load(0)
        except InputError as error:
            faults.append(str(error))
            continue
        widths.setdefault(first.shape[1], []).append(file.name)
        whole = hashlib.sha256()
        for path in (*file.crops, *([file.audio] if audio and file.audio else [])):
            whole.update(path.read_bytes())
        hashes[file.name] = whole.hexdigest()
        words = tuple(dict.fromkeys(classes.get(c, c) for c in file.classes or ()))
        bags.append(Bag(file.name, words, load, file.count))
    if len(widths) > 1:
        usual = max(widths, key=lambda w: len(widths[w]))
        odd = [f"{name} ({w})" for w, names in widths.items() if w != usual for name in names]
        faults.append(f"{len(odd)} files have not {usual} numbers a snippet: {', '.join(odd[:20])}")
    unknown = sorted({c for b in bags for c in b.classes} - set(classes.values())) if classes else []
    if unknown:
        faults.append(f"unknown classes {', '.join(unknown)}; name them in data.classes")
    if faults:
        raise InputError("; ".join(faults[:20]) + (f"; and {len(faults) - 20} more" if len(faults) > 20 else ""))
    return bags, next(iter(widths)), hashes


def text_encoder(name: str) -> ClipEncoder:
    """The encoder whose text tower reads class names: a preset's. Raises WeightsError where its weights are not here."""
    return load_encoder(make_settings(name, cache=None))


def new_head(config: HeadConfig, encoder: ClipEncoder | None, text: str) -> Head:
    """An untrained head; those with a text tower of their own take the encoder's, and normality knows which features tell of movement."""
    if config.kind == "normality" and config.clip and not config.audio and config.width > config.clip + MOTION_DIM:
        return HEADS[config.kind](replace(config, options={"motion": MOTION_DIM, **config.options}))  # type: ignore[no-any-return]
    if config.kind not in ("vadclip", "tpwng"):
        return HEADS[config.kind](config)  # type: ignore[no-any-return]
    assert encoder is not None
    tokenizer = "nano" if text == "nano" else make_settings(text).encoder
    shape = text_shape(encoder.model, tokenizer)
    short = {} if shape["context"] > 60 else {"prefix": 4, "postfix": 4}
    head = HEADS[config.kind](HeadConfig(**{**vars(config), "options": {**short, **config.options, "text": shape}}))
    own = head.clipmodel.state_dict()
    head.clipmodel.load_state_dict({k: v.float() for k, v in encoder.model.state_dict().items() if k in own})
    return head  # type: ignore[no-any-return]


def run(recipe: HeadRecipe) -> float:
    """Train by a recipe into its folder; the selection score."""
    bags, width, hashes = _bags_of(recipe)
    train, select = split(bags, recipe.data.select, recipe.scorer.seed)
    both = {bool(b.classes) for b in train} == {False, True}
    if recipe.head != "normality" and not both:
        raise InputError(
            f"{recipe.data.features}: {recipe.head} needs normal and anomalous videos; head=normality learns from normal ones alone"
        )
    words = recipe.data.classes.values()
    head, embed_text = _head_of(
        recipe, width, tuple(dict.fromkeys([*words, *sorted({c for b in bags for c in b.classes})]))
    )
    out = Path(recipe.out)
    out.mkdir(parents=True, exist_ok=True)
    rows = _resumed(out / "log.jsonl", fresh=not (out / CHECKPOINT).is_file())

    def tell(row: dict[str, Any]) -> None:
        kept = [
            r for r in rows if r["epoch"] < row["epoch"]
        ]  # one that was logged and then lost with its checkpoint is done again
        rows[:] = [*kept, row]
        (out / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))

    if isinstance(head, NormalityHead):
        fit_normal(head, train, recipe.scorer.seed)
    score = train_head(
        head, train, select, names=head.names(sentences(head.config.labels), embed_text), recipe=recipe.scorer,
        device=choose_device(recipe.device), work=out, tell=tell,
    )  # fmt: skip
    if isinstance(head, NormalityHead):
        head.learn_scale([torch.tensor(b.load(0)) for b in select])
    save_head(head, out)
    if both:
        remember(head, embed_text, [b.load(0) for b in train], [(b.load(0), bool(b.classes)) for b in select], out)
    result = {
        "recipe": recipe.model_dump(), "selection": score, "train": len(train), "select": sorted(b.name for b in select),
        "parameters": sum(p.numel() for p in head.parameters() if p.requires_grad), "data": hashes,
    }  # fmt: skip
    (out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    draw_curves(rows, out / "curves.png")
    if recipe.tensorboard:
        to_tensorboard(rows, out)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return score


def _bags_of(recipe: HeadRecipe) -> tuple[list[Bag], int, dict[str, str]]:
    """Bags of the recipe's features, their width, and the hash of each; only normal ones where no other may be seen."""
    data = recipe.data
    root, audio = (Path(name) if name else None for name in (data.root, data.audio))
    files = find_features(Path(data.features), root=root, audio=audio)
    bags, width, hashes = read_bags(files, data.classes, recipe.head == "hl-net" and audio is not None)
    return [b for b in bags if recipe.head != "normality" or not b.classes], width, hashes


def _head_of(recipe: HeadRecipe, width: int, labels: tuple[str, ...]) -> tuple[Head, EmbedText]:
    """The untrained head, from the recipe's seed, and what reads class names for it."""
    kind, data = recipe.head, recipe.data
    if kind in NAMED and not (data.text and data.clip):
        raise SettingsError(
            f"{kind} reads class names: name a preset whose text tower does, such as data.text=clip-b16 data.clip=512"
        )
    encoder = text_encoder(data.text) if kind in (*NAMED, "causal") and data.text and data.clip else None
    config = HeadConfig(
        kind, data.encoder if data.encoder != "manifest" else manifest_encoder(Path(data.features)), width,
        data.clip if encoder or kind != "causal" else 0, labels, audio=SOUND if data.audio and kind == "hl-net" else 0,
        smooth=recipe.average, window=recipe.window, options=recipe.options,
    )  # fmt: skip
    torch.manual_seed(recipe.scorer.seed)
    return new_head(config, encoder, data.text), encoder.embed_text if encoder else _wordless


def _wordless(texts: list[str]) -> Floats:
    """For a head that reads no class names."""
    return np.zeros((len(texts), 1), np.float32)


def fit_normal(head: NormalityHead, train: Sequence[Bag], seed: int) -> None:
    """The space of normal features, from normal bags; what is to be foretold lives there."""
    normal = torch.cat([torch.tensor(b.load(0)) for b in train if not b.classes])
    head.learn_space(normal, torch.Generator().manual_seed(seed))


def _resumed(log: Path, *, fresh: bool) -> list[dict[str, Any]]:
    """Rows of a log whose run goes on, less a last line that a kill tore; a new run begins a new log."""
    if fresh:
        log.unlink(missing_ok=True)
    lines = log.read_text().splitlines() if log.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def draw_curves(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Loss and selection score by epoch; nothing without matplotlib, which is an extra."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(7, 3), dpi=120, layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "selection"), strict=True):
        axes.plot([r["epoch"] for r in rows], [r[name] for r in rows], color="#1f5fa8")
        axes.set(xlabel="epoch", ylabel=name)
    figure.savefig(path)


def to_tensorboard(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """The same rows for TensorBoard. Raises SettingsError where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise SettingsError("tensorboard=true needs it: pip install tensorboard") from None
    with SummaryWriter(str(folder)) as writer:
        for row in rows:
            for name in ("loss", "selection"):
                writer.add_scalar(name, row[name], row["epoch"])


def main(arguments: Sequence[str]) -> int:
    """`vlad finetune RECIPE key=value...`. Raises SettingsError or InputError, with every fault at once."""
    recipe = load_head_recipe(arguments[0], arguments[1:])
    score = run(recipe)
    print(f"{recipe.head}: selection score {score:.4f}, in {recipe.out}; use it with --set scorer_weights={recipe.out}")
    return 0
