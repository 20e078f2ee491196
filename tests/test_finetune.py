"""Training goes on where it was stopped, and a bad recipe tells all its faults at once."""

import copy
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from safetensors.torch import load_file
from vlad.finetune.backbone import start_trunk
from vlad.finetune.clip import Batches, kept_loss, train_clip
from vlad.finetune.nano import main
from vlad.finetune.recipe import load_recipe

from vlad.errors import SettingsError, WeightsError

TINY = ["workers=0", "size=64", "batch=4", "frames=2", "real=0", "width=32", "embed=16"]


def steps(log: Path) -> list[int]:
    return [json.loads(line)["step"] for line in log.read_text().splitlines()]


@pytest.mark.slow
def test_clip_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    def train(minutes: float) -> int:
        recipe = load_recipe(changes=[f"clip.{c}" for c in [*TINY, f"minutes={minutes}"]]).clip
        train_clip(recipe, tmp_path / "clip", backbone="nano", data=None, log=tmp_path / "log.jsonl")
        return int(load_file(tmp_path / "clip/checkpoint.safetensors")["step"])

    first = train(0.02)
    (tmp_path / "clip/model.safetensors").unlink()
    kept = load_file(tmp_path / "clip/checkpoint.safetensors")
    assert train(0.02) == first  # the time is used up: nothing is done twice
    again = load_file(tmp_path / "clip/model.safetensors")
    assert all(torch.allclose(again[k].float(), kept[k].float(), atol=1e-3, rtol=1e-2) for k in again)
    assert train(0.04) > first
    model = open_clip.create_model(f"local-dir:{tmp_path / 'clip'}", load_weights=False)
    model.load_state_dict(load_file(tmp_path / "clip/model.safetensors"))


def test_real_clips_only_keep_the_tower_near_its_start() -> None:
    recipe = load_recipe(changes=[f"clip.{c}" for c in [*TINY, "batch=6", "real=2"]]).clip
    real = [np.full((4, 80, 96, 3), i, np.uint8) for i in range(3)]
    batch, alone = (Batches(recipe, clips, 0).batch(0) for clips in (real, []))
    assert (len(batch.pixels), len(batch.words), len(batch.labels), len(batch.real)) == (4, 4, 4, 2)
    assert (len(alone.pixels), len(alone.real)) == (6, 0)
    trunk = timm.create_model("mobilenetv2_100", num_classes=0).eval()
    start = copy.deepcopy(trunk)
    assert kept_loss(trunk, start, batch.real).item() == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        trunk.conv_stem.weight.mul_(-1)
    loss = kept_loss(trunk, start, batch.real)
    loss.backward()
    assert loss.item() > 1e-3
    assert all(p.grad is None for p in start.parameters())


@pytest.mark.parametrize("source", ["nano", "file"])
def test_a_trunk_starts_from_what_is_named(source: str, tmp_path: Path) -> None:
    trunk = timm.create_model("mobilenetv2_100", num_classes=0)
    before = trunk.conv_stem.weight.clone()
    if source == "nano":
        start_trunk(trunk, "nano")
        assert not torch.equal(trunk.conv_stem.weight, before)
    else:
        with pytest.raises(WeightsError, match="name a TFLite file, nano or timm"):
            start_trunk(trunk, str(tmp_path / "none.tflite"))


@pytest.mark.data
def test_the_imagenet_file_makes_a_trunk_that_tells_pictures_apart() -> None:
    import os

    trunk = timm.create_model("mobilenetv2_100", num_classes=0).eval()
    start_trunk(trunk, str(Path(os.environ["VLAD_DATA"]) / "models/mobilenet_v2_imagenet_int8.tflite"))
    rng = np.random.default_rng(0)
    noise, flat = torch.from_numpy(rng.normal(size=(1, 3, 224, 224)).astype(np.float32)), torch.zeros(1, 3, 224, 224)
    with torch.inference_mode():
        a, b = trunk(noise), trunk(flat)
    assert a.isfinite().all()
    assert float(torch.cosine_similarity(a, b)) < 0.95


def test_every_fault_of_a_recipe_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as told:
        main([f"work={tmp_path}", "clip.minutes=-1", "mil.epochs=many", "llava.colour=red", "hello"])
    for words in ("clip.minutes", "mil.epochs", "llava.colour", "'hello'"):
        assert words in str(told.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["clip: [", "- a", "clip: {minutes: 1}"])
def test_a_recipe_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"r\.yaml"):
        load_recipe(tmp_path / "r.yaml")


def test_a_missing_recipe_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such recipe"):
        load_recipe(tmp_path / "absent.yaml")
