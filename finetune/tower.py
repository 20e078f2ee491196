"""nano's image backbone as a graph for onnxruntime, which runs it in three fifths of the time that torch takes on a processor.

In: the model of `vlad.sight`. Out: a graph without weights (0.1 MB): `vlad.sight.Graph` hands it those that are there anyway.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import torch

from vlad.sight import INPUT, Sight, fuse


def write_graph(model: Sight, path: Path) -> None:
    """The backbone's graph, fused as the encoder fuses it; weights are named and left out. The model is changed."""
    import onnx

    fuse(model.visual, even=True)
    trunk, side = model.visual.trunk.eval(), model.visual.image_size
    made: Any = io.BytesIO()  # the exporter takes it, its signature does not say so
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of torch's older exporter, which keeps the names of weights
        torch.onnx.export(
            trunk, (torch.zeros(1, 3, side, side),), made, dynamo=False, opset_version=17, do_constant_folding=False,
            input_names=[INPUT], output_names=["pooled"], dynamic_axes={INPUT: {0: "n"}, "pooled": {0: "n"}},
        )  # fmt: skip
    graph = onnx.load_from_string(made.getvalue())
    names = set(trunk.state_dict())
    for tensor in graph.graph.initializer:
        if tensor.name in names:
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            del tensor.external_data[:]
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", "handed-over"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(graph.SerializeToString())
