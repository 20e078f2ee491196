"""The published YOLOX-nano, which takes one square picture, as one that takes any number of any shape: the same weights, the same numbers.

In: yolox_nano.onnx as Megvii publishes it. Out: the file that `vlad.objects` loads. All its layers are convolutions and poolings; only the sizes
that stand in its description and in three reshapes hold it to one square.
"""

from __future__ import annotations

from pathlib import Path


def free_shape(source: Path, target: Path) -> None:
    """Write `target`: input float [N, 3, H, W] (H and W multiples of 32), output [N, cells, 85]."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(source))
    graph = model.graph
    for value, names in ((graph.input[0], ("n", "", "h", "w")), (graph.output[0], ("n", "cells", ""))):
        for size, name in zip(value.type.tensor_type.shape.dim, names, strict=True):
            if name:
                size.dim_param = name
    del graph.value_info[:]  # sizes of what lies between
    weights = {w.name: w for w in graph.initializer}
    for node in graph.node:
        if node.op_type == "Reshape":
            shape = weights[node.input[1]]
            wanted = numpy_helper.to_array(shape).copy()
            wanted[0] = 0  # as many as come in
            shape.CopyFrom(numpy_helper.from_array(wanted, shape.name))
    onnx.checker.check_model(model)
    onnx.save(model, str(target))
