"""How a place is walked, on drawn paths whose truth is known."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vlad.cli import app
from vlad.errors import InputError
from vlad.movement import THEN, WORDS, Paths, Walked, drawn, judge, keep, kept, learn
from vlad.report import to_json
from vlad.types import Analysis, ScoreTrack, Track, Video


def walker(
    number: int, start: float, *, y: float = 0.6, back: bool = False, pace: float = 0.1, label: str = "person"
) -> Track:
    """Somebody a fifth of the picture high who crosses it along a row, from the left or back."""
    times = np.arange(start, start + 1 / pace, 0.5)
    x = (times - start) * pace
    x = 1 - x if back else x
    boxes = np.stack(
        [np.clip(x - 0.04, 0, 0.92), np.full(len(x), y - 0.2), np.full(len(x), 0.08), np.full(len(x), 0.2)], 1
    )
    return Track(number, label, times, boxes.astype(np.float32), 0.8)


def clip(tracks: list[Track], hour: int | None = None, aspect: float = 1.5) -> Walked:
    clock = None if hour is None else (datetime(2026, 3, 2, hour, tzinfo=UTC).timestamp(), UTC)
    return Walked(tracks, 40.0, aspect, clock)


@pytest.fixture(scope="module")
def paths() -> Paths:
    """To the right in the morning, to the left in the evening."""
    return learn(
        [
            clip(
                [
                    walker(k + 1, 2.0 + 3 * k, back=h > 12, pace=0.09 + 0.0003 * ((5 * k + 7 * n) % 80))
                    for k in range(8)
                ],
                h,
            )
            for h in (8, 18)
            for n in range(6)
        ]
    )


@pytest.mark.parametrize(
    ("odd", "hour", "why"),
    [
        (walker(9, 5.0, y=0.95), 8, WORDS["place"]),
        (walker(9, 5.0, back=True), 8, THEN["way"]),
        (walker(9, 5.0), 18, THEN["way"]),
        (walker(9, 5.0, pace=0.4), 8, WORDS["speed"]),
    ],
)
def test_a_departure_is_found_and_told(paths: Paths, odd: Track, hour: int, why: str) -> None:
    usual = [walker(k + 1, 2.0 + 3 * k, back=hour > 12) for k in range(4)]
    track, found = judge(paths, clip([*usual, odd], hour))
    assert (found[0].track, found[0].why) == (9, why)
    assert found[0].score > 0.5
    assert {d.track for d in found if d.score > 0.7} <= {9}
    assert track.scores.max() == pytest.approx(found[0].score)
    assert float(track.at(39.0)) == 0  # nobody is there


def test_what_is_usual_scores_low(paths: Paths) -> None:
    track, found = judge(paths, clip([walker(1, 3.0), walker(2, 9.5)], 8))
    assert found == []
    assert track.scores.max() < 0.5


def test_without_a_clock_the_day_counts(paths: Paths) -> None:
    assert all(d.score < 0.6 for d in judge(paths, clip([walker(1, 3.0), walker(2, 9.5, back=True)]))[1])


def test_an_hour_nobody_saw_leans_on_the_day(paths: Paths) -> None:
    assert all(d.score < 0.6 for d in judge(paths, clip([walker(1, 3.0), walker(2, 9.5, back=True)], 3))[1])


def test_a_vehicle_where_none_goes(paths: Paths) -> None:
    found = judge(paths, clip([walker(1, 3.0, label="car")], 8))[1]
    assert found[0].kind == "vehicle"
    assert found[0].why == WORDS["place"]


def test_things_do_not_walk(paths: Paths) -> None:
    assert judge(paths, clip([walker(1, 3.0, y=0.95, label="suitcase")], 8))[1] == []


def test_what_was_learnt_is_kept(paths: Paths, tmp_path: Path) -> None:
    written = {path.name for path in keep(paths, tmp_path)}
    assert written == {"movement.json", "movement.safetensors", "map.png", "map-08.png", "map-18.png"}
    again = kept(tmp_path)
    assert np.array_equal(again.ways, paths.ways)
    assert np.array_equal(again.speeds, paths.speeds)
    assert (again.levels, again.aspect, again.clips) == (paths.levels, paths.aspect, 12)
    for broken in ("{}", "no", '{"levels": {"place": 1}}'):
        (tmp_path / "movement.json").write_text(broken)
        with pytest.raises(InputError, match="holds no paths"):
            kept(tmp_path)


def test_the_map_is_where_they_walk(paths: Paths) -> None:
    image = drawn(paths, hour=8)
    assert image.shape == (480, 720, 3)
    assert (image[40] == 255).all()
    assert not (image[int(0.6 * 480)] == 255).all()
    assert (drawn(paths, hour=3) == 255).all()


def test_too_little_or_another_camera(paths: Paths) -> None:
    with pytest.raises(InputError, match="two clips or more"):
        learn([clip([walker(1, 3.0)])])
    with pytest.raises(InputError, match="nobody and no vehicle"):
        learn([clip([]), clip([])])
    with pytest.raises(InputError, match="not of one camera"):
        learn([clip([walker(1, 3.0)]), clip([walker(1, 3.0)], aspect=1.0)])
    with pytest.raises(InputError, match="another camera"):
        judge(paths, clip([], aspect=1.0))


def test_the_verbs(tmp_path: Path) -> None:
    files = []
    for k in range(4):
        video = Video(f"door_2026-03-0{k + 1}_08-00-00.mp4", "0" * 64, 40.0, 15.0, 300, 200, "h264")
        tracks = tuple(walker(n + 1, 2.0 + 4 * n, pace=0.09 + 0.003 * ((k + n) % 6)) for n in range(6)) + (
            (walker(7, 5.0, back=True),) if k == 3 else ()
        )
        analysis = Analysis(video, ScoreTrack(np.zeros(1, np.float32), np.array([0.0, 40.0])), (), tracks=tracks)
        files.append(tmp_path / f"{k}.json")
        files[-1].write_text(to_json(analysis))
    run, out = CliRunner(), str(tmp_path / "paths")
    assert run.invoke(app, ["movement", "learn", *map(str, files[:3]), "-o", out]).exit_code == 0
    told = run.invoke(app, ["movement", "score", out, str(files[3]), "-o", str(tmp_path), "--json"])
    assert told.exit_code == 0
    (one,) = json.loads(told.stdout)
    assert {d["track"] for d in one["departures"]} == {7}
    assert one["departures"][0]["why"] == WORDS["way"]
    assert (tmp_path / "3-movement.png").stat().st_size > 1000
    assert json.loads((tmp_path / "3-movement.json").read_text()) == one
    shown = run.invoke(app, ["movement", "score", out, str(files[3]), "-o", str(tmp_path)])
    assert "the wrong way" in shown.stdout
