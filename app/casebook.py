"""A case as a PDF: a page or more a segment, drawn by fpdf2. No HTML, so words can only be words.

In: the facts of a case, frames, score curves. Out: bytes of a PDF. Letters that
neither its font nor one of the system has are counted, not drawn.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import unicodedata
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from vlad.report import clock
from vlad.types import ScoreTrack

Pictures = Sequence[tuple[float, npt.NDArray[np.uint8]]]
FRAMES = 3  # a row
CURVE = 22  # mm of the curve's height
LEFT = 8  # mm for the numbers beside it


class Writer:
    """A page to write lines on, in a font that is part of the file."""

    def __init__(self, title: str) -> None:
        import matplotlib
        from fpdf import FPDF

        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self.page = cast(Any, FPDF(format="A4"))
        self.page.set_title(title)
        self.page.set_creator("vlad")
        self.page.add_font("DejaVu", "", str(fonts / "DejaVuSans.ttf"))
        self.page.add_font("DejaVu", "B", str(fonts / "DejaVuSans-Bold.ttf"))
        self.page.set_text_shaping(True)  # Arabic joins its letters, Hebrew runs from right to left
        self.page.set_auto_page_break(True, 20)
        self.has = set(self.page.fonts["dejavu"].cmap)
        self.sought: set[str] = set()  # letters for which the system's fonts were looked through
        self.page.footer = self._footer

    def close(self) -> None:
        """Close the fonts' files."""
        for font in self.page.fonts.values():
            font.ttfont.close()

    def _footer(self) -> None:
        page = self.page
        page.set_y(-14)
        page.set_font("DejaVu", "", 8)
        page.cell(0, 6, f"page {page.page_no()} of {{nb}}", align="C")

    def drawn(self, words: object) -> str:
        """Words as the font can draw them."""
        text = "".join(c if c == "\n" or c.isprintable() else " " for c in str(words))
        lacks = {c for c in text if c != "\n" and ord(c) not in self.has}
        while lacks - self.sought:
            found = self._borrow(lacks)  # a font at a time: a line may hold several scripts
            lacks -= found
            self.sought |= found or lacks
        return re.sub(f"[{''.join(map(re.escape, sorted(lacks)))}]+", _lost, text) if lacks else text

    def _borrow(self, lacks: set[str]) -> set[str]:
        """Which of these letters the system's fonts can draw: the one that has most of them becomes part of the file."""
        from matplotlib.font_manager import findSystemFonts
        from matplotlib.ft2font import FT2Font

        held: dict[str, set[str]] = {}
        for path in findSystemFonts():
            if "lastresort" in path.lower():  # it has every letter, as a box
                continue
            with contextlib.suppress(OSError, RuntimeError):  # no font, or one of a kind that is not read
                held[path] = {c for c in lacks if ord(c) in FT2Font(path).get_charmap()}
        best = max(held, key=lambda path: len(held[path]), default="")
        if not best or not held[best]:
            return set()
        name = f"borrowed{len(self.page.fonts)}"
        try:
            self.page.add_font(name, "", best)
        except Exception:  # a font's file may be anything; the letters are then told as lost
            return set()
        self.page.set_fallback_fonts([f for f in self.page.fonts if f.startswith("borrowed")], exact_match=False)
        self.has |= {ord(c) for c in held[best]}
        return held[best]

    def line(self, words: object, size: float = 10, style: str = "") -> None:
        """One paragraph."""
        from fpdf.enums import XPos, YPos

        self.page.set_font("DejaVu", style, size)
        for part in self.drawn(apart(str(words))).split("\n"):  # a multi_cell has one direction
            self.page.multi_cell(0, size * 0.5, part, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")

    def room(self, height: float) -> None:
        """Begin a new page where less than `height` mm are left on this one."""
        if self.page.get_y() + height > self.page.h - 20:
            self.page.add_page()


def apart(words: str) -> str:
    """`Label: words` with the words as a paragraph of their own where they run from right to left: behind a label their numbers lose their place."""
    label, colon, rest = words.partition(": ")
    leftward = any(unicodedata.bidirectional(c) in ("R", "AL") for c in rest)
    return f"{label}:\n{rest}" if colon and leftward else words


def _lost(found: re.Match[str]) -> str:
    count = len(found.group())
    return f"[{count} letter{'s' if count > 1 else ''} this report cannot draw]"


def draw(facts: dict[str, Any], pictures: Sequence[Pictures], tracks: Sequence[ScoreTrack]) -> bytes:
    """The report. pictures: (s, uint8 RGB [H, W, 3]) of each segment; tracks: the curve of each segment's clip."""
    with closing(Writer(facts["title"] or "Case")) as out:
        _head(out, facts)
        for fact, shown, track in zip(facts["segments"], pictures, tracks, strict=True):
            _segment(out, fact, shown, track)
        return bytes(out.page.output())


def _head(out: Writer, facts: dict[str, Any]) -> None:
    count = len(facts["segments"])
    out.page.add_page()
    out.line(facts["title"] or "Case", 18, "B")
    out.line(f"made {spoken(facts['made'])} by {facts['by']}; {count} segment{'s' if count != 1 else ''}")
    out.line(facts["note"], 9)


def _segment(out: Writer, fact: dict[str, Any], shown: Pictures, track: ScoreTrack) -> None:
    words = told(fact)
    out.room(min(_height(out, words, shown), out.page.h - 40))  # in one piece where it fits on a page
    out.page.ln(6)
    out.line(f"{fact['number']}. {fact['name']}, {clock(fact['start'])} to {clock(fact['end'])}", 13, "B")
    for paragraph in words:
        out.line(paragraph)
    out.line(f"SHA-256 of the original: {fact['sha256_of_video']}", 7)
    _curve(out, track, fact)
    _frames(out, shown)


def _height(out: Writer, words: Sequence[str], shown: Pictures) -> float:
    """About how many mm a segment takes."""
    rows = [shown[i : i + FRAMES] for i in range(0, len(shown), FRAMES)]
    pictures = sum(max(f.shape[0] / f.shape[1] for _, f in row) * out.page.epw / FRAMES + 8 for row in rows)
    return float(20 + 5.0 * sum(1 + len(w) // 100 for w in words) + CURVE + 12 + pictures)


def told(fact: dict[str, Any]) -> list[str]:
    """What is known of a segment, a line each: when, who decided, what people say; a model's words only where a person stands by them."""
    lines = []
    if fact["starts_at"]:
        lines.append(
            f"Happened {spoken(fact['starts_at'])} to {spoken(fact['ends_at'])} (by the clip's {_sources(fact['recorded_by'])})"
        )
    label = f"class by {fact['label_by']}: {fact['label']}" if fact["label"] else "class: none that is sure"
    decided = f"by {fact['decided_by']} at {spoken(fact['decided_at'])}" if fact["decided_by"] else "nobody decided"
    lines.append(
        f"{fact['status'].capitalize()}, {decided}. Score {fact['peak']:.2f} at {clock(fact['peak_time'])}; {label}"
    )
    if fact["marked_by"]:
        lines.append(f"Marked by {fact['marked_by']}, not by the model.")
    if fact["span"]:
        own = fact["span"]
        lines.append(
            f"A person changed its span or class; the model's own: {clock(own['start'])} to {clock(own['end'])}, {own['label'] or 'no class'}."
        )
    if fact["camera"]:
        lines.append(f"Camera {fact['camera']}")
    if fact["unseen"]:
        lines.append(f"{fact['unseen']:.1%} of this clip could not be decoded: nobody looked at it.")
    if fact["reason"]:
        lines.append(f"Reason: {fact['reason']}")
    if fact["said"]:
        of = "" if fact["said_by"].startswith("written") else "a model's sentence, "
        lines.append(f"{fact['said']} ({of}{fact['said_by']})")
    lines += [f"Note of {note['by']}: {note['text']}" for note in fact["notes"]]
    if fact["tags"]:
        lines.append(f"Tags: {', '.join(fact['tags'])}")
    if fact["clip_note"]:
        lines.append(f"No clip: {fact['clip_note']}")
    return lines


def spoken(iso: str) -> str:
    """2026-11-25T14:25:33+01:00 as a person reads it: 2026-11-25 14:25:33 +01:00."""
    return re.sub(r"T(\d\d:\d\d:\d\d)(?:\.\d+)?", r" \1 ", iso).strip()


def _sources(by: str) -> str:
    return {"name": "file name", "metadata": "metadata"}.get(by, "time as a person typed it")


def _curve(out: Writer, track: ScoreTrack, fact: dict[str, Any]) -> None:
    """The clip's scores, 0 to 1, over time, with the segment in the colour of what is flagged."""
    out.room(CURVE + 12)
    page = out.page
    left, top, width = page.l_margin + LEFT, page.get_y() + 3, page.epw - LEFT
    end = float(track.edges[-1])
    page.set_fill_color(213, 94, 0)
    start, wide = left + fact["start"] / end * width, max(0.5, (fact["end"] - fact["start"]) / end * width)
    page.rect(start, top + CURVE, min(wide, left + width - start), 2, style="F")
    page.set_draw_color(190, 190, 190)
    page.set_font("DejaVu", "", 7)
    for score in (0.0, 0.5, 1.0):
        y = top + (1 - score) * CURVE
        page.line(left, y, left + width, y)
        page.text(page.l_margin, y + 1, f"{score:.1f}")
    for i in range(5):
        x = left + i / 4 * width
        page.line(x, top + CURVE, x, top + CURVE + 3)
        words = clock(end * i / 4)
        page.text(min(x, left + width - page.get_string_width(words)), top + CURVE + 6, words)
    page.set_draw_color(0, 114, 178)
    parts = np.array_split(np.arange(len(track.scores)), min(400, len(track.scores)))
    highest = [(float(track.edges[p[0]] + track.edges[p[-1] + 1]) / 2, float(track.scores[p].max())) for p in parts]
    for a, b in itertools.pairwise([(left + t / end * width, top + (1 - s) * CURVE) for t, s in highest]):
        page.line(*a, *b)
    page.set_y(top + CURVE + 9)


def _frames(out: Writer, shown: Pictures) -> None:
    page = out.page
    width = (page.epw - 2 * (FRAMES - 1)) / FRAMES
    for first in range(0, len(shown), FRAMES):
        row = shown[first : first + FRAMES]
        height = max(width * f.shape[0] / f.shape[1] for _, f in row)
        out.room(height + 8)
        top = page.get_y()
        for place, (_, frame) in enumerate(row):
            data = io.BytesIO()
            Image.fromarray(frame).save(data, "JPEG", quality=85)
            page.image(data, page.l_margin + place * (width + 2), top, width)
        page.set_y(top + height + 1)
        out.line("frames at " + ", ".join(clock(t) for t, _ in row), 8)
