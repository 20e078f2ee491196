"""The detector, what `vlad objects` prints, and numbers out of sightings."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from vlad.config import make_settings
from vlad.errors import InputError, SettingsError, WeightsError
from vlad.looks import look
from vlad.objects import COCO, SIDE, Detector, Watch, decoded, letterboxed
from vlad.seen import NAMES, SEEN_DIM, described
from vlad.sim import simulate
from vlad.types import Box, Sighting, Snippet
from vlad.weights import nano_part


def test_a_picture_is_letterboxed_left_and_top() -> None:
    frame = np.full((100, 200, 3), (10, 20, 30), np.uint8)
    whole, scale = letterboxed(frame)
    assert whole.shape == (3, 224, SIDE), "208 rows and as few grey ones as make a multiple of 32"
    assert scale == SIDE / 200
    assert whole[:, 0, 0].tolist() == [30, 20, 10], "BGR"
    assert whole[:, 207, 0].tolist() == [30, 20, 10]
    assert whole[:, 208, 0].tolist() == [114, 114, 114]
    assert letterboxed(frame[:, :100])[0].shape == (3, SIDE, SIDE)


def test_the_networks_output_is_centre_and_log_size_a_cell() -> None:
    raw = np.zeros((3549, 85), np.float32)
    raw[53, :4], raw[53, 4], raw[53, 5] = (0.5, 0.5, 1.0, 0.0), 0.8, 0.5  # the second cell of the second row, stride 8
    boxes, scores = decoded(raw, SIDE, SIDE)
    assert boxes[53].tolist() == pytest.approx([12 - 4 * np.e, 12 - 4, 8 * np.e, 8], abs=1e-3)
    assert scores[53, 0] == pytest.approx(0.4)


def test_frames_that_go_together_are_seen_as_alone() -> None:
    from vlad.objects import load_detector

    detector = load_detector(make_settings(object_score=0.1, object_classes=COCO))
    world = simulate(5, duration=8.0)
    frames = [world.frame(t) for t in (1.0, 3.0, 5.0)]
    wide = cv2.resize(frames[0], (400, 160))
    together, alone = detector([*frames, wide, frames[0]]), [detector([f])[0] for f in (*frames, wide, frames[0])]
    assert sum(map(len, alone)) > 0
    for a, b in zip(together, alone, strict=True):
        assert [x.label for x in a] == [x.label for x in b]
        np.testing.assert_allclose([x.box for x in a], [x.box for x in b], atol=1e-3)
    assert together[0] == together[4]


@pytest.mark.data
def test_the_shipped_detector_is_the_published_one_freed_of_its_square(tmp_path: Path) -> None:
    import onnxruntime
    from vlad.finetune.objects import free_shape

    source = Path(os.environ["VLAD_DATA"]) / "models" / "yolox_nano.onnx"
    free_shape(source, tmp_path / "free.onnx")
    picture = np.random.default_rng(0).random((2, 3, SIDE, SIDE), np.float32) * 255
    files = (source, tmp_path / "free.onnx", nano_part("objects") / "yolox_nano.onnx")
    published, *freed = (onnxruntime.InferenceSession(str(f), providers=["CPUExecutionProvider"]) for f in files)
    expected = np.concatenate([published.run(None, {"images": picture[i : i + 1]})[0] for i in range(2)])
    for session in freed:
        np.testing.assert_allclose(session.run(None, {"images": picture})[0], expected, atol=1e-3)
        assert session.run(None, {"images": picture[:, :, :256]})[0].shape == (2, (52 * 32 + 26 * 16 + 13 * 8), 85)


def test_nothing_is_seen_in_an_empty_picture_and_unknown_classes_are_named(tmp_path: Path) -> None:
    from vlad.objects import load_detector

    detector = load_detector(make_settings())
    assert detector(np.zeros((2, 120, 160, 3), np.uint8)) == [(), ()]
    with pytest.raises(SettingsError, match="unicorn"):
        load_detector(make_settings(object_classes=("unicorn",)))
    (tmp_path / "none.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError, match="reinstall"):
        Detector(tmp_path / "none.onnx", classes=("person",), score=0.3)


class Fake:
    """Sees one person in every frame that is not black."""

    def __call__(self, frames: list[np.ndarray]) -> list[tuple[Box, ...]]:
        return [(Box("person", 0.9, (0.1, 0.1, 0.2, 0.5)),) if f.any() else () for f in frames]


def test_snippets_are_looked_at_at_a_set_rate() -> None:
    snippets = [Snippet(np.full((4, 8, 8, 3), 9, np.uint8), i * 0.5, i * 0.5 + 0.5) for i in range(8)]
    watch = Watch(snippets, Fake(), rate=2.0)  # type: ignore[arg-type]
    assert len(list(watch)) == 8
    times = [s.time for s in watch.sightings]
    assert np.diff(times) == pytest.approx(0.5)
    assert watch.aspect == 1.0


def test_a_picture_and_a_file_that_is_none(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / "dark.png")
    found = look(tmp_path / "dark.png", make_settings())
    assert found == {"path": str(tmp_path / "dark.png"), "frames": [{"time": 0.0, "boxes": []}]}
    json.dumps(found)
    (tmp_path / "not.jpg").write_text("words")
    with pytest.raises(InputError, match="not a picture"):
        look(tmp_path / "not.jpg", make_settings())


def seen(boxes: list[tuple[float, float, float, float]], label: str = "person") -> list[Sighting]:
    return [Sighting(0.5 * i, (Box(label, 0.9, b),)) for i, b in enumerate(boxes)]


def test_one_who_falls_is_told_from_one_who_lies_or_stands() -> None:
    edges = np.arange(0, 6.5, 0.5)
    up, down = (0.4, 0.3, 0.1, 0.4), (0.35, 0.65, 0.3, 0.12)
    fell = described(seen([up] * 6 + [down] * 6), edges, aspect=4 / 3)
    felled = NAMES.index("felled")
    assert fell[:, felled].max() > 0.6
    assert described(seen([up] * 12), edges, aspect=4 / 3)[:, felled].max() == 0
    assert described(seen([down] * 12), edges, aspect=4 / 3)[:, felled].max() == 0
    assert fell.shape == (12, SEEN_DIM)
    assert np.isfinite(fell).all()


def test_nothing_seen_is_zeros_and_a_long_clip_is_told_in_blocks() -> None:
    edges = np.arange(0, 400, 0.5)
    assert not described([], edges, aspect=1.0).any()
    long = described(seen([(0.4, 0.3, 0.1, 0.4)] * 798), edges, aspect=1.0)
    people = long[4:-4, NAMES.index("people")]
    assert people == pytest.approx(np.log1p(1) / 3, abs=1e-6)
