"""A head from weak labels: one trainer for all of them.

    vlad finetune ucf-crime data.features=FOLDER_OR_CSV [head=rtfm] [schedule=short] [scorer.lr=1e-4] [out=runs/ucf-crime] ... [--plan] [--anew]

In: features on disk, each video with its classes or none. Out: a folder that `--set scorer_weights=DIR` takes: head.json,
head.safetensors, result.json with the recipe, the data's hashes and the selection score, log.jsonl, curves.png. The best epoch is chosen
on a held-out slice of the training videos; no test set is read here. A run that was stopped goes on, by the recipe and the data that it began
with; --anew begins it again. --plan says what would be trained, and stops.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import psutil
import torch
from rich.progress import Progress
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score

from vlad.config import Settings, make_settings
from vlad.device import choose_device
from vlad.encoder import ClipEncoder, load_clip
from vlad.errors import InputError, SettingsError
from vlad.motion import MOTION_DIM
from vlad.scorers import HEADS
from vlad.scorers.head import EmbedText, Head, HeadConfig, save_head, sentences
from vlad.scorers.normality import NormalityHead
from vlad.scorers.vadclip import text_shape
from vlad.seen import SEEN_DIM

from .adapt import remember
from .bags import Bag, Draws, Floats, batch_of, read_bags, split
from .data import SOUND, find_features, manifest_encoder, read_clicks
from .losses import LOSSES, glance, top_mean
from .recipe import HeadRecipe, ScorerRecipe, load_head_recipe

NAMED = ("mil", "vadclip", "tpwng")  # heads that cannot do without class names
PLAIN = "ViT-B-32"  # any of open_clip's models with CLIP's own tokenizer
CHECKPOINT = "checkpoint.safetensors"


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

    def save(self, path: Path, of: Mapping[str, Any]) -> None:
        """Weights, the best so far, the optimiser's moments: tensors, no pickle. of: the recipe and the data's hash."""
        state = {f"head.{k}": v for k, v in self.weights().items()}
        state |= {f"kept.{k}": v for k, v in (self.kept or {}).items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            state |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in moments.items()}
        facts = {"epoch": self.epoch, "best": self.best, "since": self.since, "of": of}
        part = path.with_suffix(".part")
        save_file(
            {k: v.detach().cpu().clone().contiguous() for k, v in state.items()}, part, {"facts": json.dumps(facts)}
        )
        part.replace(path)

    def load(self, path: Path, of: Mapping[str, Any]) -> None:
        """What `save` wrote. Raises InputError that names what is not as it was, and for a file that is none."""
        try:
            with safe_open(path, "pt") as file:
                facts = json.loads(file.metadata()["facts"])
            state = load_file(path)
            began: dict[str, Any] = facts.get("of", {})
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: cannot be read ({str(error)[:120]}); begin anew with --anew") from None
        changed = [
            f"{k} (was {_short(began.get(k))}, is {_short(of.get(k))})"
            for k in sorted(began.keys() | of.keys())
            if began.get(k) != json.loads(json.dumps(of.get(k)))
        ]
        if changed:
            raise InputError(
                f"{path.parent}: the run that stopped here began with another {', '.join(changed[:20])}; "
                "go on as it began, name another out=FOLDER, or begin anew with --anew"
            )
        self.epoch, self.best, self.since = facts["epoch"], facts["best"], facts["since"]

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

        self.put(part("head."))
        self.kept = part("kept.") or None
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in part("optimiser.").items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})


def _short(value: Any) -> str:
    words = json.dumps(value)
    return words if len(words) < 40 else f"{words[:36]}..."


def optimiser_of(head: Head, recipe: ScorerRecipe) -> torch.optim.Optimizer:
    """The recipe's, over what is trained; parameters whose names begin as one of `halved` learn at half the rate."""
    groups: list[dict[str, Any]] = [{"params": [], "share": share} for share in (1.0, 0.5)]
    for name, p in head.named_parameters():
        if p.requires_grad:
            groups[name.startswith(recipe.halved) if recipe.halved else False]["params"].append(p)
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad,
    }  # fmt: skip
    return kinds[recipe.optimiser]([g for g in groups if g["params"]], lr=recipe.lr, weight_decay=recipe.weight_decay)


def train_head(
    head: Head, train: Sequence[Bag], select: Sequence[Bag], *, names: torch.Tensor | None, recipe: ScorerRecipe,
    extra: Sequence[Bag] = (), share: float = 0.0, device: torch.device | None = None, work: Path | None = None,
    tell: Callable[[dict[str, Any]], None] = lambda row: None, of: Mapping[str, Any] | None = None,
) -> float:  # fmt: skip
    """Train `head` in place to its best epoch on `select`, the last of equal ones, and return the score it had there.

    extra: other bags, of which each step takes `share`. work: folder for a checkpoint, from which a stopped run goes on. tell: gets a
    log row an epoch. of: what a run that goes on must have begun with, beside its recipe.
    """
    device = device or torch.device("cpu")
    head.to(device)
    names = None if names is None else names.to(device)
    draws = Draws(train, recipe, head.config.kind, extra=extra, share=share)
    run = Training(head, optimiser_of(head, recipe))
    checkpoint = work / CHECKPOINT if work else None
    began = {**{f"scorer.{k}": v for k, v in recipe.model_dump().items()}, **(of or {})}
    if checkpoint and checkpoint.is_file():
        run.load(checkpoint, began)
    bar = Progress(disable=not sys.stderr.isatty())
    with bar:
        task = bar.add_task(head.config.kind, total=draws.epochs, completed=run.epoch)
        while run.epoch < draws.epochs and not (recipe.patience and run.since >= recipe.patience):
            begin = time.monotonic()
            loss = _epoch(run, draws, names, recipe, device)
            seconds = time.monotonic() - begin
            score = selection_score(head, select, names, device)
            run.since += 1
            if score >= run.best:
                run.best, run.since = score, 0
                run.kept = run.weights()
            row = {"stage": head.config.kind, "epoch": run.epoch, "loss": round(loss, 4), "selection": round(score, 4)}
            tell({**row, "seconds": round(seconds, 2)})
            run.epoch += 1
            if checkpoint:
                run.save(checkpoint, began)
            bar.update(task, completed=run.epoch)
    assert run.kept is not None
    run.put(run.kept)
    head.to(torch.device("cpu"))
    head.eval()
    return run.best


def rate_of(recipe: ScorerRecipe, step: int, steps: int, each: int = 1) -> float:
    """The learning rate of a step (0 to steps - 1) as a share of the recipe's. each: steps of a pass."""
    share: float = 0.1 ** sum(step >= m for m in recipe.milestones)
    if recipe.horizon:
        return share * 0.5 * (1 + float(np.cos(np.pi * min(step // each, recipe.horizon) / recipe.horizon)))
    return share * (0.05 + 0.95 * 0.5 * (1 + float(np.cos(np.pi * step / steps))) if recipe.decay == "cosine" else 1.0)


def _epoch(
    run: Training, draws: Draws, names: torch.Tensor | None, recipe: ScorerRecipe, device: torch.device
) -> float:
    """One pass, drawn from its own seed, so that a run that goes on is the run that was not stopped; its mean loss."""
    loss_of = LOSSES[run.head.config.kind]
    rng = np.random.default_rng([recipe.seed, run.epoch])
    torch.manual_seed(recipe.seed * 100_003 + run.epoch)
    run.head.train()
    losses = []
    for step, rows in enumerate(draws.batches(run.epoch, rng)):
        share = rate_of(recipe, run.epoch * draws.each + step, draws.steps, draws.each)
        for group in run.optimiser.param_groups:
            group["lr"] = recipe.lr * group["share"] * share
        batch = batch_of(rows, run.head.config, recipe, rng, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            out = run.head(batch.values, batch.mask, names)
        out = _in_float(out)
        loss = loss_of(out, batch, recipe)
        if recipe.glance and batch.clicks is not None and batch.clicks.any():
            mine = run.epoch * draws.each + step >= recipe.mining
            loss = loss + recipe.glance * glance(out.logits.sigmoid(), batch, recipe, mine=mine)
        run.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(list(run.head.parameters()), recipe.clip)
        run.optimiser.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def _in_float(out: Any) -> Any:
    """Losses are summed in float32, whatever the head ran in."""
    extra = {k: v.float() if v.is_floating_point() else v for k, v in out.extra.items()}
    return out._replace(
        logits=out.logits.float(), classes=None if out.classes is None else out.classes.float(), extra=extra
    )


def text_settings(name: str) -> Settings:
    """Settings whose encoder's text tower reads class names: a preset's, or a folder's of an open_clip model. Raises SettingsError."""
    if Path(name).is_dir():
        return make_settings("clip-b16", encoder=name, cache=None)
    return make_settings(name, cache=None)


def text_encoder(name: str) -> ClipEncoder:
    """That encoder. Raises SettingsError, and WeightsError where its weights are not here."""
    return load_clip(text_settings(name))


def tokenizer_of(text: str, labels: Sequence[str]) -> str:
    """open_clip's name of the tokenizer of `text`, so that a head needs no folder of this machine. Raises SettingsError for a folder's own."""
    name = text_settings(text).encoder
    if not Path(name).is_dir():
        return name
    words = ["normal", *labels]
    if not torch.equal(open_clip.get_tokenizer(f"local-dir:{name}")(words), open_clip.get_tokenizer(PLAIN)(words)):
        raise SettingsError(f"data.text={text}: its tokenizer is not CLIP's; name a preset")
    return PLAIN


def new_head(config: HeadConfig, encoder: ClipEncoder | None, text: str) -> Head:
    """An untrained head; those with a text tower of their own take the encoder's, and normality knows which features tell of movement and of what was seen."""
    if config.kind == "normality" and config.clip and not config.audio and config.width > config.clip + MOTION_DIM:
        own = {"motion": MOTION_DIM, "seen": SEEN_DIM, **config.options}
        return HEADS[config.kind](replace(config, options=own))  # type: ignore[no-any-return]
    if config.kind == "pel4vad" and encoder is not None:
        space = {"space": len(encoder.embed_text(["normal"])[0])}
        return HEADS[config.kind](replace(config, options={**space, **config.options}))  # type: ignore[no-any-return]
    if config.kind not in ("vadclip", "tpwng"):
        return HEADS[config.kind](config)  # type: ignore[no-any-return]
    assert encoder is not None
    if not hasattr(encoder.model, "positional_embedding"):
        raise SettingsError(
            f"{config.kind} learns prompt words, which {text}'s sentence encoder does not take; name a preset with CLIP's text tower, such as data.text=clip-b16"
        )
    tokenizer = tokenizer_of(text, config.labels)
    shape = text_shape(encoder.model, tokenizer)
    short = {} if shape["context"] > 60 else {"prefix": 4, "postfix": 4}
    head = HEADS[config.kind](HeadConfig(**{**vars(config), "options": {**short, **config.options, "text": shape}}))
    own = head.clipmodel.state_dict()
    head.clipmodel.load_state_dict({k: v.float() for k, v in encoder.model.state_dict().items() if k in own})
    return head  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Task:
    """What a recipe trains: an untrained head, its bags, and the hash of each file."""

    head: Head
    embed_text: EmbedText
    train: list[Bag]
    select: list[Bag]
    hashes: dict[str, str]


def task_of(recipe: HeadRecipe) -> Task:
    """The recipe's data and head. Raises InputError or SettingsError with every fault at once."""
    bags, width, hashes = _bags_of(recipe)
    train, select = split(bags, recipe.data.select, recipe.scorer.seed)
    if recipe.head != "normality" and {bool(b.classes) for b in train} != {False, True}:
        raise InputError(
            f"{recipe.data.features}: {recipe.head} needs normal and anomalous videos; head=normality learns from normal ones alone"
        )
    words = recipe.data.classes.values()
    labels = tuple(dict.fromkeys([*words, *sorted({c for b in bags for c in b.classes})]))
    head, embed_text = _head_of(recipe, width, labels)
    return Task(head, embed_text, train, select, hashes)


def plan(recipe: HeadRecipe) -> dict[str, int]:
    """What training would take: rows, batch (rows a step), passes, steps, parameters, and megabytes of memory.

    Memory is that of weights, gradients and the optimiser's moments, and of what one step of the head keeps for its gradients, measured on two
    rows and scaled to the batch. Raises SettingsError where this machine has less.
    """
    task, scorer = task_of(recipe), recipe.scorer
    draws, device = Draws(task.train, scorer, recipe.head), choose_device(recipe.device)
    rows = [row for kind in draws.rows for row in kind]
    batch = scorer.batch * len(draws.rows)
    head, few = task.head, [draws.rows[0][0], draws.rows[-1][-1]]
    if isinstance(head, NormalityHead):
        fit_normal(head, task.train, scorer.seed)
    stored: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    head.train()
    values = batch_of(few, head.config, scorer, np.random.default_rng(0), torch.device("cpu"))
    longest = max(len(b.load(0)) for b, _ in rows) if not scorer.length else scorer.length
    names = head.names(sentences(head.config.labels), task.embed_text)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        head(values.values, values.mask, names)
    own = sum(p.nbytes for p in head.parameters())
    for p in head.parameters():
        stored.pop(p.untyped_storage().data_ptr(), None)
    trained = sum(p.numel() for p in head.parameters() if p.requires_grad)
    kept = sum(stored.values()) / 2 * batch * max(1.0, longest / values.values.shape[1])
    need = own + 12 * trained + kept
    found = {
        "rows": len(rows), "batch": batch, "passes": draws.epochs, "steps": draws.steps, "parameters": trained,
        "megabytes": math.ceil(need / 1e6),
    }  # fmt: skip
    free = _memory(device)
    if need > free:
        raise SettingsError(
            f"{recipe.head}: a step needs about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free on {device}; "
            f"lower scorer.batch ({scorer.batch}) or scorer.length ({scorer.length})"
        )
    return found


def _memory(device: torch.device) -> int:
    """Bytes that are free."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def run(recipe: HeadRecipe, *, anew: bool = False) -> float:
    """Train by a recipe into its folder; the selection score. anew: a run that stopped there is forgotten."""
    task = task_of(recipe)
    head, train, select = task.head, task.train, task.select
    out = Path(recipe.out)
    out.mkdir(parents=True, exist_ok=True)
    if anew:
        (out / CHECKPOINT).unlink(missing_ok=True)
    rows = _resumed(out / "log.jsonl", fresh=not (out / CHECKPOINT).is_file())

    def tell(row: dict[str, Any]) -> None:
        kept = [
            r for r in rows if r["epoch"] < row["epoch"]
        ]  # one that was logged and then lost with its checkpoint is done again
        rows[:] = [*kept, row]
        (out / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))

    if isinstance(head, NormalityHead):
        fit_normal(head, train, recipe.scorer.seed)
    data = hashlib.sha256(json.dumps(task.hashes, sort_keys=True).encode()).hexdigest()
    began = recipe.model_dump(exclude={"scorer", "out", "device", "tensorboard"})
    score = train_head(
        head, train, select, names=head.names(sentences(head.config.labels), task.embed_text), recipe=recipe.scorer,
        device=choose_device(recipe.device), work=out, tell=tell, of={**began, "the features themselves": data},
    )  # fmt: skip
    if isinstance(head, NormalityHead):
        head.learn_scale([torch.tensor(b.load(0)) for b in select])
    save_head(head, out)
    if {bool(b.classes) for b in train} == {False, True}:
        remember(head, task.embed_text, [b.load(0) for b in train], [(b.load(0), bool(b.classes)) for b in select], out)
    result = {
        "recipe": recipe.model_dump(), "selection": score, "train": len(train), "select": sorted(b.name for b in select),
        "parameters": sum(p.numel() for p in head.parameters() if p.requires_grad), "data": task.hashes,
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
    clicks = read_clicks(Path(data.clicks)) if data.clicks else {}
    bags, width, hashes = read_bags(
        files, data.classes, recipe.head == "hl-net" and audio is not None, clicks=clicks, snippet=data.snippet
    )
    return [b for b in bags if recipe.head != "normality" or not b.classes], width, hashes


def _head_of(recipe: HeadRecipe, width: int, labels: tuple[str, ...]) -> tuple[Head, EmbedText]:
    """The untrained head, from the recipe's seed, and what reads class names for it."""
    kind, data = recipe.head, recipe.data
    if kind in NAMED and not (data.text and data.clip):
        raise SettingsError(
            f"{kind} reads class names: name a preset whose text tower does, such as data.text=clip-b16 data.clip=512"
        )
    encoder = text_encoder(data.text) if kind in (*NAMED, "causal", "pel4vad") and data.text and data.clip else None
    config = HeadConfig(
        kind, data.encoder if data.encoder != "manifest" else manifest_encoder(Path(data.root or data.features)), width,
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
    """`vlad finetune RECIPE key=value... [--plan] [--anew]`. Raises SettingsError or InputError, with every fault at once."""
    flags = {a for a in arguments if a in ("--plan", "--anew")}
    recipe = load_head_recipe(arguments[0], [a for a in arguments[1:] if a not in flags])
    if "--plan" in flags:
        print("\n".join(f"{name:<11} {value:,}" for name, value in plan(recipe).items()))
        return 0
    score = run(recipe, anew="--anew" in flags)
    print(f"{recipe.head}: selection score {score:.4f}, in {recipe.out}; use it with --set scorer_weights={recipe.out}")
    return 0
