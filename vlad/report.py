"""An analysis as JSON, CSV and one self-contained page; JSON back to an analysis.

In: an `Analysis`, and the frames to show. Out: text, or three files written whole or not at all. Knows no models. Everything in the
analysis is text to this room: it reaches the page escaped, and a spreadsheet as no formula.
"""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader
from PIL import Image

from vlad.errors import InputError, OutputError
from vlad.tracks import tubes
from vlad.types import FIELDS, Analysis, Explanation, ScoreTrack, Segment, Summary, Track, Video
from vlad.wording import has_verdict, reading

SCHEMA_PATH = Path(__file__).with_name("analysis.schema.json")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
MARKS = {"anomaly": "▲ model: anomaly", "normal": "● model: normal", "unclear": ""}
Frames = Mapping[float, npt.NDArray[np.uint8]]


def to_dict(analysis: Analysis) -> dict[str, Any]:
    """The fields of the values under their names; arrays as lists."""
    track = analysis.track
    return {
        "video": {**dataclasses.asdict(analysis.video), "gaps": [list(g) for g in analysis.video.gaps]},
        "track": {
            "scores": track.scores.tolist(), "edges": track.edges.tolist(), "labels": list(track.labels),
            "classes": None if track.classes is None else track.classes.tolist(),
        },
        "segments": [dataclasses.asdict(s) for s in analysis.segments],
        "explanations": [
            {**dataclasses.asdict(e), "times": list(e.times), "fields": dict(e.fields), "notes": list(e.notes)}
            for e in analysis.explanations
        ],
        "summary": dataclasses.asdict(analysis.summary) if analysis.summary else None,
        "made_by": dict(analysis.made_by),
        "tracks": [
            {"id": t.id, "label": t.label, "score": round(t.score, 3), "times": t.times.round(3).tolist(),
             "boxes": [[round(float(v), 4) for v in box] for box in t.boxes]} for t in analysis.tracks
        ],
        "tubes": [
            {**dataclasses.asdict(t), "start": round(t.start, 3), "end": round(t.end, 3), "score": round(t.score, 3)}
            for t in tubes(analysis.segments, analysis.tracks)
        ],
    }  # fmt: skip


def from_dict(facts: Mapping[str, Any]) -> Analysis:
    """The analysis that `to_dict` described. Raises InputError where a field is missing or makes no sense."""
    try:
        video, track = facts["video"], facts["track"]
        classes = track["classes"]
        return Analysis(
            Video(**{**video, "gaps": tuple((a, b) for a, b in video["gaps"])}),
            ScoreTrack(
                np.array(track["scores"], np.float32), np.array(track["edges"], np.float64), tuple(track["labels"]),
                None if classes is None else np.array(classes, np.float32).reshape(len(classes), len(track["labels"])),
            ),
            tuple(Segment(**s) for s in facts["segments"]),
            tuple(
                Explanation(
                    **{**e, "segment": Segment(**e["segment"]), "times": tuple(e["times"]), "notes": tuple(e.get("notes", ()))}
                )
                for e in facts["explanations"]
            ),
            facts["made_by"],
            Summary(**facts["summary"]) if facts.get("summary") else None,
            tuple(
                Track(t["id"], t["label"], np.array(t["times"], np.float64), np.array(t["boxes"], np.float32).reshape(-1, 4), t["score"])
                for t in facts.get("tracks", ())
            ),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        words = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(error)[:200])  # of whatever the file holds
        raise InputError(
            f"not an analysis of vlad ({type(error).__name__}: {words}); make one with `vlad analyze`"
        ) from None


def to_json(analysis: Analysis) -> str:
    """JSON text, one line."""
    return json.dumps(to_dict(analysis), ensure_ascii=False, allow_nan=False)


def from_json(text: str) -> Analysis:
    """The analysis of a JSON text. Raises InputError."""
    try:
        facts = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error}); make an analysis with `vlad analyze`") from None
    if not isinstance(facts, dict):
        raise InputError("not an analysis of vlad (a JSON object is expected); make one with `vlad analyze`")
    return from_dict(facts)


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):  # JSON knows no such number, so nobody could write it again
        raise ValueError(f"{text[:40]} is no finite number")
    return float(text)


def cell(value: object) -> object:
    """Text that a spreadsheet would run is led by an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def to_csv(analysis: Analysis) -> str:
    """One row a segment: times in seconds, scores in [0, 1], and what the model said. No class, and no probability, where it is not sure: `sure` no."""
    told = {e.segment: e for e in analysis.explanations}
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(
        ["video", "start", "end", "peak", "peak_time", "label", "verdict", "probability", "text", *FIELDS, "sure"]
    )
    for s in analysis.segments:
        e, label, said = told.get(s), s.label, [""] * 9
        if e is not None:
            read = reading(e, s.label)
            label = s.label if read.sure else ""
            chance = str(round(e.probability, 3)) if read.sure and e.probability is not None else ""
            said = [
                e.verdict if read.sure else "unclear",
                chance,
                read.text,
                *(read.fields.get(f, "") for f in FIELDS),
                "yes" if read.sure else "no",
            ]
        numbers = [round(x, 3) for x in (s.start, s.end, s.peak, s.peak_time)]
        rows.writerow([cell(v) for v in (analysis.video.path, *numbers, label, *said)])
    return out.getvalue()


def picture(frame: npt.NDArray[np.uint8]) -> str:
    """A frame (uint8 RGB [H, W, 3]) as a JPEG data URI, at most 320 pixels wide."""
    image = Image.fromarray(frame)
    image.thumbnail((320, 320))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def clock(seconds: float) -> str:
    """Seconds as a person reads them: 1:05.2, or 2:03:04.0."""
    tenths = round(seconds * 10)
    hours, minutes = tenths // 36000, tenths // 600 % 60
    return (f"{hours}:{minutes:02d}" if hours else str(minutes)) + f":{tenths // 10 % 60:02d}.{tenths % 10}"


def to_html(analysis: Analysis, frames: Frames, *, source: str = "", adopted: str = "") -> str:
    """One page that needs no network. frames: by time in seconds; source: the clip's address relative to the page.

    adopted: who stands by the model's words; without such a person the page holds none of them.
    """
    told = {e.segment: e for e in analysis.explanations}
    segments = []
    for segment in analysis.segments:
        explanation = told.get(segment)
        times = explanation.times if explanation and explanation.times else (segment.peak_time,)
        shown = [{"time": t, "uri": picture(frames[t])} for t in times if t in frames]
        read = reading(explanation, segment.label) if explanation else None
        mark = MARKS[explanation.verdict] if explanation and read and read.sure and has_verdict(explanation) else ""
        segments.append({"segment": segment, "explanation": explanation, "reading": read, "mark": mark, "shown": shown})
    environment = Environment(loader=PackageLoader("vlad", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["clock"] = clock
    settings = analysis.made_by.get("settings", {})
    curve = {
        "scores": [round(float(s), 4) for s in analysis.track.scores], "edges": [round(float(e), 3) for e in analysis.track.edges],
        "spans": [[s.start, s.end, s.peak] for s in analysis.segments], "gaps": [list(g) for g in analysis.video.gaps],
        "threshold": settings.get("enter") if isinstance(settings, dict) else None,
        "tracks": [
            {"label": t.label, "times": t.times.round(2).tolist(), "boxes": [[round(float(v), 3) for v in box] for box in t.boxes]}
            for t in analysis.tracks
        ],
    }  # fmt: skip
    return environment.get_template("report.html").render(
        analysis=analysis,
        name=Path(analysis.video.path).name,
        segments=segments,
        curve=curve,
        source=source,
        adopted=adopted,
    )


def _write(path: Path, text: str) -> None:
    """All of the text or none of it."""
    # A file name that is no UTF-8 holds lone surrogates; \udce9 is how JSON spells them too.
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, delete=False, encoding="utf-8", errors="backslashreplace", newline=""
    ) as file:
        try:
            file.write(text)
            file.flush()
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _stem(analysis: Analysis, folder: Path) -> str:
    """A file name for a clip; another clip of the same name gets its hash added."""
    plain = (
        "".join(c if c.isalnum() or c in " ._-" else "_" for c in Path(analysis.video.path).stem)
        .strip(". ")
        .lstrip("-")[:100]
    )
    plain = plain or "clip"
    try:
        there = json.loads((folder / f"{plain}.json").read_text())["video"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return plain
    return plain if there == analysis.video.sha256 else f"{plain}-{analysis.video.sha256[:8]}"


def save(
    analysis: Analysis, folder: Path, *, frames: Frames | None = None, adopted: str = ""
) -> tuple[Path, Path, Path]:
    """Write NAME.json, NAME.csv and NAME.html; adopted: see `to_html`. Raises OutputError where the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stem = _stem(analysis, folder)
        clip = Path(analysis.video.path).absolute()
        source = quote(os.fsencode(os.path.relpath(clip, folder.absolute()))) if clip.is_file() else ""
        texts = (to_json(analysis), to_csv(analysis), to_html(analysis, frames or {}, source=source, adopted=adopted))
        paths = tuple(folder / f"{stem}.{suffix}" for suffix in ("json", "csv", "html"))
        for path, text in zip(paths, texts, strict=True):
            _write(path, text)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); name another folder with -o") from None
    return paths[0], paths[1], paths[2]
