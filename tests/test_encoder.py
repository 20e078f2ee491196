"""Snippets to features, on a real open_clip model of random weights."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.numpy import load_file, save_file
from timm.layers import Conv2dSame, create_conv2d

from vlad import motion
from vlad.config import make_settings
from vlad.device import choose_dtype
from vlad.encoder import AHEAD, ClipEncoder, _drawn, _drawn_whole, drawn_words, fuse, known_sentences, load_encoder
from vlad.errors import WeightsError
from vlad.seen import SEEN_DIM
from vlad.sight import Graph
from vlad.types import Snippet
from vlad.weights import nano_part

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def make(*, use_motion: bool = False, squash: bool = True, weights: str = "w", use_speeds: bool = False) -> ClipEncoder:
    torch.manual_seed(0)
    return ClipEncoder(
        open_clip.CLIP(**CONFIG), open_clip.get_tokenizer("ViT-B-32"), name="tiny", weights=weights,
        use_motion=use_motion, squash=squash, device=torch.device("cpu"), use_speeds=use_speeds,
    )  # fmt: skip


def snippets(count: int, *, size: tuple[int, int] = (48, 64), seed: int = 0) -> list[Snippet]:
    rng = np.random.default_rng(seed)
    return [Snippet(rng.integers(0, 256, (2, *size, 3), dtype=np.uint8), float(i), i + 1.0) for i in range(count)]


def test_batches_do_not_change_a_feature() -> None:
    encoder, all_ = make(), snippets(40)
    together = encoder(all_)
    assert together.values.shape == (40, 32)
    assert together.edges.tolist() == list(range(41))
    alone = np.stack([encoder([s]).values[0] for s in all_])
    np.testing.assert_allclose(together.values, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together.values, axis=1), 1, atol=1e-5)


def test_a_size_that_changes_on_the_way_is_no_trouble() -> None:
    smaller = [Snippet(s.frames, s.start + 3, s.end + 3) for s in snippets(3, size=(32, 32))]
    assert len(make()([*snippets(3), *smaller]).values) == 6


def test_movement_is_appended_and_named() -> None:
    plain, moving = make(), make(use_motion=True)
    space, change = moving.parts
    assert (space, 0) == plain.parts
    assert change == space + SEEN_DIM + motion.MOTION_DIM
    assert sum(moving.parts) == moving(snippets(1)).values.shape[1]
    assert plain.name != moving.name


def test_speeds_are_told_by_height_of_the_picture() -> None:
    """A patch that moves a tenth of the picture's height in a second, in its upper half, seen by four frames a quarter of a second apart."""
    rng = np.random.default_rng(0)
    frames = np.full((4, 240, 320, 3), 90, np.uint8)
    patch = rng.integers(0, 256, (30, 30, 1)).repeat(3, 2)
    for i, frame in enumerate(frames):
        frame[60:90, 50 + 6 * i : 80 + 6 * i] = patch
    found = motion.speeds(frames, 0.25)
    assert found.shape == (motion.BANDS,)
    assert 0.08 < found[6:9].max() < 0.12, "6 of 240 pixels in a quarter of a second"
    assert found[15:].max() < 0.01
    np.testing.assert_allclose(motion.speeds(frames, 0.5), found / 2, rtol=1e-5)
    assert motion.speeds(frames[:1], 1.0).tolist() == [0.0] * motion.BANDS
    fast, moving = make(use_motion=True, use_speeds=True), make(use_motion=True)
    assert fast.name != moving.name
    assert sum(fast.parts) == sum(moving.parts) + motion.BANDS == fast(snippets(2)).values.shape[1]


@pytest.mark.slow
def test_the_fingerprint_follows_what_decides_a_feature() -> None:
    assert len({make().name, make(squash=False).name, make(weights="v").name}) == 3
    assert make().name == make().name


def test_pictures_are_prepared_as_open_clip_does() -> None:
    from PIL import Image

    encoder, frame = make(squash=False), snippets(1, size=(90, 120))[0].frames[:1]
    transform = open_clip.image_transform(
        64, is_train=False, mean=open_clip.OPENAI_DATASET_MEAN, std=open_clip.OPENAI_DATASET_STD
    )
    theirs = transform(Image.fromarray(frame[0]))
    assert isinstance(theirs, torch.Tensor)
    assert float((encoder.pixels(frame)[0] - theirs).abs().mean()) < 0.02


def test_decoding_stays_a_few_snippets_ahead_and_its_error_arrives() -> None:
    read = 0

    def source() -> Iterator[Snippet]:
        nonlocal read
        for snippet in snippets(100):
            read += 1
            yield snippet
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        make()(source())
    assert read == 100
    assert AHEAD < 100


def test_no_snippet_is_an_error() -> None:
    with pytest.raises(ValueError, match="no snippets"):
        make()([])


def test_unknown_and_missing_weights_name_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"needs Settings\.encoder_weights"):
        load_encoder(make_settings(encoder="ViT-B-16"))
    with pytest.raises(WeightsError, match="--preset nano"):
        load_encoder(make_settings(encoder="ViT-B-16", encoder_weights="no-such-tag"))
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    with pytest.raises(WeightsError, match="no safetensors"):
        load_encoder(make_settings(encoder=str(tmp_path)))


def test_a_still_clip_does_not_move_and_a_lamp_is_no_movement() -> None:
    frame = snippets(1)[0].frames[0]
    still = motion.descriptors(np.stack([frame] * 4))
    assert float(np.abs(still[:6]).max()) == 0
    assert float(np.abs(still).max()) < 0.1
    dark = (frame // 2 + 20).astype(np.uint8)
    flat = np.full_like(frame, 90)
    lamp = motion.descriptors(np.stack([flat, flat + 40]))
    assert lamp[5] < 1e-3 < lamp[23] + lamp[24]
    assert motion.descriptors(np.stack([frame, dark]))[5] > 0.1


def test_one_frame_has_no_movement() -> None:
    assert motion.descriptors(snippets(1)[0].frames[:1]).tolist() == [0.0] * motion.MOTION_DIM


def test_a_fused_tower_is_the_same_function() -> None:
    torch.manual_seed(0)
    inner = torch.nn.Sequential(torch.nn.Conv2d(8, 4, 1), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 4, 1))
    tower = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), inner)
    with torch.no_grad():
        for norm in (tower[1], inner[1]):
            for values in (norm.running_mean, norm.weight, norm.bias):
                torch.nn.init.normal_(values)
            torch.nn.init.uniform_(norm.running_var, 0.5, 2)
        tower.eval()
        pictures = torch.randn(2, 3, 16, 16)
        before = tower(pictures)
        fuse(tower)
        torch.testing.assert_close(tower(pictures), before)
    assert not [m for m in tower.modules() if isinstance(m, torch.nn.BatchNorm2d)]


def test_a_kernel_with_a_row_of_zeros_pads_as_tensorflow_does() -> None:
    torch.manual_seed(0)
    tower = torch.nn.Sequential(
        create_conv2d(3, 8, 3, stride=2, padding="same"), torch.nn.ReLU(),
        create_conv2d(8, 8, 5, stride=2, padding="same", depthwise=True), create_conv2d(8, 4, 3, padding="same"),
    ).eval()  # fmt: skip
    with torch.no_grad():
        pictures = torch.randn(2, 3, 64, 96)
        before = tower(pictures)
        fuse(tower, even=True)
        torch.testing.assert_close(tower(pictures), before)
    assert not [m for m in tower.modules() if isinstance(m, Conv2dSame)]


def test_quantiles_are_numpys() -> None:
    values = np.random.default_rng(0).gamma(1, 5, (48, 64)).astype(np.float32)
    np.testing.assert_allclose(motion._quantiles(values), np.quantile(values, motion.QUANTILES), rtol=1e-5)


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="no snippets"):
        load_encoder(make_settings())(iter(()))
    assert torch.get_num_threads() == before


def test_a_quiet_snippet_has_the_features_of_the_one_before() -> None:
    encoder, some = make(use_motion=True), snippets(12)
    quiet = [replace(s, quiet=i in (3, 4, 9, 11), frames=some[i - 1].frames) if i else s for i, s in enumerate(some)]
    found = encoder(quiet).values
    shown = encoder([s for s in quiet if not s.quiet]).values
    kept = np.cumsum([not s.quiet for s in quiet]) - 1
    np.testing.assert_allclose(found, shown[kept], atol=1e-6)


def test_the_graph_of_nanos_tower_is_its_tower() -> None:
    encoder = load_encoder(make_settings(cache=None))
    pictures = encoder.pixels(np.random.default_rng(0).integers(0, 256, (3, 120, 160, 3), dtype=np.uint8))
    assert isinstance(encoder._trunk, Graph)
    found = encoder.tower(pictures)
    encoder._trunk = encoder.model.visual.trunk
    for one, other in zip(found, encoder.tower(pictures), strict=True):
        assert float((one - other).abs().max()) < 1e-4


def test_the_graph_of_the_second_eye_is_its_tower() -> None:
    eye, whole = _drawn(torch.device("cpu")).encoder, _drawn_whole(torch.device("cpu"))
    frames = np.random.default_rng(0).integers(0, 256, (3, 120, 160, 3), dtype=np.uint8)
    assert isinstance(eye._trunk, Graph)
    for one, other in zip(eye.tower(eye.pixels(frames)), whole.tower(whole.pixels(frames)), strict=True):
        assert float((one - other).abs().max()) < 1e-4


def test_known_sentences_are_what_the_text_towers_say() -> None:
    encoder, texts = load_encoder(make_settings(cache=None)), list(known_sentences("sight"))[:3]
    kept = encoder.embed_text(texts)
    encoder.known = {}
    np.testing.assert_allclose(encoder.embed_text(texts), kept, atol=1e-5)
    words = drawn_words()
    np.testing.assert_allclose(words([*texts, "a red ball"])[:3], words(texts), atol=1e-5)
    assert words(texts).shape == (3, 192)


def test_a_folder_whose_tower_lacks_a_weight_is_told_when_it_is_loaded(tmp_path: Path) -> None:
    """Its towers are made late only where nano's checksums have said that it is whole."""
    folder = shutil.copytree(nano_part("clip"), tmp_path / "sight")
    state = load_file(folder / "model.safetensors")
    del state["visual.trunk.bn1.weight"]
    save_file(state, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"encoder sight: cannot be loaded .*EfficientNet"):
        load_encoder(make_settings(encoder=str(folder)))


@pytest.mark.slow
def test_nano_scores_without_the_libraries_that_make_its_towers() -> None:
    """They take seconds to import, which whoever waits for a first score would wait for."""
    code = (
        "import sys; from vlad.config import make_settings; from vlad.pipeline import Analyzer; "
        "a = Analyzer(make_settings(cache=None)); a.encoder.drawn.encoder; a.scorer; "
        "print([m for m in ('timm', 'open_clip', 'transformers', 'torchvision', 'sklearn', 'pandas') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_graphs_and_sentences_are_made_again_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    from vlad.finetune import tower

    monkeypatch.setattr(tower, "write_checksums", lambda: None)
    tower.write_towers(tmp_path)
    own = nano_part("tower")
    for name in ("trunk.onnx", "trunk.json", "drawn.onnx", "drawn.json"):
        assert (tmp_path / name).read_bytes() == (own / name).read_bytes()
    made, kept = (load_file(folder / "words.safetensors") for folder in (tmp_path, own))
    for name in kept:
        np.testing.assert_allclose(made[name], kept[name], atol=1e-5)


def test_nothing_is_cast_where_the_processor_has_no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    assert choose_dtype(torch.device("cpu"), "auto") == torch.float32
    encoder = make()
    with encoder._autocast():
        assert not torch.is_autocast_enabled("cpu")
