"""What is measured of a span: from tracks that are made up, and colours from painted boxes."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from vlad.eval.real import garments

from vlad.colours import clothes_of, empty_scene, light_of, name_of, patch_name, standing_out, vehicle_colour
from vlad.config import make_settings
from vlad.facts import facts_of
from vlad.objects import load_detector
from vlad.sim import simulate
from vlad.tracks import follow
from vlad.types import Fact, Sighting, Track

ASPECT = 4 / 3
STEPS = np.arange(0, 8, 0.25)


def made(number: int, label: str, boxes: np.ndarray, times: np.ndarray = STEPS) -> Track:
    return Track(number, label, times, boxes.astype(np.float32), 0.9)


def standing(x: np.ndarray, *, y: float = 0.4, height: float = 0.3) -> np.ndarray:
    x = np.broadcast_to(x, STEPS.shape)
    return np.stack([x, np.full(len(x), y), np.full(len(x), height * 0.3), np.full(len(x), height)], axis=1)


def told(tracks: list[Track], span: tuple[float, float] = (0.0, 8.0)) -> dict[str, Fact]:
    return {f.kind: f for f in facts_of(tracks, span, aspect=ASPECT)}


def test_how_many_at_once_and_when() -> None:
    late = STEPS[16:]
    found = told(
        [
            made(1, "person", standing(np.array(0.1))),
            made(2, "person", standing(np.array(0.7))[16:], late),
            made(3, "car", standing(np.array(0.4))),
        ]
    )
    assert found["people"].text == "2 people at once"
    assert found["people"].time == pytest.approx(4.0)
    assert found["vehicles"].value == 1


def test_nobody_is_said_to_be_nobody() -> None:
    found = told([])
    assert (found["people"].text, found["people"].value) == ("no person detected", 0)
    assert "person speed" not in found
    assert "where" not in found


def test_close_together_and_fast() -> None:
    x = np.linspace(0.05, 0.9, len(STEPS))
    found = told([made(1, "person", standing(x)), made(2, "person", standing(x + 0.05))])
    assert found["close"].value == pytest.approx(8, abs=0.5)
    slow = told([made(1, "person", standing(np.linspace(0.1, 0.2, len(STEPS))))])
    assert "person speed" not in slow
    fast = told([made(1, "person", standing(np.linspace(0.0, 0.95, len(STEPS)), height=0.1))])
    assert fast["person speed"].value == pytest.approx(0.95 / 7.75 * ASPECT / 0.1, rel=0.1)
    assert "body heights" in fast["person speed"].text


def fallen(*, cut: bool = False) -> np.ndarray:
    boxes = standing(np.array(0.4))
    boxes[16:] = [0.3, 0.72 if cut else 0.6, 0.25, 0.28 if cut else 0.1]
    return boxes


def test_a_fall_is_upright_then_lying_and_a_cut_box_tells_nothing() -> None:
    assert told([made(1, "person", fallen())])["fall"].time == pytest.approx(3.75, abs=0.5)
    assert "fall" not in told([made(1, "person", standing(np.array(0.4)))])
    assert "fall" not in told([made(1, "person", fallen()[16:], STEPS[16:])]), "lying all the time is no fall"


def test_a_car_that_stops_and_one_that_drives_on() -> None:
    x = np.concatenate([np.linspace(0, 0.5, 12), np.full(len(STEPS) - 12, 0.5)])
    car = np.stack([x, np.full(len(x), 0.5), np.full(len(x), 0.1), np.full(len(x), 0.1)], axis=1)
    assert told([made(1, "car", car)])["stop"].text == "a car stops at once"
    on = car.copy()
    on[:, 0] = np.linspace(0, 0.9, len(x))
    assert "stop" not in told([made(1, "car", on)])


def test_a_bag_that_is_left_and_one_that_is_carried() -> None:
    bag = np.tile([0.4, 0.65, 0.04, 0.05], (len(STEPS), 1))
    owner = standing(np.concatenate([np.full(8, 0.38), np.linspace(0.38, 0.95, 12), np.full(len(STEPS) - 20, 0.95)]))
    assert "left" in told([made(1, "backpack", bag), made(2, "person", owner)])
    x = np.linspace(0.1, 0.8, len(STEPS))
    carried = told([made(1, "backpack", standing(x, height=0.05, y=0.5)), made(2, "person", standing(x))])
    assert "carried" in carried
    assert "left" not in carried


def test_where_in_the_picture() -> None:
    assert told([made(1, "person", standing(np.array(0.05)))])["where"].text.startswith("in the left of the picture")
    assert "far from the camera" in told([made(1, "person", standing(np.array(0.8), height=0.08))])["where"].text


@pytest.mark.parametrize(
    ("rgb", "name"),
    [((200, 30, 30), "red"), ((30, 60, 180), "blue"), ((20, 120, 40), "green"), ((240, 240, 240), "white"), ((12, 12, 14), "black"),
     ((235, 205, 40), "yellow"), ((128, 128, 128), "grey"), ((120, 40, 150), "purple"), ((240, 130, 30), "orange"), ((90, 60, 35), "brown")],
)  # fmt: skip
def test_colours_have_their_names(rgb: tuple[int, int, int], name: str) -> None:
    patch = np.full((30, 20, 3), rgb, np.uint8)
    assert patch_name(patch) == (name, 1.0)


def test_a_colour_that_pixels_do_not_agree_on_is_not_named() -> None:
    rng = np.random.default_rng(0)
    patch = np.kron(rng.integers(0, 256, (12, 12, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    assert patch_name(patch)[0] == ""
    assert name_of(50, 0, 0) == "grey"


def scene(top: tuple[int, int, int], low: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    picture = np.full((240, 320, 3), (150, 160, 120), np.uint8)
    picture[60:90, 100:130], picture[90:180, 100:130] = (180, 140, 120), top
    picture[126:180, 100:130] = low
    return picture, np.float32([100 / 320, 60 / 240, 30 / 320, 120 / 240])


def test_clothes_and_vehicles() -> None:
    assert clothes_of([scene((200, 30, 30), (30, 60, 180))])[0] == "a red top and blue trousers"
    picture, box = scene((200, 30, 30), (30, 60, 180))
    grey = np.repeat(picture.mean(2, keepdims=True), 3, 2).astype(np.uint8)
    assert clothes_of([(grey, box)]) == ("", 0.0), "an infrared picture has no colours"
    small = np.float32([0.3, 0.25, 0.02, 0.05])
    assert clothes_of([(picture, small)]) == ("", 0.0)
    picture[100:160, 20:120] = (235, 205, 40)
    assert vehicle_colour([(picture, np.float32([20 / 320, 100 / 240, 100 / 320, 60 / 240]))])[0] == "yellow vehicle"


def test_a_camera_that_moves_makes_speeds_doubtful() -> None:
    rng = np.random.default_rng(0)
    world = np.kron(rng.integers(0, 256, (30, 80, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    panned = {float(i): np.ascontiguousarray(world[20:260, 20 * i : 20 * i + 320]) for i in range(5)}
    still = {float(i): np.ascontiguousarray(world[20:260, 100:420]) for i in range(5)}
    runner = made(1, "person", np.stack([[0.1 + 0.05 * i, 0.4, 0.04, 0.12] for i in range(len(STEPS))]))
    moving, calm = (facts_of([runner], (0.0, 4.0), aspect=ASPECT, pictures=p) for p in (panned, still))
    assert "camera" in {f.kind for f in moving}
    assert "camera" not in {f.kind for f in calm}
    speed = [next(f.sure for f in facts if f.kind == "person speed") for facts in (moving, calm)]
    assert speed[0] == pytest.approx(speed[1] / 2)
    still[2.0][100:200, 50:150] = 255  # something large that comes into view is no pan
    assert "camera" not in {f.kind for f in facts_of([runner], (0.0, 4.0), aspect=ASPECT, pictures=still)}


def test_light() -> None:
    assert [f.kind for f in light_of([np.full((40, 40, 3), 20, np.uint8)])] == ["light", "grey"]
    assert light_of([scene((200, 30, 30), (30, 60, 180))[0]]) == []
    assert light_of([]) == []


def test_a_cloth_is_told_from_what_is_behind_it() -> None:
    picture, box = scene((200, 30, 30), (30, 60, 180))
    picture[:, :] = (40, 120, 50)
    picture[60:180, 112:118] = (200, 30, 30)  # a thin one: most of the patch is grass
    assert "green" not in clothes_of([(picture, box)])[0]
    dark, _ = scene((30, 30, 34), (20, 20, 60))
    assert clothes_of([(dark, box)])[0] == "a dark top and dark trousers", "nobody tells black from navy in a small box"


def test_trousers_below_the_picture_are_not_named() -> None:
    picture, box = scene((200, 30, 30), (200, 30, 30))
    cut_off = picture[:180]
    low = np.float32([box[0], box[1] * 240 / 180, box[2], box[3] * 240 / 180])
    assert clothes_of([(picture, box)])[0] == "a red top and red trousers"
    assert clothes_of([(cut_off, low)])[0] == "a red top"


def test_what_stands_out_of_the_empty_scene_is_told_by_its_own_pixels() -> None:
    rng = np.random.default_rng(0)
    empty = np.clip(rng.normal(110, 4, (240, 320, 1)) + np.zeros(3), 0, 255).astype(np.uint8)
    empty[100:140] = (200, 30, 30)  # a red wall behind
    picture, box = scene((30, 60, 180), (235, 205, 40))
    figure = empty.copy()
    figure[60:180, 108:122] = picture[60:180, 108:122]
    figure[176:184, 90:140] = figure[176:184, 90:140] * 3 // 4  # a shadow
    around = [empty] * 5
    assert clothes_of([(figure, box)], [standing_out(figure, empty)])[0] == "a blue top and yellow trousers"
    night = [(p * 0.3).astype(np.uint8) for p in (figure, empty)]
    assert clothes_of([(night[0], box)], [standing_out(*night)])[0] == "a blue top and yellow trousers"
    assert clothes_of([(empty, box)], [standing_out(empty, empty)]) == ("", 0.0), "nobody is there"
    assert np.array_equal(empty_scene([*around, figure, figure]), empty), "who passes is not the scene"  # type: ignore[arg-type]
    grey = np.repeat(empty.mean(2, keepdims=True), 3, 2).astype(np.uint8)
    assert empty_scene([grey] * 5) is None, "an infrared camera shows no colours"
    assert empty_scene([]) is None


def test_whoever_is_lost_and_found_again_is_one_person_and_belongs_to_the_span_that_they_fill() -> None:
    picture, box = scene((200, 30, 30), (30, 60, 180))
    boxes = np.tile(box, (len(STEPS), 1))
    early, late = made(1, "person", boxes[:12], STEPS[:12]), made(2, "person", boxes[16:28], STEPS[16:28])
    pictures = {float(t): picture for t in STEPS[::4]}
    found = [f for f in facts_of([early, late], (0.0, 7.0), aspect=ASPECT, pictures=pictures) if f.kind == "clothes"]
    assert [f.text for f in found] == ["a red top and blue trousers"]
    assert found[0].value == pytest.approx(6.75 / 7)
    both = made(2, "person", boxes[:12], STEPS[:12])
    found = [f for f in facts_of([early, both], (0.0, 7.0), aspect=ASPECT, pictures=pictures) if f.kind == "clothes"]
    assert len(found) == 2, "two who are there at once are two"


@pytest.mark.parametrize(("light", "seeds"), [("day", (60, 61)), ("night", (66, 73)), ("infrared", (63,))])
@pytest.mark.slow
def test_colours_of_rendered_people_are_those_they_were_painted_in(light: str, seeds: tuple[int, ...]) -> None:
    """What is named must be worn by somebody who is there; of an infrared picture nothing is."""
    detect, named, right = load_detector(make_settings()), 0, 0
    for world in (simulate(seed, duration=16.0, events=("robbery",)) for seed in seeds):
        assert world.scene.light == light
        event = next(e for e in world.events if e.anomalous)
        times = np.arange(event.start, event.end, 0.4).tolist()
        frames = {t: world.frame(t) for t in times}
        tracks = follow([Sighting(t, boxes) for t, boxes in zip(times, detect(list(frames.values())), strict=True)])
        around = empty_scene([world.frame(t) for t in np.linspace(0, 15.9, 15)])
        pictures = {t: frames[t] for t in times[1::2]}
        facts = facts_of(tracks, (event.start, event.end), aspect=ASPECT, pictures=pictures, scene=around)
        clothes = " ".join(f.text for f in facts if f.kind == "clothes")
        worn = " ".join(e.attributes["who"] for e in world.events)
        for garment in re.findall(r"\w+ (?:top|trousers)", clothes):
            named, right = named + 1, right + (garment in worn)
    if light == "infrared":
        assert named == 0
    else:
        assert named >= 4, "it names enough"
        assert right >= 0.8 * named


@pytest.mark.data
def test_colours_of_forty_boxes_that_somebody_judged() -> None:
    named = garments(Path(os.environ["VLAD_DATA"]))
    assert len(named) >= 20, "it names enough"
    assert np.mean([g.right for g in named]) >= 0.7
