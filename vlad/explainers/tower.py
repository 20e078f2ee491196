"""nano's vision towers for LLaVA: the image trunks of its two eyes, their feature maps as tokens.

In: pixels. Out: one token a cell of the last map; of the trunk for rendered scenes each with what the map of half the stride holds there, so
that colours and limbs survive. The trunks lie with the eyes and are neither trained nor stored here: a model's folder holds projector and
language model alone. Registered with transformers' AutoModel; other programs need `import vlad.explainers.tower` before they load such a model.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from vlad.sight import fuse, load_sight
from vlad.weights import nano_part

STRIDE = 32  # pixels of one token's cell


class Tower(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A frozen trunk of one of nano's eyes. It is read when first looked through, and is no part of the model's own weights."""

    main_input_name = "pixel_values"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._trunk: list[Any] = []  # in a list, so that torch does not count it among the weights
        self.post_init()  # type: ignore[no-untyped-call]

    def read(self) -> torch.nn.Module:
        """The trunk, float32, in evaluation mode. Raises WeightsError where the eye is not there, or was altered."""
        raise NotImplementedError

    def tokens(self, trunk: Any, pixels: torch.Tensor) -> torch.Tensor:
        """float [B, 3, S, S], channels last, to maps float [B, E, S / STRIDE, S / STRIDE]."""
        raise NotImplementedError

    def forward(self, pixel_values: torch.Tensor, **options: Any) -> BaseModelOutput:
        """float [B, 3, S, S], normalised, to tokens float [B, (S / STRIDE)^2, E] in rows."""
        if not self._trunk:
            with torch.inference_mode(False):  # else nothing could be trained on it later
                self._trunk.append(self.read().requires_grad_(False))
        trunk = self._trunk[0].to(device=pixel_values.device, dtype=pixel_values.dtype)
        # three times as fast on a processor
        found = self.tokens(trunk, pixel_values.contiguous(memory_format=torch.channels_last))
        tokens = found.flatten(2).transpose(1, 2)
        return BaseModelOutput(last_hidden_state=tokens, hidden_states=(tokens,))


class TrunkConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """image_size: pixels, a multiple of 32. hidden_size: channels of a token, for the projector."""

    model_type = "vlad_trunk"

    def __init__(self, image_size: int = 160, hidden_size: int = 1664, **rest: Any) -> None:
        self.image_size, self.hidden_size = image_size, hidden_size
        super().__init__(**rest)


class TrunkModel(Tower):  # type: ignore[no-untyped-call]
    """The eye for rendered scenes: timm's mobilenetv2_100 without its pooling; pixels as ImageNet's are normalised, 1664 channels."""

    config_class = TrunkConfig

    def read(self) -> torch.nn.Module:
        own = "visual.trunk."
        state = load_file(nano_part("drawn") / "model.safetensors")
        trunk = timm.create_model("mobilenetv2_100", pretrained=False, num_classes=0)
        trunk.load_state_dict({k.removeprefix(own): v.float() for k, v in state.items() if k.startswith(own)})
        return trunk.eval()

    def tokens(self, trunk: Any, pixels: torch.Tensor) -> torch.Tensor:
        x = trunk.blocks[:5](trunk.bn1(trunk.conv_stem(pixels)))
        near = functional.pixel_unshuffle(x, 2)
        far = trunk.bn2(trunk.conv_head(trunk.blocks[5:](x)))
        return torch.cat([far, near], dim=1)


class SightConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """image_size: pixels, a multiple of 32. hidden_size: channels of a token, for the projector."""

    model_type = "vlad_sight"

    def __init__(self, image_size: int = 192, hidden_size: int = 1280, **rest: Any) -> None:
        self.image_size, self.hidden_size = image_size, hidden_size
        super().__init__(**rest)


class SightTower(Tower):  # type: ignore[no-untyped-call]
    """The eye for real footage (`vlad.sight`); pixels in -1..1, 1280 channels."""

    config_class = SightConfig

    def read(self) -> torch.nn.Module:
        trunk: torch.nn.Module = load_sight(nano_part("clip"))[0].visual.trunk
        fuse(trunk, even=True)  # its batch norms go into the convolutions, for speed
        return trunk

    def tokens(self, trunk: Any, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = trunk.forward_features(pixels)
        return found


AutoConfig.register("vlad_sight", SightConfig, exist_ok=True)
AutoModel.register(SightConfig, SightTower, exist_ok=True)
AutoConfig.register("vlad_trunk", TrunkConfig, exist_ok=True)
AutoModel.register(TrunkConfig, TrunkModel, exist_ok=True)
