"""The first look: what moves is looked at, however small; light, noise, trembling and clocks are not; and what a quiet snippet costs."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from vlad.activity import Calm, averaged, blurred, size_of
from vlad.config import Settings, make_settings
from vlad.objects import Watch
from vlad.pipeline import Analyzer, fingerprint
from vlad.readers import PyAvFile
from vlad.types import Box, Features, ScoreTrack, Snippet
from vlad.video import checked_message, open_video

RNG = np.random.default_rng(5)
SCENE = cv2.GaussianBlur(RNG.normal(110, 60, (48, 64)).astype(np.float32), (0, 0), 1.5)
X, Y = np.meshgrid(np.arange(64), np.arange(48))


def calm(noise: float = 0.0, looks: int = 0) -> Calm:
    """Remembers SCENE, and has seen its noise a few times."""
    found = Calm()
    found.remember(SCENE + RNG.normal(0, noise, SCENE.shape).astype(np.float32))
    for _ in range(looks):
        found.moved(SCENE + RNG.normal(0, noise, SCENE.shape).astype(np.float32))
    return found


def shifted(by: float) -> Any:
    return cv2.warpAffine(
        SCENE, np.array([[1, 0, by], [0, 1, by]], np.float32), (64, 48), borderMode=cv2.BORDER_REPLICATE
    )


@pytest.mark.parametrize(
    ("what", "picture"),
    [
        ("nothing", SCENE),
        ("a lamp for all", SCENE * 1.03 + 2),
        ("a shadow with a soft edge", SCENE - 5 / (1 + np.exp(-(X - 30) / 8))),
        ("a trembling camera", shifted(0.2)),
    ],
)
def test_light_and_trembling_are_no_movement(what: str, picture: Any) -> None:
    assert not calm().moved(picture.astype(np.float32)), what


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.2])
def test_one_small_pixel_that_differs_is_movement_and_noise_is_none(noise: float) -> None:
    look = calm(noise, 50)
    fresh = [SCENE + RNG.normal(0, noise, SCENE.shape).astype(np.float32) for _ in range(40)]
    assert sum(look.moved(p) for p in fresh) <= 2
    someone = fresh[0].copy()
    someone[30, 20] += 16  # half a pixel of 30 grey levels
    assert look.moved(someone)


def test_much_light_is_another_picture_and_so_is_another_size() -> None:
    assert calm().moved(SCENE + 20)
    assert calm().moved(SCENE[:40])
    assert Calm().moved(SCENE)


def test_a_clock_is_learnt_at_the_edge_and_nowhere_else() -> None:
    for row, ticks in ((2, False), (24, True)):
        look, found = calm(), False
        for i in range(120):
            picture = SCENE.copy()
            picture[row, 20:22] += 40 * (i % 2)
            found = look.moved(picture)
        assert found is ticks
        picture[25, 40] += 30
        assert look.moved(picture)


def test_means_are_cut_at_the_edge() -> None:
    values = RNG.random((7, 9)).astype(np.float32)
    found = blurred(values, 2)
    assert found[3, 4] == pytest.approx(values[1:6, 2:7].mean(), abs=1e-6)
    assert found[0, 8] == pytest.approx(values[:3, 6:].mean(), abs=1e-6)
    assert (size_of(1920, 1080), size_of(360, 640)) == ((64, 36), (36, 64))


def test_a_small_picture_is_the_mean_of_the_large_one() -> None:
    picture = RNG.integers(0, 256, (360, 640), np.uint8)
    assert averaged(picture, 64, 36) == pytest.approx(picture.reshape(36, 10, 64, 10).mean((1, 3)), abs=1e-3)
    odd = averaged(picture[:355, :631], 64, 36)
    assert odd[0, 0] == pytest.approx(picture[:9, :9].mean(), abs=1e-3)
    assert odd[-1, -1] == pytest.approx(picture[345:355, 621:631].mean(), abs=1e-3)
    assert averaged(np.full((20000, 8), 255, np.uint8), 8, 64).max() == 255  # many rows in one part


@pytest.mark.parametrize(
    ("name", "jpeg"),
    [("yuv420p", False), ("yuvj420p", True), ("nv12", False), ("rgb24", False), ("yuv420p10le", False)],
)
def test_brightness_is_told_alike_of_every_kind_of_picture(name: str, jpeg: bool) -> None:
    """In 0..255, though it lies in 16..235 in most kinds."""
    shade = np.repeat(np.linspace(10, 240, 64)[:, None], 96, 1).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(np.stack([shade] * 3, -1), format="rgb24")
    made = frame if name == "rgb24" else frame.reformat(format=name, dst_color_range="JPEG" if jpeg else "MPEG")
    found = PyAvFile.small(None, made)  # type: ignore[arg-type]
    assert found.shape == size_of(96, 64)[::-1]
    assert found.mean() == pytest.approx(shade.mean(), abs=2)
    assert found[-1].mean() - found[0].mean() == pytest.approx(230, rel=0.05)


def film(path: Path, *, seconds: float = 30.0, moves: tuple[float, float] = (0.0, 0.0), noise: float = 3.0) -> Path:
    """A noisy scene at 10 frames a second, through which a figure of 6 x 12 pixels of 320 x 240 walks between two times (s)."""
    rng = np.random.default_rng(1)
    back = cv2.GaussianBlur(rng.normal(110, 60, (240, 320, 3)).astype(np.float32), (0, 0), 6)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for i in range(round(seconds * 10)):
            image = back + rng.normal(0, noise, (240, 320, 1))
            if moves[0] <= i / 10 < moves[1]:
                x = 100 + round((i / 10 - moves[0]) * 12)
                image[120:132, x : x + 6] = 40
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image.clip(0, 255).astype(np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("walk") / "walk.mp4", seconds=40, moves=(20, 26))


def read(path: Path, *, gated: bool = True, **settings: Any) -> list[Snippet]:
    with open_video(path, make_settings(**settings), size=120, gated=gated) as opened:
        return list(opened)


@pytest.mark.slow
def test_what_is_still_is_quiet_and_somebody_far_away_is_not(walk: Path) -> None:
    found = read(walk)
    assert [(s.start, s.end) for s in found] == [(s.start, s.end) for s in read(walk, gated=False)]
    assert not any(s.quiet for s in found if s.end > 20 and s.start < 26)
    still = [s for s in found if s.end <= 20]
    assert sum(s.quiet for s in still) >= len(still) // 2
    shown = [s.start for s in found if not s.quiet]
    assert max(b - a for a, b in pairwise(shown)) <= 8 + 1.6 + 1e-6, "at most AGE, and a snippet"
    assert all(s.frames is found[i - 1].frames for i, s in enumerate(found) if s.quiet)


@pytest.mark.slow
def test_shown_snippets_are_those_of_looking_everywhere(walk: Path) -> None:
    for one, other in zip(read(walk), read(walk, gated=False), strict=True):
        assert one.quiet or np.array_equal(one.frames, other.frames)
        assert not other.quiet


class Means:
    """Features are mean brightness; a quiet snippet is not looked at."""

    name, size = "means@000000", 120

    def __init__(self) -> None:
        self.looked = 0

    def __call__(self, snippets: Any) -> Features:
        rows: list[float] = []
        edges = [0.0]
        for s in snippets:
            self.looked += not s.quiet
            rows.append(rows[-1] if s.quiet else float(s.frames.mean()))
            edges.append(s.end)
        return Features(np.array(rows, np.float32)[:, None], np.array(edges), self.name)


def zero(features: Features) -> ScoreTrack:
    return ScoreTrack(np.zeros(len(features.values), np.float32), features.edges)


class Learnt:
    """A scorer that learnt what is normal."""

    name = "normality"

    def __call__(self, features: Features) -> ScoreTrack:
        return zero(features)


@pytest.mark.parametrize(
    ("changes", "scorer", "gated"),
    [({}, zero, True), ({"gating": False}, zero, False), ({"speeds": True}, zero, False), ({}, Learnt(), False)],
)
@pytest.mark.slow
def test_a_setting_turns_it_off_and_who_needs_every_moment_does(
    walk: Path, tmp_path: Path, changes: dict[str, Any], scorer: Any, gated: bool
) -> None:
    encoder = Means()
    settings = make_settings(cache=tmp_path, objects=False, **changes)
    features, _, _ = Analyzer(settings, encoder=encoder, scorer=scorer).features(walk)
    assert (encoder.looked < len(features.values)) is gated
    other = Analyzer(make_settings(cache=tmp_path, objects=False, gating=not gated), encoder=encoder, scorer=zero)
    before = encoder.looked
    other.features(walk)
    assert encoder.looked > before, "features of one setting are not taken for those of the other"


def test_features_keep_their_key_where_everything_is_looked_at() -> None:
    settings: Settings = make_settings()
    assert fingerprint("x@1", settings) == fingerprint("x@1", make_settings(gating=not settings.gating))
    assert fingerprint("x@1", settings, gated=True) != fingerprint("x@1", settings)


def test_things_stay_where_they_were_in_a_quiet_snippet() -> None:
    calls = []

    def detector(frames: Sequence[Any]) -> list[tuple[Box, ...]]:
        calls.append(len(frames))
        return [(Box("person", 0.9, (0.1, 0.1, 0.2, 0.4)),)]

    frames = np.zeros((4, 48, 64, 3), np.uint8)
    snippets = [Snippet(frames, float(i), i + 1.0, quiet=i not in (0, 4)) for i in range(6)]
    watch = Watch(snippets, detector, rate=2)  # type: ignore[arg-type]
    assert len(list(watch)) == 6
    assert [s.time for s in watch.sightings] == pytest.approx([0.125 + 0.5 * i for i in range(12)])
    assert (len(calls), {len(s.boxes) for s in watch.sightings}) == (4, {1})


def test_a_decoder_cannot_say_more_than_when_a_snippet_was_quiet() -> None:
    assert checked_message(b"Q", b'{"start": 1.0, "end": 2.0}', 0) == {"start": 1.0, "end": 2.0}
    for text, size in ((b'{"start": 2.0, "end": 1.0}', 0), (b'{"start": 1.0, "end": 2.0}', 3), (b'{"start": 1.0}', 0)):
        with pytest.raises(ValueError, match=r"."):
            checked_message(b"Q", text, size)


def test_a_normality_head_that_is_not_loaded_yet_is_known_by_its_folder(tmp_path: Path) -> None:
    (tmp_path / "head.json").write_text('{"kind": "normality"}')
    for folder, gated in ((tmp_path, False), (tmp_path / "none", True)):
        settings = make_settings(cache=None, gating=True, scorer_weights=str(folder))
        assert Analyzer(settings, encoder=Means()).gated is gated  # type: ignore[arg-type]
