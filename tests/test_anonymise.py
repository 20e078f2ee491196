"""`vlad anonymise`: what was found is covered, from before it was seen until after it was gone; what comes out is looked at again."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vlad.anonymise import Done, alone, anonymise, closely, covers, uncovered, write
from vlad.cli import app
from vlad.config import make_settings
from vlad.errors import InputError, SettingsError
from vlad.faces import FaceDetector
from vlad.readers import Covering
from vlad.tracks import follow
from vlad.types import Box, Sighting
from vlad.video import frames_at

FACE = (0.4, 0.3, 0.1, 0.2)


def test_a_face_that_one_look_misses_is_covered_all_along() -> None:
    seen = [
        Sighting(k / 10, () if k in (3, 4, 5) else (Box("face", 0.9, (0.1 + 0.02 * k, 0.3, 0.1, 0.2)),))
        for k in range(10)
    ]
    places = covers(follow(seen), 0.2)
    for time in np.arange(0.0, 1.39, 0.01):
        x = 0.1 + 0.2 * min(time, 0.9)
        assert any(
            c.start <= time <= c.end and c.box[0] <= x and c.box[0] + c.box[2] >= x + 0.1 and c.box[1] <= 0.3
            for c in places
        ), time
    assert not any(c.start <= 1.5 <= c.end for c in places)


def test_what_was_seen_once_is_covered_and_a_second_look_adds_what_is_not() -> None:
    once = [Sighting(2.0, (Box("face", 0.5, FACE),))]
    places = covers(alone(once), 0.2)
    assert min(c.start for c in places) == 1.5
    assert max(c.end for c in places) == 2.5
    assert uncovered(once, places) == []
    other = Sighting(2.0, (Box("face", 0.5, (0.8, 0.3, 0.1, 0.2)),))
    assert uncovered([other, Sighting(4.0, once[0].boxes)], places) == [other, Sighting(4.0, once[0].boxes)]


@pytest.mark.parametrize("how", ["mosaic", "blur", "silhouette"])
def test_of_what_is_covered_a_few_means_are_left(how: str) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    cover = Covering(how, [[0.0, 1.0, 0.25, 0.25, 0.5, 0.5], [2.0, 3.0, 0.99, 0.99, 0.5, 0.5]])
    over = cover.of(0.5)(picture)
    piece = over[30:90, 40:120].astype(int)
    assert (over[:30] == picture[:30]).all()
    assert np.abs(np.diff(piece, axis=1)).mean() < 8  # of noise whose neighbours differ by 85
    assert (cover.of(1.5)(picture) == picture).all()
    assert cover.of(2.5)(picture).shape == picture.shape  # at the edge, two pixels of it
    assert (Covering(how, [[0, 9, 0, 0, 0.001, 0.001]]).of(1.0)(picture[:3, :3]) >= 0).all()


def test_the_second_look_enlarges_quarters() -> None:
    frame = np.zeros((100, 200, 3), np.uint8)
    found = closely(frame, lambda frames: [(Box("person", 0.5, (0.0, 0.0, 0.5, 0.5)),) for _ in frames])
    boxes = {tuple(round(v, 2) for v in b.box) for b in found}
    assert boxes == {(0, 0, 0.5, 0.5), (0, 0, 0.3, 0.3), (0.4, 0, 0.3, 0.3), (0, 0.4, 0.3, 0.3), (0.4, 0.4, 0.3, 0.3)}


def test_no_original_is_overwritten_and_wrong_words_are_told(clip: Path) -> None:
    with pytest.raises(InputError, match="would overwrite the clip"):
        write(clip, clip.parent, make_settings(), what="faces", how="mosaic")
    double = CliRunner().invoke(
        app, ["anonymise", str(clip), str(clip.parent / "other" / clip.name), "-o", str(clip.parent / "x")]
    )
    assert isinstance(double.exception, InputError)  # the second would have replaced the first
    for option in (["--what", "dogs"], ["--how", "glitter"]):
        done = CliRunner().invoke(app, ["anonymise", str(clip), "-o", str(clip.parent / "x"), *option])
        assert isinstance(done.exception, SettingsError)


def test_a_face_detector_that_is_none_is_told(tmp_path: Path) -> None:
    from vlad.errors import WeightsError

    (tmp_path / "face.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError, match="reinstall vlad"):
        FaceDetector(tmp_path / "face.onnx")


@pytest.mark.slow
def test_people_of_a_rendered_scene_are_covered(clip: Path, tmp_path: Path) -> None:
    done: Done = anonymise(clip, make_settings(), what="people")
    assert len(done.tracks) > 0
    (tmp_path / "covered.mp4").write_bytes(done.clip)
    busy = max(done.places, key=lambda c: c.box[2] * c.box[3])
    when = (busy.start + busy.end) / 2
    before, after = (
        frames_at(p, [when], make_settings(), size=240)[0].astype(int) for p in (clip, tmp_path / "covered.mp4")
    )
    assert before.shape == after.shape
    height, width = before.shape[:2]
    x, y, w, h = busy.box
    inner = np.s_[int(y * height) : int((y + h) * height), int(x * width) : int((x + w) * width)]
    changed = np.abs(before - after)
    assert changed[inner].mean() > 3 * np.median(changed)
    told = CliRunner().invoke(app, ["anonymise", str(clip), "-o", str(tmp_path / "out"), "--json"])
    assert told.exit_code == 0
    assert (tmp_path / "out" / clip.name).stat().st_size > 1000
    assert json.loads(told.stdout)[0]["what"] == "faces"


@pytest.mark.data
def test_a_real_face_is_found_and_nobody_named(tmp_path: Path) -> None:
    import os

    from PIL import Image

    from vlad.faces import load_faces

    photos = sorted((Path(os.environ["VLAD_DATA"]) / "people").glob("*.jpg"))[:40]
    found = load_faces()([np.array(Image.open(p).convert("RGB")) for p in photos])
    assert sum(map(len, found)) > 15
    assert {b.label for boxes in found for b in boxes} == {"face"}
