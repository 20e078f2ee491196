"""Does `vlad anonymise` cover everybody? Real photos in motion, with the people in them marked, or the faces.

    vlad eval privacy data=FOLDER [what=people|faces] [photos=40] [seconds=3] [work=runs/privacy]

In: DATA/people, photos with boxes of people, or faces.json, faces in some of them. Out: a table and WORK/privacy.json: the share of (frame, person) pairs in which less than HIDDEN of a person is covered,
the share of (second, person) pairs with any such frame, and the share of the picture that is covered, with 95 % intervals over photos. Each photo becomes a clip in
which a window of three quarters of its side moves over it. Control: nothing covered. Exit status 0: there is no bar.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.progress import track as bar
from rich.table import Table

from vlad.anonymise import HIDDEN, WHAT, What, anonymise
from vlad.config import make_settings
from vlad.errors import SettingsError

from .metrics import bootstrap
from .verb import options_of, show_table

OPTIONS = {"data": "", "what": "people", "photos": "40", "seconds": "3", "work": "runs/privacy"}
FPS = 15
WINDOW = 0.75  # of a photo's side
GRID = 40  # places a side at which a person is looked for under the covers
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Seen:
    """Of one photo: (frame, person) pairs and those missed, the same by second, and the share of the picture that is covered."""

    frames: int
    missed: int
    seconds: int
    slipped: int
    area: float


def window(frame: int, frames: int) -> tuple[float, float]:
    """Left and top of the window, in shares of the photo: once around."""
    turn = 2 * np.pi * frame / frames
    room = 1 - WINDOW
    return float(room * (0.5 + 0.5 * np.cos(turn))), float(room * (0.5 + 0.5 * np.sin(turn)))


def inside(box: Box, left: float, top: float) -> Box | None:
    """A box of the photo in the window, in its shares; None where less than half of it is."""
    x0, y0 = ((box[k] - at) / WINDOW for k, at in ((0, left), (1, top)))
    w, h = box[2] / WINDOW, box[3] / WINDOW
    a, b, c, d = max(x0, 0.0), max(y0, 0.0), min(x0 + w, 1.0), min(y0 + h, 1.0)
    return (a, b, c - a, d - b) if c > a and d > b and (c - a) * (d - b) > 0.5 * w * h else None


def film(photo: npt.NDArray[np.uint8], frames: int, path: Path) -> None:
    """The window on its way, as h264."""
    height, width = photo.shape[:2]
    tall, wide = int(height * WINDOW) // 2 * 2, int(width * WINDOW) // 2 * 2
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = wide, tall, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        for k in range(frames):
            left, top = window(k, frames)
            x, y = min(round(left * width), width - wide), min(round(top * height), height - tall)
            shown = np.ascontiguousarray(photo[y : y + tall, x : x + wide])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        out.mux(stream.encode(None))


def share(box: Box, covers: Sequence[Box]) -> float:
    """The share of a box that lies under any of the covers."""
    x, y = np.meshgrid(*((np.arange(GRID) + 0.5) / GRID * box[2 + k] + box[k] for k in (0, 1)))
    under = np.zeros(x.shape, bool)
    for a, b, w, h in covers:
        under |= (x >= a) & (x <= a + w) & (y >= b) & (y <= b + h)
    return float(under.mean())


def marked() -> dict[str, list[Box]]:
    """Boxes of the faces that were marked by eye, by photo; a face is three quarters as wide as high."""
    rows = json.loads(files("vlad.eval").joinpath("faces.json").read_text())["faces"]
    return {name: [(x - 0.375 * h, y - h / 2, 0.75 * h, h) for x, y, h in faces] for name, faces in rows.items()}


def measure(photo: Path, what: What, frames: int, work: Path) -> Seen:
    """One photo."""
    boxes: list[Box] = [] if what == "people" else marked()[photo.stem]
    for line in photo.with_suffix(".txt").read_text().splitlines() if what == "people" else []:
        cx, cy, w, h = (float(v) for v in line.split()[1:5])
        boxes.append((cx - w / 2, cy - h / 2, w, h))
    clip = work / f"{photo.stem}.mp4"
    with Image.open(photo) as image:
        film(np.array(image.convert("RGB")), frames, clip)
    done = anonymise(clip, make_settings(), what=what)
    missed, there = np.zeros((len(boxes), frames), bool), np.zeros((len(boxes), frames), bool)
    areas = []
    for k in range(frames):
        now = [c.box for c in done.places if c.start <= k / FPS <= c.end]
        areas.append(share((0.0, 0.0, 1.0, 1.0), now))
        for i, box in enumerate(boxes):
            own = inside(box, *window(k, frames))
            if own is not None:
                there[i, k], missed[i, k] = True, share(own, now) < HIDDEN
    seconds = [(there[:, a : a + FPS].any(1), missed[:, a : a + FPS].any(1)) for a in range(0, frames, FPS)]
    return Seen(int(there.sum()), int(missed.sum()), int(sum(t.sum() for t, _ in seconds)), int(sum(m.sum() for _, m in seconds)), float(np.mean(areas)))  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """`vlad eval privacy`. Raises SettingsError where no photos are named."""
    options = options_of("privacy", argv, OPTIONS)
    what = next((w for w in WHAT if w == options["what"]), None)
    if what is None:
        raise SettingsError(f"eval privacy: what={options['what']}: expected one of {', '.join(WHAT)}")
    photos = sorted((Path(options["data"]) / "people").glob("*.jpg")) if options["data"] else []
    photos = [p for p in photos if what == "people" or p.stem in marked()][: int(options["photos"])]
    if not photos:
        raise SettingsError("eval privacy: name a folder that holds people/ (data=FOLDER)")
    work = Path(options["work"])
    work.mkdir(parents=True, exist_ok=True)
    found = [
        measure(photo, what, round(float(options["seconds"]) * FPS), work) for photo in bar(photos, "photos in motion")
    ]
    one = "a person" if what == "people" else "a face"
    figures = {
        f"frames in which {one} is not covered": bootstrap(found, lambda s: sum(x.missed for x in s) / max(sum(x.frames for x in s), 1)),
        f"seconds in which {one} is not covered for a frame or more": bootstrap(found, lambda s: sum(x.slipped for x in s) / max(sum(x.seconds for x in s), 1)),
        "share of the picture that is covered": bootstrap(found, lambda s: float(np.mean([x.area for x in s]))),
    }  # fmt: skip
    table = Table(
        what,
        "share [95 %, over photos]",
        "nothing covered",
        title=f"{len(found)} photos in motion, {sum(x.frames for x in found)} {what} in frames",
    )
    for name, figure in figures.items():
        table.add_row(name, str(figure), "0" if name.startswith("share") else "1.000")
    show_table(table)
    record = {"figures": {k: asdict(f) for k, f in figures.items()}, "photos": [asdict(x) for x in found]}
    (work / "privacy.json").write_text(json.dumps(record, indent=1) + "\n")
    return 0
