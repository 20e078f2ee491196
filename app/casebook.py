"""A case as a PDF: a page or more a segment, drawn by fpdf2. No HTML, so words can only be words.

In: the facts of a case, frames, score curves. Out: bytes of a PDF. Letters that its font lacks stand as their code.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vlad.types import ScoreTrack

Pictures = Sequence[tuple[float, npt.NDArray[np.uint8]]]
FRAMES = 3  # a row


def draw(facts: dict[str, Any], pictures: Sequence[Pictures], tracks: Sequence[ScoreTrack]) -> bytes:
    """The report. pictures: (s, uint8 RGB [H, W, 3]) of each segment; tracks: the curve of each segment's clip."""
    import matplotlib
    from fpdf import FPDF
    from fpdf.enums import XPos, YPos

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    page = FPDF(format="A4")
    page.set_title("vlad: case")
    page.add_font("DejaVu", "", str(fonts / "DejaVuSans.ttf"))
    page.add_font("DejaVu", "B", str(fonts / "DejaVuSans-Bold.ttf"))
    page.set_auto_page_break(True, 15)
    has = page.fonts["dejavu"].cmap  # type: ignore[union-attr]

    def line(words: object, size: float = 10, style: str = "") -> None:
        text = "".join(
            c if c == "\n" or (c.isprintable() and ord(c) in has) else c.encode("unicode_escape", "replace").decode()
            for c in str(words)
        )
        page.set_font("DejaVu", style, size)
        page.multi_cell(0, size * 0.5, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")

    page.add_page()
    line(facts["title"] or "Case", 18, "B")
    line(f"made {facts['made']} by {facts['by']}; {len(facts['segments'])} segments")
    line(facts["note"], 9)
    for fact, shown, track in zip(facts["segments"], pictures, tracks, strict=True):
        if page.get_y() > 170:
            page.add_page()
        page.ln(6)
        line(f"{fact['number']}. {fact['name']}, {fact['start']:.1f} to {fact['end']:.1f} s", 13, "B")
        decided = (
            f"{fact['status']} by {fact['decided_by']}" if fact["decided_by"] else f"{fact['status']}, nobody decided"
        )
        line(
            f"{decided}. Score {fact['peak']:.2f} at {fact['peak_time']:.1f} s; class by the scorer: {fact['label'] or 'none'}"
        )
        taken = [f"camera {fact['camera']}"] if fact["camera"] else []
        taken += [f"clip recorded {fact['recorded']}"] if fact["recorded"] else []
        if taken:
            line("; ".join(taken))
        if fact["reason"]:
            line(f"Reason: {fact['reason']}")
        said = fact["explanation"]
        if said:
            appears = "anomalous" if said["verdict"] == "anomaly" else said["verdict"]
            line(f"To the model ({said['model']}, {said['prompt']}) it appears {appears}: {said['text']}")
        for note in fact["notes"]:
            line(f"Note of {note['by']}: {note['text']}")
        if fact["tags"]:
            line(f"Tags: {', '.join(fact['tags'])}")
        if fact["clip_note"]:
            line(f"No clip: {fact['clip_note']}")
        line(f"SHA-256 of the original: {fact['sha256_of_video']}", 7)
        _curve(page, track, fact)
        _frames(page, shown, line)
    return bytes(page.output())


def _curve(page: Any, track: ScoreTrack, fact: dict[str, Any]) -> None:
    """The clip's scores over time with the segment in the colour of what is flagged."""
    left, top, width, height = page.l_margin, page.get_y() + 2, page.epw, 18
    end = float(track.edges[-1])
    page.set_fill_color(213, 94, 0)
    page.rect(
        left + fact["start"] / end * width,
        top + height,
        max(0.5, (fact["end"] - fact["start"]) / end * width),
        2,
        style="F",
    )
    page.set_draw_color(0, 114, 178)
    parts = np.array_split(np.arange(len(track.scores)), min(400, len(track.scores)))
    highest = [(float(track.edges[p[0]] + track.edges[p[-1] + 1]) / 2, float(track.scores[p].max())) for p in parts]
    points = [(left + t / end * width, top + (1 - s) * height) for t, s in highest]
    for a, b in itertools.pairwise(points):
        page.line(*a, *b)
    page.set_y(top + height + 4)


def _frames(page: Any, shown: Pictures, line: Any) -> None:
    width = (page.epw - 2 * (FRAMES - 1)) / FRAMES
    for first in range(0, len(shown), FRAMES):
        row = shown[first : first + FRAMES]
        height = max(width * f.shape[0] / f.shape[1] for _, f in row)
        if page.get_y() + height > page.h - 20:
            page.add_page()
        top = page.get_y()
        for place, (_, frame) in enumerate(row):
            data = io.BytesIO()
            Image.fromarray(frame).save(data, "JPEG", quality=85)
            page.image(data, page.l_margin + place * (width + 2), top, width)
        page.set_y(top + height + 1)
        line("frames at " + ", ".join(f"{t:.1f} s" for t, _ in row), 8)
