"""nano's image backbone as a graph for onnxruntime, which runs it in three fifths of the time that torch takes on a processor.

In: the model of `vlad.sight`. Out: a graph without weights (0.1 MB): `vlad.sight.Graph` hands it those that are there anyway.
"""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import nn

from vlad.scorers.head import sentences
from vlad.sight import INPUT, fuse, load_sight, normed, takes_padding
from vlad.sim import ANOMALIES
from vlad.weights import nano_part, write_checksums


def write_graph(visual: Any, path: Path) -> None:
    """The graph of the backbone of a Sight's or an open_clip model's image side, fused as the encoder fuses it, and what of its fusing no state tells; weights
    are named and left out. path: without a suffix. The module is changed."""
    import onnx

    trunk: Any = visual.trunk
    norms = {f"{at}.{name}".lstrip("."): f"{at}.{norm}".lstrip(".") for at, m in trunk.named_modules() for name, _, norm, _ in normed(m)}  # fmt: skip
    padded = [name for name, m in trunk.named_modules() if takes_padding(m)]
    (eps,) = {m.eps for m in trunk.modules() if isinstance(m, nn.BatchNorm2d)}
    fuse(visual, even=True)
    trunk.eval()
    side = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
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
    path.with_suffix(".onnx").write_bytes(graph.SerializeToString())
    path.with_suffix(".json").write_text(json.dumps({"eps": eps, "padded": padded, "norms": norms}) + "\n")


def write_towers(folder: Path) -> None:
    """The graphs of both of nano's eyes, and the vectors of the classes' sentences by both of its text towers: `vlad.encoder.known_sentences`."""
    name = f"local-dir:{nano_part('drawn')}"
    eye = open_clip.create_model(name, precision="fp32", weights_only=True).eval()
    sight, tokenizer = load_sight(nano_part("clip"))
    texts = [text for own in sentences(ANOMALIES).values() for text in own]
    with torch.inference_mode():
        found = {
            "sight": sight.encode_text(tokenizer(texts), normalize=True),
            "drawn": eye.encode_text(open_clip.get_tokenizer(name)(texts), normalize=True),
        }
    write_graph(sight.visual, folder / "trunk")
    write_graph(eye.visual, folder / "drawn")
    save_file(found, folder / "words.safetensors", {"sentences": json.dumps(texts)})
    write_checksums()
