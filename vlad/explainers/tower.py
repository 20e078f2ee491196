"""nano's vision tower for LLaVA: the trunks of its two eyes side by side, their feature maps as tokens.

In: pixels. Out: a token a cell of the last maps, in it what the eye for real footage sees there, what the eye for rendered scenes does, and of
the latter's map of half the stride what lies in the cell, so that colours and limbs survive. The trunks lie with the eyes and are neither
trained nor stored here: a model's folder holds projector and language model alone. Registered with transformers' AutoModel; other programs need
`import vlad.explainers.tower` before they load such a model.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from vlad.sight import fuse, load_sight
from vlad.weights import nano_part

SIDE = 192  # pixels of the square that a picture is fitted into
TOKENS = (SIDE // 32) ** 2  # of a picture


class EyesConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """image_size: pixels, a multiple of 32. hidden_size: channels of a token, for the projector: 1280 of the one eye, 1280 and 4 x 96 of the other."""

    model_type = "vlad_eyes"

    def __init__(self, image_size: int = SIDE, hidden_size: int = 2944, **rest: Any) -> None:
        self.image_size, self.hidden_size = image_size, hidden_size
        super().__init__(**rest)


def _real() -> nn.Module:
    """EfficientNet-Lite2, its batch norms in its convolutions for speed."""
    trunk: nn.Module = load_sight(nano_part("clip"), whole=False)[0].visual.trunk
    fuse(trunk, even=True)
    return trunk


def _drawn() -> nn.Module:
    """MobileNetV2."""
    own = "visual.trunk."
    state = load_file(nano_part("drawn") / "model.safetensors")
    trunk: nn.Module = timm.create_model("mobilenetv2_100", pretrained=False, num_classes=0)
    trunk.load_state_dict({k.removeprefix(own): v.float() for k, v in state.items() if k.startswith(own)})
    return trunk.eval()


class EyesTower(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Both trunks, frozen. They are read when first looked through, and are no part of the model's own weights."""

    config_class = EyesConfig
    main_input_name = "pixel_values"

    def __init__(self, config: EyesConfig) -> None:
        super().__init__(config)
        self._trunks: list[Any] = []  # in a list, so that torch does not count them among the weights
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, pixel_values: torch.Tensor, **options: Any) -> BaseModelOutput:
        """float [B, 3, S, S] in -1..1 to tokens float [B, (S / 32)^2, 2944] in rows. Raises WeightsError where an eye is missing or was altered."""
        if not self._trunks:
            with torch.device("cpu"), torch.inference_mode(False):  # else nothing could be trained on it later
                self._trunks += [trunk.requires_grad_(False) for trunk in (_real(), _drawn())]
        real, drawn = (trunk.to(device=pixel_values.device, dtype=pixel_values.dtype) for trunk in self._trunks)
        pixels = pixel_values.contiguous(memory_format=torch.channels_last)  # three times as fast on a processor
        mean, std = (pixels.new_tensor(v)[:, None, None] for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
        half = drawn.blocks[:5](drawn.bn1(drawn.conv_stem((pixels / 2 + 0.5 - mean) / std)))
        last = drawn.bn2(drawn.conv_head(drawn.blocks[5:](half)))
        maps = torch.cat([real.forward_features(pixels), last, functional.pixel_unshuffle(half, 2)], dim=1)
        tokens = maps.flatten(2).transpose(1, 2)
        return BaseModelOutput(last_hidden_state=tokens, hidden_states=(tokens,))


AutoConfig.register("vlad_eyes", EyesConfig, exist_ok=True)
AutoModel.register(EyesConfig, EyesTower, exist_ok=True)
