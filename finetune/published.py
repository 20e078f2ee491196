"""Published weights of others, read once and kept as safetensors.

    vlad import vadclip|hl-net|ur-dmu|rtfm|pel4vad FILE -o DIR [--labels ucf-crime|xd-violence|NAME,NAME] [--encoder NAME]

In: a state dict as a head's authors publish it (read with weights_only, so that nothing in it is run). Out: a scorer's folder. Each name of
the file is matched with one of vlad's; what is missing, foreign or of another shape is listed.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from vlad.errors import InputError, SettingsError
from vlad.scorers import HEADS
from vlad.scorers.head import Head, HeadConfig, save_head
from vlad.scorers.vadclip import CLIP_B16, VadClipHead

from .data import SOUND
from .recipe import shipped

UNUSED = ("clipmodel.visual.", "clipmodel.logit_scale")  # of CLIP, what the text branch does not need
WINDOW_OF = {1: 64, 2: 8}  # of attention, by layers: XD-Violence's and UCF-Crime's settings; the weights do not tell it


def read_state(file: Path) -> dict[str, torch.Tensor]:
    """Tensors of a .pth, also inside `model_state_dict`. Raises InputError for what is no state dict, or holds code."""
    try:
        found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(
            f"{file}: not a plain state dict ({str(error).splitlines()[0][:120]}); nothing in it was run"
        ) from None
    if isinstance(found, Mapping) and isinstance(found.get("model_state_dict"), Mapping):
        found = found["model_state_dict"]
    if not isinstance(found, Mapping) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise InputError(f"{file}: not a state dict: expected names with tensors")
    return {str(k).removeprefix("module."): v for k, v in found.items()}


def labels_of(name: str) -> tuple[str, ...]:
    """Class names of a shipped recipe, or those that are written out."""
    if name in ("ucf-crime", "xd-violence"):
        return tuple(yaml.safe_load(shipped(name).read_text())["data"]["classes"].values())
    return tuple(part.strip() for part in name.split(",") if part.strip())


def vadclip(state: Mapping[str, torch.Tensor], labels: tuple[str, ...], encoder: str) -> VadClipHead:
    """VadCLIP's network with these weights. Raises InputError that lists every name that is missing, foreign or of another shape."""
    state = {k: v for k, v in state.items() if not k.startswith(UNUSED)}

    def rows(name: str, axis: int = 0) -> int:
        return int(state[name].shape[axis]) if name in state else 0

    layers = len({m[1] for k in state if (m := re.match(r"temporal\.resblocks\.(\d+)\.", k))})
    width = rows("linear.weight") or 512
    text: dict[str, Any] = {
        **CLIP_B16, "vocabulary": rows("clipmodel.token_embedding.weight") or CLIP_B16["vocabulary"],
        "context": rows("clipmodel.positional_embedding") or CLIP_B16["context"],
        "width": rows("clipmodel.positional_embedding", 1) or CLIP_B16["width"],
        "embed": rows("clipmodel.text_projection", 1) or CLIP_B16["embed"],
        "layers": len({m[1] for k in state if (m := re.match(r"clipmodel\.transformer\.resblocks\.(\d+)\.", k))}) or 12,
    }  # fmt: skip
    text["heads"] = max(1, text["width"] // 64)
    options = {"layers": layers or 2, "window": WINDOW_OF.get(layers, 8), "text": text}
    window = rows("frame_position_embeddings.weight") or 256
    head = VadClipHead(HeadConfig("vadclip", encoder, width, width, labels, window=window, options=options))
    put(head, state, "VadCLIP")
    return head


def put(head: Head, state: Mapping[str, torch.Tensor], whose: str) -> None:
    """Weights into a head. Raises InputError that lists every name that is missing, foreign or of another shape."""
    own = head.state_dict()
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    wanted = {k for k in own if not k.endswith("num_batches_tracked")}
    faults = [f"missing {k}" for k in wanted - state.keys()] + [f"unexpected {k}" for k in state.keys() - wanted]
    faults += [
        f"{k} is {list(v.shape)}, expected {list(own[k].shape)}"
        for k, v in state.items()
        if k in own and v.shape != own[k].shape
    ]
    if faults:
        more = f"; and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise InputError(f"not {whose}'s weights: {'; '.join(sorted(faults)[:20])}{more}")
    head.load_state_dict({**own, **{k: v.float() for k, v in state.items()}})


# How published names read as vlad's: (pattern, replacement), the first that matches the beginning of a name.
NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "hl-net": (),
    "pel4vad": (),
    "ur-dmu": (
        (r"embedding\.conv_1\.0\.", "embed."), (r"selfatt\.layers\.(\d+)\.0\.norm\.", r"layers.\1.norm."),
        (r"selfatt\.layers\.(\d+)\.0\.fn\.to_qkv\.", r"layers.\1.qkvt."), (r"selfatt\.layers\.(\d+)\.0\.fn\.to_out\.", r"layers.\1.out."),
        (r"selfatt\.layers\.(\d+)\.1\.norm\.", r"layers.\1.feed.0."), (r"selfatt\.layers\.(\d+)\.1\.fn\.net\.0\.", r"layers.\1.feed.1."),
        (r"selfatt\.layers\.(\d+)\.1\.fn\.net\.3\.", r"layers.\1.feed.4."), (r"Amemory\.memory_block", "anomalous.block"),
        (r"Nmemory\.memory_block", "normal.block"), (r"encoder_mu\.0\.", "mu."), (r"encoder_var\.0\.", "variance."),
        (r"cls_head\.mlp\.", "score."),
    ),
    "rtfm": (
        (r"Aggregate\.conv_1\.", "scales.0."), (r"Aggregate\.conv_2\.", "scales.1."), (r"Aggregate\.conv_3\.", "scales.2."),
        (r"Aggregate\.conv_4\.", "squeeze."), (r"Aggregate\.conv_5\.", "fuse."), (r"Aggregate\.non_local\.W\.0\.", "non_local.out."),
        (r"Aggregate\.non_local\.W\.1\.", "non_local.norm."), (r"Aggregate\.non_local\.", "non_local."), (r"fc1\.", "score.0."),
        (r"fc2\.", "score.3."), (r"fc3\.", "score.6."),
    ),
}  # fmt: skip
# Of each: the weight that tells how wide its features are, and on which axis; how many of these numbers are sound, where some are.
WIDTHS = {
    "hl-net": ("conv1d1.weight", 1),
    "pel4vad": ("self_attention.linear1.weight", 1),
    "ur-dmu": ("embed.weight", 1),
    "rtfm": ("score.0.weight", 1),
}
# What its weights do not hold, by data set: configs.py of yujiangpu20/PEL4VAD.
PEL4VAD: dict[str, dict[str, Any]] = {
    "ucf-crime": {"steps": 9, "norm": True},
    "xd-violence": {"steps": 3, "norm": False},
}
WITH_SOUND = 1024 + 128  # HL-Net's I3D and VGGish


def renamed(state: Mapping[str, torch.Tensor], kind: str) -> dict[str, torch.Tensor]:
    """Published names as vlad's; what has none keeps its own."""

    def ours(name: str) -> str:
        for pattern, words in NAMES[kind]:
            if re.match(pattern, name):
                return re.sub(f"^{pattern}", words, name)
        return name

    return {ours(name): value for name, value in state.items()}


def plain(kind: str, state: Mapping[str, torch.Tensor], encoder: str, labels: str = "ucf-crime") -> Head:
    """A published network that knows no classes, with these weights. labels: the data set, which PEL4VAD's do not tell. Raises InputError as `put`."""
    found = renamed(state, kind)
    name, axis = WIDTHS[kind]
    width = int(found[name].shape[axis]) if name in found and found[name].dim() > axis else 1024
    sound = SOUND if kind == "hl-net" and width == WITH_SOUND else 0
    options: dict[str, Any] = {"memory": len(found["normal.block"])} if "normal.block" in found else {}
    if kind == "pel4vad" and "classifier.weight" in found:
        options, steps = dict(PEL4VAD.get(labels, {})), int(found["classifier.weight"].shape[-1])
        if options.get("steps") != steps:
            raise InputError(
                f"PEL4VAD's weights with a classifier over {steps} snippets are not those of {labels}; say --labels, one of {', '.join(PEL4VAD)}"
            )
    head: Head = HEADS[kind](HeadConfig(kind, encoder, width, 0, (), audio=sound, window=2048, options=options))
    put(head, found, {"hl-net": "HL-Net", "ur-dmu": "UR-DMU", "rtfm": "RTFM", "pel4vad": "PEL4VAD"}[kind])
    return head


def run(kind: str, file: Path, out: Path, *, labels: str, encoder: str) -> str:
    """Import into a folder; what to do next. Raises InputError, and SettingsError for a kind that is not known."""
    if kind != "vadclip" and kind not in NAMES:
        raise SettingsError(f"{kind!r} cannot be imported; choose one of vadclip, {', '.join(NAMES)}")
    state = read_state(file)
    if kind == "vadclip":
        save_head(vadclip(state, labels_of(labels), encoder or "vadclip-b16"), out)
    else:
        save_head(plain(kind, state, encoder or f"{kind}-i3d", labels), out)
    return f"{kind} from {file.name} in {out}; use it with --set scorer_weights={out}"
