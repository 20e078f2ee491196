"""Is a camera that was moved noticed, and one that stands still left alone?

    vlad eval moved data=FOLDER [work=runs/moved]

In: real clips of cameras that stand still (DATA/clips and DATA/street labelled normal, the first test clips of Ped2). Out: a table and WORK/moved.json. The background is taken from the first third
of a clip, through a window of three quarters of the picture, and compared with the last third through the same window, one displaced, turned or enlarged, or under another light; so what
walks about differs too. Intervals over clips. Control: the mean difference of the two pictures, at the threshold that raises as many false alarms.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from rich.progress import track as bar
from rich.table import Table

from vlad.background import Picture, compared, described, still
from vlad.config import make_settings
from vlad.errors import SettingsError
from vlad.video import frames_at, open_video

from .metrics import bootstrap
from .verb import options_of, show_table

OPTIONS = {"data": "", "work": "runs/moved"}
PED2 = 6
SIZE = 270  # pixels of the shorter side
SAMPLES = 5  # pictures of either third
WINDOW = 0.75
STAYS = ("as it was", "half as light", "gamma 2", "a tenth more noise")
MOVES = (
    "moved by 1 %",
    "moved by 3 %",
    "moved by 5 %",
    "moved by 10 %",
    "moved by 20 %",
    "turned by 3 degrees",
    "enlarged by 1.15",
    "another camera",
)


def still_clips(data: Path) -> list[Path]:
    """Clips of cameras that stand still."""
    found = []
    for folder, label in (("clips", "label"), ("street", "label")):
        with open(data / folder / "manifest.csv", newline="") as file:
            found += [
                data / folder / r["file"]
                for r in csv.DictReader(file)
                if r[label].startswith("normal") and r.get("camera", "cctv").startswith("cctv")
            ]
    with open(data / "frames" / "manifest.csv", newline="") as file:
        found += [
            data / "frames" / r["file"] for r in csv.DictReader(file) if r["set"] == "ped2" and r["split"] != "train"
        ][:PED2]
    return found


def thirds(path: Path) -> tuple[list[Picture], list[Picture]]:
    """Pictures of the first and of the last third of a clip."""
    settings = make_settings()
    with open_video(path, settings, size=SIZE) as clip:
        for _ in clip:
            pass
        duration = clip.video.duration
    shares = np.linspace(0.02, 0.31, SAMPLES)
    both = [frames_at(path, (duration * (shares + at)).tolist(), settings, size=SIZE) for at in (0.0, 0.66)]
    return both[0], both[1]


def seen(pictures: Sequence[Picture], change: str) -> list[Picture]:
    """Pictures through a window that was changed."""
    return [_seen(p, change) for p in pictures]


def _seen(picture: Picture, change: str) -> Picture:
    height, width = picture.shape[:2]
    matrix = np.array([[1.0, 0, -(1 - WINDOW) / 2 * width], [0, 1.0, -(1 - WINDOW) / 2 * height]])
    if change.startswith("moved by"):
        matrix[0, 2] -= float(change.split()[2]) / 100 * WINDOW * width * (1 if "20" not in change else 0.6)
        matrix[1, 2] -= 0 if "20" not in change else 0.16 * WINDOW * height
    elif change.startswith(("turned", "enlarged")):
        angle, scale = (3.0, 1.0) if change.startswith("turned") else (0.0, 1.15)
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
        turn[:, 2] += matrix[:, 2]
        matrix = turn
    found = cv2.warpAffine(picture, matrix, (round(width * WINDOW), round(height * WINDOW)))
    values: npt.NDArray[np.float64] = found.astype(np.float64)
    if change == "half as light":
        values *= 0.5
    elif change == "gamma 2":
        values = 255 * (values / 255) ** 2
    elif change == "a tenth more noise":
        values += np.random.default_rng(0).normal(0, 25, values.shape)
    out: Picture = np.clip(values, 0, 255).astype(np.uint8)
    return out


def main(argv: Sequence[str]) -> int:
    """`vlad eval moved`. Raises SettingsError without data."""
    options = options_of("moved", argv, OPTIONS)
    if not options["data"]:
        raise SettingsError("eval moved: needs data=FOLDER")
    work, rows = Path(options["work"]), []
    work.mkdir(parents=True, exist_ok=True)
    clips = [(path, *thirds(path)) for path in bar(still_clips(Path(options["data"])), "clips")]
    told: dict[str, list[tuple[str, float]]] = {change: [] for change in (*STAYS, *MOVES)}
    for number, (_, first, last) in enumerate(clips):
        window = seen(first, "")
        before = described(window)
        for change in told:
            now = seen(
                clips[(number + len(clips) // 2) % len(clips)][1] if change == "another camera" else last, change
            )
            here = still([cv2.resize(p, (160, 120)) for p in now]).astype(float)
            apart = float(np.abs(here - still([cv2.resize(p, (160, 120)) for p in window])).mean())
            told[change].append((compared(before, described(now))[0] if len(before.points) else "unlike", apart))
    alarms = np.mean([state != "same" for change in STAYS for state, _ in told[change]])
    border = float(np.quantile([apart for change in STAYS for _, apart in told[change]], 1 - alarms))
    table = Table(
        "what happened",
        "clips",
        "same",
        "moved",
        "unlike",
        "moved or unlike",
        "control: mean difference",
        caption="shares, intervals over clips",
    )
    for change, found in told.items():
        shares = [
            bootstrap([float(s == state) for s, _ in found], lambda v: float(np.mean(v)))
            for state in ("same", "moved", "unlike")
        ]
        noticed = bootstrap([float(s != "same") for s, _ in found], lambda v: float(np.mean(v)))
        control = bootstrap([float(apart > border) for _, apart in found], lambda v: float(np.mean(v)))
        table.add_row(change, str(len(found)), *(f"{s.value:.3f}" for s in shares), str(noticed), str(control))
        rows.append(
            {
                "change": change,
                "states": [s for s, _ in found],
                "noticed": noticed.value,
                "low": noticed.low,
                "high": noticed.high,
                "control": control.value,
            }
        )
    (work / "moved.json").write_text(json.dumps({"clips": [p.name for p, *_ in clips], "rows": rows}, indent=1) + "\n")
    show_table(table)
    return 0
