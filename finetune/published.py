"""Published weights of others, read once and kept as safetensors.

    vlad import vadclip FILE.pth -o DIR [--labels ucf-crime|xd-violence|NAME,NAME] [--encoder NAME]

In: a state dict as VadCLIP's authors publish it (a .pth, read with weights_only, so that nothing in it is run). Out: a scorer's folder.
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
from vlad.scorers.head import HeadConfig, save_head
from vlad.scorers.vadclip import CLIP_B16, VadClipHead

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
    own = head.state_dict()
    faults = [f"missing {k}" for k in own.keys() - state.keys()] + [
        f"unexpected {k}" for k in state.keys() - own.keys()
    ]
    faults += [
        f"{k} is {list(v.shape)}, expected {list(own[k].shape)}"
        for k, v in state.items()
        if k in own and v.shape != own[k].shape
    ]
    if faults:
        more = f"; and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise InputError(f"not VadCLIP's weights: {'; '.join(sorted(faults)[:20])}{more}")
    head.load_state_dict({k: v.float() for k, v in state.items()})
    return head


def run(kind: str, file: Path, out: Path, *, labels: str, encoder: str) -> str:
    """Import into a folder; what to do next."""
    if kind != "vadclip":
        raise SettingsError(f"{kind!r} cannot be imported; choose vadclip")
    save_head(vadclip(read_state(file), labels_of(labels), encoder), out)
    return f"vadclip from {file.name} in {out}; use it with --set scorer_weights={out}"
