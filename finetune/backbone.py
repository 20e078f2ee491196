"""The ImageNet MobileNetV2 that nano's image tower starts from.

In: an int8 TFLite file, or a word: `nano` for the shipped tower, `timm` for timm's own weights of the same network. Out: those weights
in timm's `mobilenetv2_100`. The file's batch-norm is folded into its convolutions, so timm's is set to the identity around a bias.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import timm
import torch
from safetensors.torch import load_file

from vlad.errors import WeightsError
from vlad.weights import nano_part


def _tensor(model: Any, graph: Any, index: int) -> npt.NDArray[np.float32]:
    """A constant of the file in float32, per-channel scales applied."""
    tensor = graph.Tensors(index)
    kind = {9: np.int8, 2: np.int32, 0: np.float32}[tensor.Type()]
    raw = model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
    values = np.frombuffer(raw, kind).reshape(tensor.ShapeAsNumpy()).astype(np.float32)
    quantisation = tensor.Quantization()
    scale = (
        quantisation.ScaleAsNumpy()
        if quantisation is not None and quantisation.ScaleLength()
        else np.ones(1, np.float32)
    )
    if scale.size > 1:
        shape = [1] * values.ndim
        shape[quantisation.QuantizedDimension()] = scale.size
        scale = scale.reshape(shape)
    return np.asarray(values * scale, np.float32)


def read_convolutions(path: Path) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """(weight [O, I, H, W], bias [O]) of every convolution of a TFLite file, in order."""
    import tflite

    model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    found = []
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if kind in (tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOperator.DEPTHWISE_CONV_2D):
            weight, bias = (_tensor(model, graph, operator.Inputs(k)) for k in (1, 2))
            order = (0, 3, 1, 2) if kind == tflite.BuiltinOperator.CONV_2D else (3, 0, 1, 2)
            found.append((weight.transpose(order), bias))
    return found


def start_trunk(trunk: Any, source: str) -> None:
    """Load weights into timm's mobilenetv2_100: `nano`, `timm`, or a TFLite file. Raises WeightsError where they cannot be had."""
    if source == "nano":
        shipped, own = load_file(nano_part("drawn") / "model.safetensors"), "visual.trunk."
        trunk.load_state_dict({k.removeprefix(own): v for k, v in shipped.items() if k.startswith(own)})
        return
    if source == "timm":
        try:
            published = timm.create_model("mobilenetv2_100", pretrained=True, num_classes=0)
        except (OSError, RuntimeError, ValueError) as error:  # the hub's errors are OSErrors
            raise WeightsError(
                f"timm's mobilenetv2_100 cannot be fetched ({str(error).splitlines()[0]}); set HF_HUB_OFFLINE=0 where a hub can be "
                "reached, or start with backbone=nano or backbone=FILE.tflite"
            ) from None
        trunk.load_state_dict(published.state_dict(), strict=False)
        return
    path = Path(source)
    if not path.is_file():
        raise WeightsError(f"backbone {source}: no such file; name a TFLite file, nano or timm")
    convolutions = [m for m in trunk.modules() if isinstance(m, torch.nn.Conv2d)]
    norms: list[Any] = [m for m in trunk.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    layers = read_convolutions(path)
    if len(layers) < len(convolutions) or len(norms) != len(convolutions):
        raise WeightsError(f"{path.name}: {len(layers)} convolutions, expected {len(convolutions)} of MobileNetV2")
    with torch.no_grad():
        for module, norm, (weight, bias) in zip(convolutions, norms, layers, strict=False):
            if module.weight.shape != weight.shape:
                raise WeightsError(
                    f"{path.name}: a layer of shape {weight.shape}, expected {tuple(module.weight.shape)}"
                )
            module.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
            norm.weight.fill_(1.0)
            norm.bias.copy_(torch.from_numpy(bias))
            norm.running_mean.zero_()
            norm.running_var.fill_(1.0 - norm.eps)
