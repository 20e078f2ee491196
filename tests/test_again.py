"""Finding again by colours, within one camera's day."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from vlad.again import Outfit, find_again, likeness, one_camera, outfits
from vlad.cli import app
from vlad.config import make_settings
from vlad.errors import InputError, SettingsError
from vlad.report import to_json
from vlad.types import Analysis, ScoreTrack, Track, Video
from vlad.video import identify

COLOURS = {"white": (230, 230, 230), "red": (200, 25, 25), "blue": (25, 45, 190)}


def car(number: int, x: float) -> Track:
    boxes = np.tile(np.array([[x, 0.3, 0.25, 0.3]], np.float32), (5, 1))
    return Track(number, "car", np.linspace(0, 2, 5), boxes, 0.8)


def filmed(path: Path, colours: list[str]) -> Analysis:
    """Two seconds of grass with standing cars."""
    picture = np.full((240, 320, 3), (70, 140, 60), np.uint8)
    for k, colour in enumerate(colours):
        picture[72:144, 16 + 104 * k : 96 + 104 * k] = COLOURS[colour]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=Fraction(10), options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(21):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    video = Video(str(path), identify(path, make_settings(), lambda done, total: None), 2.1, 10.0, 320, 240, "h264")
    tracks = tuple(car(k + 1, 0.05 + 0.325 * k) for k in range(len(colours)))
    return Analysis(video, ScoreTrack(np.zeros(1, np.float32), np.array([0.0, 2.1])), (), tracks=tracks)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> list[Analysis]:
    folder = tmp_path_factory.mktemp("day")
    return [
        filmed(folder / "gate_2026-03-01_08-00-00.mp4", ["red", "white"]),
        filmed(folder / "gate_2026-03-01_17-00-00.mp4", ["blue", "red", "white"]),
    ]


def test_colours_of_tracks(day: list[Analysis]) -> None:
    found = outfits(day[0].video.path, day[0].tracks, day[0].video.duration, make_settings())
    assert {k: o.colours["vehicle"][0] for k, o in found.items()} == {1: "red", 2: "white"}


@pytest.mark.slow
def test_a_red_car_again(day: list[Analysis]) -> None:
    hits = find_again(Outfit("vehicle", {"vehicle": ("red", 1.0)}), day, make_settings())
    assert [(Path(h.clip).name[16:18], h.track) for h in hits] in ([("08", 1), ("17", 2)], [("17", 2), ("08", 1)])
    assert find_again(Outfit("bus", {"vehicle": ("red", 1.0)}), day, make_settings()) == []
    with pytest.raises(InputError, match="nothing is known"):
        find_again(Outfit("person"), day, make_settings())


def test_what_is_alike() -> None:
    wanted = Outfit("person", {"top": ("red", 1.0), "trousers": ("dark", 0.8)})
    assert likeness(wanted, Outfit("person", {"top": ("red", 0.5)})) == pytest.approx(0.25)
    assert likeness(wanted, Outfit("person", {"top": ("red", 0.9), "trousers": ("white", 0.9)})) == 0
    assert likeness(wanted, Outfit("person")) == 0
    assert likeness(wanted, Outfit("car", {"vehicle": ("red", 1.0)})) == 0


def named(name: str, width: int = 320) -> Analysis:
    video = Video(name, "0" * 64, 2.0, 10.0, width, 240, "h264")
    return Analysis(video, ScoreTrack(np.zeros(1, np.float32), np.array([0.0, 2.0])), ())


@pytest.mark.parametrize(
    ("names", "days", "match"),
    [
        (["gate_2026-03-01_08-00-00.mp4", "yard_2026-03-01_09-00-00.mp4"], 1.0, "of 2 cameras"),
        (["gate_2026-03-01_08-00-00.mp4", "gate_2026-03-03_09-00-00.mp4"], 1.0, "span 2.0 days"),
        (["gate.mp4", "gate.mp4"], 1.0, "tells no time"),
        (["gate_2026-03-01_08-00-00.mp4"], 30.0, "at most 7"),
    ],
)
def test_one_camera_and_its_days(names: list[str], days: float, match: str) -> None:
    with pytest.raises(InputError, match=match):
        one_camera([named(n) for n in names], days=days)
    one_camera([named(f"gate_2026-03-01_0{k}-00-00.mp4") for k in (7, 8)])


@pytest.mark.slow
def test_the_verb(day: list[Analysis], tmp_path: Path) -> None:
    files = []
    for k, analysis in enumerate(day):
        files.append(str(tmp_path / f"{k}.json"))
        Path(files[-1]).write_text(to_json(analysis))
    run = CliRunner()
    told = run.invoke(app, ["find-again", *files, "--like", "1", "--json"])
    assert told.exit_code == 0, told.output
    (hit,) = json.loads(told.stdout)
    assert (hit["track"], hit["colours"]) == (2, {"vehicle": "red"})
    assert "no proof" in run.invoke(app, ["find-again", *files, "--vehicle", "white"]).stdout
    assert isinstance(run.invoke(app, ["find-again", *files]).exception, SettingsError)
    assert isinstance(run.invoke(app, ["find-again", *files, "--like", "9"]).exception, InputError)
