"""The report of a case, as whoever gets it reads it: what people decided and when, and no model's word that nobody stands by."""

import re
from contextlib import closing
from typing import Any

import matplotlib
import numpy as np
import pytest
from vlad.app.casebook import Writer, apart, draw, told

from vlad.types import ScoreTrack

FACT: dict[str, Any] = {
    "number": 1, "name": "lobby.mp4", "start": 3.0, "end": 5.0, "peak": 0.912, "peak_time": 4.0, "label_by": "the scorer", "label": "riot", "status": "confirmed",
    "decided_by": "ann", "decided_at": "2026-11-25T20:00:00+01:00", "starts_at": "2026-11-25T14:25:33+01:00", "ends_at": "2026-11-25T14:25:35+01:00",
    "recorded_by": "name", "marked_by": "", "span": None, "camera": "door", "unseen": 0.0, "reason": "", "said": "", "said_by": "", "notes": [],
    "tags": [], "clip_note": "", "sha256_of_video": "ab" * 32, "explanation": {"text": "a fireball"},
}  # fmt: skip
TRACK = ScoreTrack(np.linspace(0, 1, 50, dtype=np.float32), np.linspace(0, 20, 51))


def test_it_says_who_decided_when_and_when_it_happened() -> None:
    """H13: no time of the verdict, no clock time of the event."""
    words = "\n".join(told(FACT))
    assert "Confirmed, by ann at 2026-11-25 20:00:00 +01:00" in words
    assert "Happened 2026-11-25 14:25:33 +01:00 to 2026-11-25 14:25:35 +01:00 (by the clip's file name)" in words
    assert "Happened" not in "\n".join(told({**FACT, "starts_at": None}))


def test_a_models_sentence_stands_there_only_where_somebody_stands_by_it() -> None:
    """B3: it went unhedged into the report that others read."""
    assert "fireball" not in "\n".join(told(FACT))
    said = told({**FACT, "said": "Two people fight, it appears.", "said_by": "edited by ann"})
    assert "Two people fight, it appears. (a model's sentence, edited by ann)" in said


def test_what_a_person_marked_or_moved_is_told() -> None:
    own = told({**FACT, "marked_by": "bob", "span": {"start": 1.0, "end": 2.0, "label": ""}, "unseen": 0.25})
    assert "Marked by bob, not by the model." in own
    assert any("the model's own: 0:01.0 to 0:02.0, no class" in line for line in own)
    assert any("25.0% of this clip could not be decoded" in line for line in own)


def test_letters_that_no_font_here_has_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """H13: they stood as \\u4e2d."""
    monkeypatch.setattr(
        "matplotlib.font_manager.findSystemFonts", lambda: [__file__]
    )  # and a font that is none costs itself
    with closing(Writer("x")) as out:
        gate = out.drawn("gate \u4e2d\u6587 ok \U0001f525")
        assert gate == "gate [2 letters this report cannot draw] ok [1 letter this report cannot draw]"
        assert out.drawn("T\u00fcr \u00e9\x00\x1b[2J") == "T\u00fcr \u00e9  [2J"


def test_a_font_of_the_system_is_borrowed_for_what_the_own_one_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    stix = f"{matplotlib.get_data_path()}/fonts/ttf/STIXGeneral.ttf"
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [stix])
    with closing(Writer("x")) as out:
        assert out.drawn("\u1d81 \u4e2d") == "\u1d81 [1 letter this report cannot draw]"
        assert out.drawn("\u1d81") == "\u1d81"
    facts = {"title": "The \u1d81", "made": "now", "by": "ann", "note": "", "segments": [FACT]}
    assert b"STIX" in draw(facts, [()], [TRACK])


def test_letters_join_and_run_as_their_script_does() -> None:
    """Arabic stood in single letters, from left to right."""
    with closing(Writer("x")) as out:
        out.page.add_page()
        out.page.set_font("DejaVu", "", 10)
        lam, alef = "\u0644", "\u0627"
        width = out.page.get_string_width
        assert width(lam + alef) < 0.9 * (width(lam) + width(alef))  # one glyph


def test_words_from_right_to_left_are_a_paragraph_of_their_own() -> None:
    report = "\u0645\u062d\u0636\u0631 117 - \u0631\u062c\u0644"
    assert apart(f"Note of ann: {report}") == f"Note of ann:\n{report}"
    assert apart("Note of ann: a man: he runs") == "Note of ann: a man: he runs"
    assert apart(report) == report


def test_a_line_of_several_scripts_borrows_a_font_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    fonts = [f"{matplotlib.get_data_path()}/fonts/ttf/{name}.ttf" for name in ("DejaVuSansMono", "STIXGeneral")]
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: fonts)
    with closing(Writer("x")) as out:
        assert out.drawn("\u2312 \u1d81 \u4e2d") == "\u2312 \u1d81 [1 letter this report cannot draw]"


@pytest.mark.parametrize("frames", [0, 3, 6])
@pytest.mark.slow
def test_pages_are_numbered_and_none_is_left_almost_empty(frames: int) -> None:
    pictures = [[(float(i), np.full((60, 80, 3), 90, np.uint8)) for i in range(frames)]] * 4
    facts = {
        "title": "The riot",
        "made": "now",
        "by": "ann",
        "note": "n" * 200,
        "segments": [{**FACT, "number": i} for i in range(1, 5)],
    }
    made = draw(facts, pictures, [TRACK] * 4)
    assert b"The riot" in made or "The riot".encode("utf-16-be") in made  # the title of its metadata
    pages = int(re.search(rb"/Count (\d+)", made)[1])  # type: ignore[index]
    assert pages == {0: 2, 3: 3, 6: 4}[frames]
