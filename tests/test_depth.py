"""Near and far: the architecture with random weights, and the words on a made-up map."""

from pathlib import Path

import numpy as np
import pytest

from vlad.config import make_settings
from vlad.depth import Depth, load_depth, near_and_far
from vlad.errors import WeightsError
from vlad.types import Track


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small DPT of random weights."""
    import torch
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    made = tmp_path_factory.mktemp("dpt")
    config = DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8, backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, is_hybrid=False,
    )  # fmt: skip
    torch.manual_seed(0)
    model = DPTForDepthEstimation(config)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3)  # as they are made they let nothing through
    torch.nn.init.constant_(model.head.head[-2].bias, 50.0)  # what is below 0 is cut off
    model.save_pretrained(made)
    DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(made)
    return made


def test_maps_of_pictures(folder: Path) -> None:
    depth = load_depth(make_settings(depth=str(folder), device="cpu"))
    pictures = [np.random.default_rng(k).integers(0, 255, (48, 64, 3), dtype=np.uint8) for k in range(2)]
    maps = depth(pictures)
    assert [m.shape for m in maps] == [(48, 64)] * 2
    assert all(m.dtype == np.float32 and m.min() == 0 and m.max() == pytest.approx(1) for m in maps)
    assert np.allclose(depth(pictures[:1])[0], maps[0], atol=1e-5)


def test_what_is_no_such_model(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(WeightsError, match="weights are not here"):
        Depth("nobody/nothing")
    with pytest.raises(WeightsError, match="depth "):
        Depth(str(tmp_path))


def test_near_and_far_in_words() -> None:
    nearness = np.linspace(0, 1, 100, dtype=np.float32)[:, None].repeat(80, 1)  # nearer towards the bottom

    def somebody(number: int, y: float) -> Track:
        boxes = np.array([[0.4, y, 0.1, 0.1]] * 2, np.float32)
        return Track(number, "person", np.array([0.0, 2.0]), boxes, 0.8)

    facts = near_and_far([somebody(1, 0.85), somebody(2, 0.45), somebody(3, 0.05)], 1.0, nearness)
    assert {f.text for f in facts} == {
        "a person near the camera, as this scene goes (relative depth)", "a person far from the camera, as this scene goes (relative depth)",
    }  # fmt: skip
    assert near_and_far([somebody(1, 0.85)], 9.0, nearness) == []
