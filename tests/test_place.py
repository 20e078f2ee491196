"""Metres by points of a floor plan, under a camera whose ground is known, and cameras that were moved."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

from vlad.background import compared, described, parse
from vlad.cli import app
from vlad.config import make_settings
from vlad.errors import InputError
from vlad.pipeline import Analyzer
from vlad.place import Place, feet, fitted, geojson, speeds
from vlad.place import parse as place_of
from vlad.report import to_json
from vlad.rules import held
from vlad.rules import parse as rules_of
from vlad.sim import simulate, write_video
from vlad.types import Analysis, ScoreTrack, Segment, Track, Video
from vlad.video import open_video

Floats = npt.NDArray[np.float64]
SQUARE = [[0.0, 0.0], [6.0, 0.0], [6.0, 12.0], [0.0, 12.0], [3.0, 6.0], [1.0, 9.0]]


def camera(ground: npt.ArrayLike) -> Floats:
    """A camera 4 m high that looks down by a third of a right angle: metres [N, 2] to shares of the picture."""
    x, y = np.asarray(ground, float).T
    tilt, depth = np.radians(30), np.asarray(y) + 4.0
    ahead, down = depth * np.cos(tilt) + 4 * np.sin(tilt), 4 * np.cos(tilt) - depth * np.sin(tilt)
    return np.stack([0.5 + 0.7 * (x - 3) / ahead, 0.5 + 0.7 * down / ahead], 1)


def pairs(count: int, noise: float = 0.0) -> list[list[list[float]]]:
    seen = camera(SQUARE[:count]) + np.random.default_rng(0).normal(0, noise, (count, 2))
    return [[p.tolist(), q] for p, q in zip(seen, SQUARE, strict=False)]


def walker(
    number: int, start: tuple[float, float], velocity: tuple[float, float], seconds: float = 6.0, label: str = "person"
) -> Track:
    """Somebody on the ground, metres and metres a second."""
    times = np.arange(0, seconds + 0.01, 0.5)
    at = camera(np.array(start) + times[:, None] * np.array(velocity))
    boxes = np.stack([at[:, 0] - 0.02, at[:, 1] - 0.1, np.full(len(at), 0.04), np.full(len(at), 0.1)], 1)
    return Track(number, label, times, boxes.astype(np.float32), 0.8)


@pytest.fixture
def place() -> Place:
    return place_of({"points": pairs(4)})


def test_four_points_give_metres_and_no_error(place: Place) -> None:
    assert np.allclose(place.metres(camera(SQUARE)), SQUARE, atol=1e-3)
    assert place.error < 1e-6
    assert place.left_out is None
    assert "says nothing" in place.describe()[0]


def test_more_points_tell_the_error() -> None:
    place = place_of({"points": pairs(6, 0.004)})
    assert 0 < place.error < 0.5
    assert place.left_out is not None
    assert place.left_out > place.error
    assert "foretold by the others" in place.describe()[0]


def test_nobody_is_above_the_horizon_or_far_away(place: Place) -> None:
    horizon = place.horizon()
    assert horizon is not None
    above, far = [0.5, max(horizon) - 0.05], camera([[3.0, 200.0]])[0]
    assert np.isnan(place.metres(np.array([above, far]))).all()
    assert np.isfinite(place.metres(camera([[3.0, 14.0]]))).all()


@pytest.mark.parametrize(
    ("points", "match"),
    [
        (pairs(3), "3 pairs; expected four or more"),
        ([*pairs(3), [[0.5, 1.2], [9, 9]]], "point 4 lies outside the picture"),
        (
            [[[0.1, 0.1], [0, 0]], [[0.5, 0.5], [6, 0]], [[0.9, 0.9], [6, 12]], [[0.1, 0.9], [0, 12]]],
            "points 1, 2, 3 lie in a line on the picture",
        ),
        ([[p, [float(i), 0.0 if i < 3 else 9.0]] for i, (p, _) in enumerate(pairs(4))], "lie in a line on the plan"),
        (
            [[p, q] for (p, _), q in zip(pairs(4), [SQUARE[i] for i in (0, 2, 1, 3)], strict=True)],
            "the horizon runs through them",
        ),
        ("x", "expected pairs"),
        ([[[0.1, True], [0, 0]]] * 4, "expected pairs"),
    ],
)
def test_points_that_tell_no_ground(points: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        place_of({"points": points})
    with pytest.raises(InputError, match=f"place: .*{match}"):
        rules_of("place: " + json.dumps({"points": points}))


def test_all_faults_at_once() -> None:
    with pytest.raises(ValueError, match=r"origin: .*; bearing: "):
        place_of({"points": pairs(4), "origin": [200, 0], "bearing": "north"})
    with pytest.raises(ValueError, match="expected a table"):
        place_of({"points": pairs(4), "scale": 2})


def test_metres_a_second(place: Place) -> None:
    track = walker(1, (1.0, 1.0), (0.5, 1.2))
    found = speeds(place.metres(feet(track.boxes)), 0.5)
    assert np.allclose(found, np.hypot(0.5, 1.2), atol=0.02)


def test_rules_in_metres(place: Place) -> None:
    text = "place: " + json.dumps({"points": pairs(4)}) + '\nrules: {it: {when: "SENTENCE"}}'
    tracks = [walker(1, (1.0, 1.0), (0.0, 1.5)), walker(2, (2.5, 1.0), (0.0, 1.5)), walker(3, (5.5, 1.0), (0.0, 0.2))]

    def who(sentence: str) -> set[int]:
        rules = rules_of(text.replace("SENTENCE", sentence))
        return {t for h in held(rules, tracks, 6.0, aspect=1.0) for t in h.tracks}

    assert who("a person with speed over 1 m/s for 2 s") == {1, 2}
    assert who("a person with speed under 1 m/s for 2 s") == {3}
    assert who("two people nearer than 2 m for 2 s") == {1, 2}
    assert who("two people nearer than 1 m") == set()
    rules = rules_of(text.replace("SENTENCE", "a person with speed over 1 m/s"))
    assert held(rules, tracks, 6.0, aspect=1.0, paused=[(0.0, 7.0)]) == []
    with pytest.raises(InputError, match="in metres: where is the ground"):
        rules_of("rules: {it: {when: a person with speed over 1 m/s}}")


def test_geojson_in_metres_and_degrees(place: Place) -> None:
    track = walker(1, (1.0, 1.0), (0.0, 1.0))
    flat = geojson(place, [track])
    (feature,) = flat["features"]
    assert flat["unit"] == "metres on the plan"
    assert feature["geometry"]["coordinates"][0] == pytest.approx([1.0, 1.0], abs=0.02)
    assert feature["properties"]["speed"] == pytest.approx(1.0, abs=0.02)
    east = geojson(fitted(place.picture, place.plan, origin=(52.0, 13.0), bearing=90.0), [track])
    first, last = (east["features"][0]["geometry"]["coordinates"][k] for k in (0, -1))
    assert east["unit"] == "degrees"
    assert (last[0] - first[0]) * 111_195 * np.cos(np.radians(52)) == pytest.approx(
        6.0, abs=0.1
    )  # the plan's y goes east
    assert last[1] == pytest.approx(first[1], abs=1e-6)


def test_a_camera_that_was_moved() -> None:
    world = simulate(7, duration=30.0, events=(), size=(480, 360))
    first, later = ([world.frame(t)[40:320, 60:420] for t in times] for times in ((1.0, 3.0, 5.0), (20.0, 23.0, 26.0)))
    before = parse(described(first).text())
    assert compared(before, described(later))[0] == "same"
    state, shift = compared(before, described([world.frame(t)[40:320, 100:460] for t in (20.0, 23.0, 26.0)]))
    assert state == "moved"
    assert shift == pytest.approx(40 / 360, abs=0.02)
    blank = np.full((280, 360, 3), 90, np.uint8)
    assert compared(before, described([blank])) == ("unlike", 0.0)
    for wrong in ("", "no", None, "AAAA"):
        with pytest.raises(ValueError, match="background: "):
            parse(wrong)


@pytest.mark.slow
def test_rules_and_facts_of_places_pause_where_the_camera_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = simulate(7, duration=6.0, events=(), size=(480, 360))
    stays, moved = tmp_path / "stays.mp4", tmp_path / "moved.mp4"
    small = replace(world, scene=replace(world.scene, background=world.scene.background[40:320, 60:420]))
    for path, left in ((stays, 60), (moved, 100)):
        write_video(small, path, frames=(frame[40:320, left : left + 360] for frame in world.frames()))
    file = tmp_path / "hall.yaml"
    file.write_text(
        f"zones: {{hall: [[0, 0], [1, 0], [1, 1], [0, 1]]}}\nrules: {{it: {{when: a person}}}}\nbackground: {described([world.frame(t)[40:320, 60:420] for t in (1.0, 3.0, 5.0)]).text()}\n"
    )
    analyzer = Analyzer(make_settings(rules=file), explainer=SimpleNamespace(engine=SimpleNamespace(name="any")))  # type: ignore[arg-type]
    boxes = np.tile(np.array([0.4, 0.3, 0.1, 0.4], np.float32), (4, 1))
    monkeypatch.setattr(analyzer, "tracks", lambda *_: (Track(1, "person", np.arange(4.0), boxes, 0.9),))
    told, zones = [], []
    for path in (stays, moved):
        with open_video(path, analyzer.settings, size=100) as clip:
            for _ in clip:
                pass
        told.append(analyzer.looked_elsewhere(clip.video))
        facts = analyzer.facts(clip.video, Segment(1.0, 3.0, 0.9, 2.0))
        zones.append([f.text for f in facts if f.kind == "people in zone"])
    assert zones == [['1 person in "hall"'], []]
    assert told[0] == ()
    assert [state for state, *_ in told[1]] == ["moved"]
    assert told[1][0][1:] == (0.0, pytest.approx(6.0, abs=0.1))


@pytest.mark.slow
def test_the_verbs(tmp_path: Path, clip: Path) -> None:
    run, file = CliRunner(), tmp_path / "hall.yaml"
    file.write_text("place: " + json.dumps({"points": pairs(5)}) + "\n")
    assert "5 points" in run.invoke(app, ["place", "check", str(file)]).stdout
    told = run.invoke(app, ["place", "reference", str(file), str(clip)])
    assert told.exit_code == 0, told.output
    assert run.invoke(app, ["place", "reference", str(file), str(clip)]).exit_code == 0
    assert file.read_text().count("background: ") == 1
    assert "rules pause" in run.invoke(app, ["place", "check", str(file)]).stdout
    video = Video("hall.mp4", "0" * 64, 6.0, 15.0, 400, 400, "h264")
    analysis = Analysis(
        video,
        ScoreTrack(np.zeros(1, np.float32), np.array([0.0, 6.0])),
        (),
        tracks=(walker(1, (1.0, 1.0), (0.0, 1.0)),),
    )
    (tmp_path / "hall.json").write_text(to_json(analysis))
    out = tmp_path / "out.geojson"
    assert run.invoke(app, ["place", "map", str(file), str(tmp_path / "hall.json"), "-o", str(out)]).exit_code == 0
    assert json.loads(out.read_text())["features"][0]["properties"]["track"] == 1
    file.write_text("rules: {it: {when: a person}}\n")
    assert "no place in it" in str(run.invoke(app, ["place", "check", str(file)]).exception)
