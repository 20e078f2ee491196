"""A small image-text model out of two that know the real world: an image backbone and a sentence encoder, frozen, joined by two heads.

In: a folder of sight.json, model.safetensors and tokenizer.json. Out: a model with the parts that `vlad.encoder` uses of an open_clip model
(`encode_image`, `encode_text`, `visual.trunk`, `visual.head`), and its tokenizer. Knows no files of video, no scores. The recipe is that of
locked-image tuning (Zhai et al. 2022, LiT) with both towers locked; `vlad.finetune.sight` trains the heads. The two towers are made, and the
libraries that make them imported, when they are first used: a backbone that runs as a graph and sentences that are known need neither.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vlad.errors import WeightsError

CONFIG = "sight.json"
BERT = "text.bert."  # the sentence encoder
TRUNK = "visual.trunk."  # the image backbone
INPUT = "pixels"  # of a backbone's graph
PAD = 0  # BERT's padding token
CONTEXT = 64  # word pieces of a sentence that are read


def fuse(module: nn.Module, *, even: bool = False) -> None:
    """Put each batch norm into the convolution before it, in place: the same function, several times faster on a CPU.

    even: pictures have sides that are multiples of 32; then TensorFlow's padding, which is else told anew for each picture, goes into kernels.
    """
    for name, first, after, second in normed(module):
        setattr(module, name, fuse_conv_bn_eval(first, second))
        setattr(module, after, getattr(second, "act", nn.Identity()))  # timm's norms end in an activation
    for name, child in module.named_children():
        if even and isinstance(child, nn.Conv2d) and takes_padding(child):
            setattr(module, name, _padded(child))
        else:
            fuse(child, even=even)


def normed(module: nn.Module) -> list[tuple[str, nn.Conv2d, str, nn.BatchNorm2d]]:
    """Convolutions among a module's own children with the batch norm that follows each."""
    return [
        (name, first, after, second)
        for (name, first), (after, second) in pairwise(module.named_children())
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)
    ]


def takes_padding(module: nn.Module) -> bool:
    """Whether a convolution is one of those whose padding, TensorFlow's, goes into its kernel for even pictures."""
    from timm.layers.conv2d_same import Conv2dSame

    return isinstance(module, Conv2dSame) and module.stride == (2, 2) and module.dilation == (1, 1)


def _padded(conv: nn.Conv2d) -> nn.Conv2d:
    """TensorFlow's padding of an even picture at stride 2 (one more row below than above) as equal padding under a kernel with a row of zeros."""
    size = conv.kernel_size[0]
    bias = conv.bias is not None
    found = nn.Conv2d(conv.in_channels, conv.out_channels, size + 1, 2, (size - 1) // 2, groups=conv.groups, bias=bias)
    with torch.no_grad():
        found.weight.copy_(functional.pad(conv.weight, (1, 0, 1, 0)))
        if conv.bias is not None and found.bias is not None:
            found.bias.copy_(conv.bias)
    return found.train(conv.training).requires_grad_(conv.weight.requires_grad)


def fused(
    state: dict[str, torch.Tensor], norms: dict[str, str], padded: Sequence[str], eps: float
) -> dict[str, torch.Tensor]:
    """The state of a backbone as `fuse` leaves it, from its state before, without making the backbone.

    norms: of each convolution the name of its batch norm. padded: convolutions whose kernels take up TensorFlow's padding. eps: of the norms.
    """
    found: dict[str, torch.Tensor] = {}
    for convolution, norm in norms.items():
        weight = state[f"{convolution}.weight"]
        scale = state[f"{norm}.weight"] * torch.rsqrt(state[f"{norm}.running_var"] + eps)
        whole = functional.pad(weight, (1, 0, 1, 0)) if convolution in padded else weight
        found[f"{convolution}.weight"] = whole * scale[:, None, None, None]
        found[f"{convolution}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    return found


class Graph:
    """A backbone by onnxruntime: pictures float32 [N, 3, S, S] to what the module gives, within 1e-4. path: of `vlad.finetune.tower`, without its suffix;
    state: of the backbone, before it is fused; threads: of the processor.

    On a processor it takes three fifths of torch's time: its convolutions keep their blocks of channels from one layer to the next.
    """

    def __init__(self, path: Path, state: dict[str, torch.Tensor], threads: int) -> None:
        import onnxruntime

        weights = fused(state, **json.loads(path.with_suffix(".json").read_text()))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        self._weights = {
            k: onnxruntime.OrtValue.ortvalue_from_numpy(v.contiguous().numpy()) for k, v in weights.items()
        }
        options.add_external_initializers(list(self._weights), list(self._weights.values()))
        self._session = onnxruntime.InferenceSession(
            path.with_suffix(".onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._session.run(None, {INPUT: pixels.contiguous().numpy()})[0])


class Lazy(nn.Module):
    """A module with a part that is made when it is first asked for; till then it is in no state.

    part: its name. make: makes it, in evaluation mode or not as it should be.
    """

    def __init__(self, part: str, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self._part, self._make = part, make

    def __getattr__(self, name: str) -> Any:
        modules = self.__dict__.get("_modules", {})
        if name == self.__dict__.get("_part") and name not in modules:
            modules[name] = self._make()
        return super().__getattr__(name)


def backbone(facts: dict[str, Any]) -> Any:
    """timm's backbone of sight.json, with random weights."""
    import timm

    return timm.create_model(facts["trunk"], pretrained=False, num_classes=0, global_pool="catavgmax")


def part_of(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """A part of a stored state, in float32, without its prefix."""
    own = unpacked({k: v for k, v in state.items() if k.startswith(prefix)})
    return {k.removeprefix(prefix): v for k, v in own.items()}


def _filled(module: nn.Module, state: dict[str, torch.Tensor], prefix: str) -> nn.Module:
    module.load_state_dict(part_of(state, prefix))
    return module.eval()


class Visual(Lazy):
    """trunk: pictures [N, 3, S, S] to the mean and the maximum of its last map [N, 2 E]; head: these to the shared space [N, D]. inner: E."""

    def __init__(self, facts: dict[str, Any], inner: int, make: Callable[[], nn.Module]) -> None:
        super().__init__("trunk", make)
        self.inner, hidden = inner, int(facts["hidden"])
        self.head = nn.Sequential(
            Standard(2 * inner), nn.Linear(2 * inner, hidden), nn.GELU(), nn.Dropout(facts["dropout"]), nn.Linear(hidden, facts["embed"]),
        )  # fmt: skip
        self.image_size, self.decoded = (
            int(facts["size"]),
            int(facts["decoded"]),
        )  # of its input; of the frames it is made from
        self.preprocess_cfg = {"mean": tuple(facts["mean"]), "std": tuple(facts["std"])}

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.trunk(pixels))
        return found


class Standard(nn.Module):
    """Numbers [..., width] less their mean over real pictures, in their standard deviations."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return (values - self.mean.to(values.dtype)) * self.scale.to(values.dtype)


class Words(nn.Module):
    """A sentence encoder (MiniLM-L6, Wang et al. 2020; mean-pooled as Reimers and Gurevych 2019) and a linear head to the shared space."""

    def __init__(self, facts: dict[str, Any]) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        self.bert: Any = BertModel(BertConfig(**facts["text"]), add_pooling_layer=False)
        width = facts["text"]["hidden_size"]
        self.head = nn.Sequential(Standard(width), nn.Linear(width, facts["embed"]))

    def sentences(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens int64 [N, L], padded with PAD, to unit vectors of meaning [N, hidden]."""
        seen = (tokens != PAD).long()
        states = self.bert(input_ids=tokens, attention_mask=seen).last_hidden_state
        mean = (states * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
        return functional.normalize(mean, dim=-1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.sentences(tokens))
        return found


class Sight(Lazy):
    """facts: of sight.json. Called as an open_clip model is. state: of its file, as it is stored; None: random weights, both towers made at once."""

    def __init__(self, facts: dict[str, Any], state: dict[str, torch.Tensor] | None = None) -> None:
        super().__init__("text", lambda: _filled(Words(facts), self.state, "text."))
        self.facts, self.state = facts, state or {}
        made = backbone(facts) if state is None else None
        inner = made.num_features if made else state["visual.head.0.mean"].numel() // 2  # type: ignore[index]
        self.visual = Visual(facts, int(inner), lambda: made or _filled(backbone(facts), self.state, TRUNK))
        self.gate = nn.Linear(facts["embed"], 1)  # of unit embeddings: above 0 where they look like the rendered world
        if state is None:
            self.whole()
            return
        own = unpacked({k: v for k, v in state.items() if not k.startswith(("text.", TRUNK))})
        missing, unknown = self.load_state_dict(own, strict=False)
        if missing or unknown:
            raise KeyError([*missing, *unknown][0])

    def whole(self) -> Sight:
        """The same, with both towers made; what they were made of is let go."""
        _ = self.visual.trunk, self.text
        self.state = {}
        return self

    def encode_image(self, pixels: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """float [N, 3, S, S], normalised by `preprocess_cfg`, to [N, D]."""
        found = self.visual(pixels)
        return functional.normalize(found, dim=-1) if normalize else found

    def encode_text(self, tokens: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """Tokens int64 [N, L] to [N, D]."""
        found = self.text(tokens)
        return functional.normalize(found, dim=-1) if normalize else found


class Pictures(nn.Module):
    """The image side of a folder of open_clip with a timm backbone, mean pooling and a linear head, for a backbone that runs as a graph: no library makes
    it. As much of an open_clip model as `vlad.encoder` then uses. Raises OSError, ValueError, KeyError, SafetensorError for what does not fit."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        facts = json.loads((folder / "open_clip_config.json").read_text())
        self.state = load_file(folder / "model.safetensors")
        weight = self.state["visual.head.proj.weight"].float()
        self.visual = nn.Module()
        self.visual.image_size = int(facts["model_cfg"]["vision_cfg"]["image_size"])  # type: ignore[assignment]
        self.visual.preprocess_cfg = facts["preprocess_cfg"]
        self.visual.inner = weight.shape[1]  # type: ignore[assignment]
        self.visual.head = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.visual.head.weight.data = weight


def load_tokenizer(folder: Path) -> Callable[[list[str]], torch.Tensor]:
    """Sentences to tokens int64 [N, L], L those of the longest."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(CONTEXT)
    tokenizer.enable_padding(pad_id=PAD)
    return lambda texts: torch.tensor([row.ids for row in tokenizer.encode_batch(texts)])


def is_sight(folder: Path | None) -> bool:
    """Whether a folder holds such a model."""
    return folder is not None and (folder / CONFIG).is_file()


def _whole(name: str, value: torch.Tensor) -> bool:
    """Whether a weight is stored as whole numbers: the sentence encoder's matrices, most of all weights."""
    return name.startswith(BERT) and value.ndim == 2


def packed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state as it is stored: float16, and the matrices of the sentence encoder in 8 bits with a scale a row."""
    found: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if _whole(name, value):
            rows = value.float()
            scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
            found |= {f"{name}.int8": (rows / scale).round().to(torch.int8), f"{name}.scale": scale.half()}
        else:
            found[name] = value.half().contiguous() if value.is_floating_point() else value.contiguous()
    return found


def unpacked(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What `packed` stored, in float32."""
    found = {}
    for name, value in state.items():
        if name.endswith(".int8"):
            whole = name.removesuffix(".int8")
            found[whole] = value.float() * state[f"{whole}.scale"].float()
        elif f"{name.removesuffix('.scale')}.int8" not in state:
            found[name] = value.float() if value.is_floating_point() else value
    return found


def load_sight(folder: Path, *, whole: bool = True) -> tuple[Sight, Callable[[list[str]], torch.Tensor]]:
    """Model (float32, in evaluation mode) and tokenizer of a folder. Raises WeightsError for what does not fit. whole: both towers are made now, so that this is
    known now; else, of a folder that is known to be whole, when they are first used."""
    try:
        model = Sight(json.loads((folder / CONFIG).read_text()), load_file(folder / "model.safetensors"))
        return (model.whole() if whole else model).eval(), load_tokenizer(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise WeightsError(
            f"encoder {folder.name}: cannot be loaded ({line}); reinstall vlad, or name another encoder"
        ) from None
