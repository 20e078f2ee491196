"""nano's vision towers for LLaVA: the image trunks of its two eyes, their feature maps as tokens.

In: pixels. Out: one token a cell of the last map; of the trunk for rendered scenes each with what the map of half the stride holds there, so
that colours and limbs survive. Registered with transformers' AutoModel; other programs need `import vlad.explainers.tower` before they load
such a model.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from vlad.sight import fuse

STRIDE = 32  # pixels of one token's cell


class TrunkConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """image_size: pixels, a multiple of 32. hidden_size: channels of a token, for the projector."""

    model_type = "vlad_trunk"

    def __init__(self, image_size: int = 160, hidden_size: int = 1664, **rest: Any) -> None:
        self.image_size, self.hidden_size = image_size, hidden_size
        super().__init__(**rest)


class TrunkModel(PreTrainedModel):  # type: ignore[no-untyped-call]
    """timm's mobilenetv2_100 without its pooling. Always in evaluation mode: its batch statistics are those it was trained with."""

    config_class = TrunkConfig
    main_input_name = "pixel_values"

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__(config)
        self.trunk = timm.create_model("mobilenetv2_100", pretrained=False, num_classes=0)
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: torch.nn.Module) -> None:
        """timm has initialised everything."""

    def train(self, mode: bool = True) -> TrunkModel:
        super().train(False)
        return self

    def forward(self, pixel_values: torch.Tensor, **options: Any) -> BaseModelOutput:
        """float [B, 3, S, S], normalised, to tokens float [B, (S / 32)^2, 1664] in rows."""
        trunk: Any = self.trunk
        # three times as fast on a processor
        pixels = pixel_values.contiguous(memory_format=torch.channels_last)
        x = trunk.blocks[:5](trunk.bn1(trunk.conv_stem(pixels)))
        near = functional.pixel_unshuffle(x, 2)
        far = trunk.bn2(trunk.conv_head(trunk.blocks[5:](x)))
        tokens = torch.cat([far, near], dim=1).flatten(2).transpose(1, 2)
        return BaseModelOutput(last_hidden_state=tokens, hidden_states=(tokens,))


class SightConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """image_size: pixels, a multiple of 32. hidden_size: channels of a token, for the projector."""

    model_type = "vlad_sight"

    def __init__(self, image_size: int = 192, hidden_size: int = 1280, **rest: Any) -> None:
        self.image_size, self.hidden_size = image_size, hidden_size
        super().__init__(**rest)


class SightTower(PreTrainedModel):  # type: ignore[no-untyped-call]
    """The trunk of nano's eye for real footage (`vlad.sight`), frozen; its weights lie there and are not stored twice."""

    config_class = SightConfig
    main_input_name = "pixel_values"

    def __init__(self, config: SightConfig) -> None:
        super().__init__(config)
        self.trunk = timm.create_model("tf_efficientnet_lite2", pretrained=False, num_classes=0)
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: torch.nn.Module) -> None:
        """timm has initialised everything."""

    def train(self, mode: bool = True) -> SightTower:
        super().train(False)
        return self

    def take(self, trunk: torch.nn.Module) -> None:
        """The weights of nano's own trunk; its batch norms go into the convolutions, for speed."""
        self.trunk.load_state_dict(trunk.state_dict())
        fuse(self.trunk.eval(), even=True)
        self.requires_grad_(False)

    def forward(self, pixel_values: torch.Tensor, **options: Any) -> BaseModelOutput:
        """float [B, 3, S, S] in -1..1 to tokens float [B, (S / 32)^2, 1280] in rows."""
        trunk: Any = self.trunk
        found = trunk.forward_features(pixel_values.contiguous(memory_format=torch.channels_last))
        tokens = found.flatten(2).transpose(1, 2)
        return BaseModelOutput(last_hidden_state=tokens, hidden_states=(tokens,))


AutoConfig.register("vlad_sight", SightConfig, exist_ok=True)
AutoModel.register(SightConfig, SightTower, exist_ok=True)
AutoConfig.register("vlad_trunk", TrunkConfig, exist_ok=True)
AutoModel.register(TrunkConfig, TrunkModel, exist_ok=True)
