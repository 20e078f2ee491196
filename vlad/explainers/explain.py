"""Segments to explanations: which frames are shown, what is asked, and how the answer is read.

In: a clip, its score track and its segments. Out: one `Explanation` each, in order. What the model writes is text that nobody trusts: it
is parsed, checked and kept; an answer that cannot be read is `unclear`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vlad.config import Settings
from vlad.errors import SettingsError
from vlad.prompting import Prompt, plain
from vlad.types import FIELDS, VERDICTS, Analysis, Explanation, Fact, ScoreTrack, Segment, Summary, Video
from vlad.video import frames_at

from .asked import answer
from .engine import Engine, OnText, Picture, Reply, Request, read_json
from .grounded import clock, when

MOST_NOTES = 20  # of a summary
TAU = 0.1  # added to every score before sampling (Holmes-VAU, density-aware sampling)
PICTURE = 336  # pixels of the short side read from the clip; the processor fits them to its tower
TOKENS = 160  # of an answer where neither settings nor template say
Values = Mapping[str, str]


def sample_times(track: ScoreTrack, segment: Segment, count: int) -> tuple[float, ...]:
    """`count` rising times (s) inside a segment, denser where scores are high: equal steps of the cumulative score plus TAU."""
    edges = np.unique(np.concatenate([[segment.start, segment.end], track.edges]))
    edges = edges[(edges >= segment.start) & (edges <= segment.end)]
    weight = (track.at((edges[:-1] + edges[1:]) / 2) + TAU) * np.diff(edges)
    total = np.concatenate([[0.0], np.cumsum(weight)])
    steps = (np.arange(count) + 0.5) / count * total[-1]
    return tuple(float(t) for t in np.interp(steps, total, edges))


def calmest(track: ScoreTrack) -> float:
    """The middle (s) of the snippet with the lowest score."""
    place = int(track.scores.argmin())
    return float(track.edges[place] + track.edges[place + 1]) / 2


def read_answer(reply: Reply, segment: Segment, *, times: tuple[float, ...], prompt: Prompt, model: str) -> Explanation:
    """A reply as an explanation; `unclear` with the raw text kept where it is no answer of the template's schema.

    A schema without a verdict gives `unclear`: nothing was decided.
    """
    answer = read_json(reply.text) if prompt.schema is not None else {"text": reply.text.strip()}
    faults = ["no JSON object"] if not isinstance(answer, dict) else prompt.faults(answer)
    verdict = answer.get("verdict", "unclear") if isinstance(answer, dict) else "unclear"
    if faults or verdict not in VERDICTS:
        text = "The model's answer could not be read; see its own words."
        notes = (*reply.notes, *(f"answer: {f}" for f in faults[:5]))
        return Explanation(segment, "unclear", text, {}, times, prompt.id, model, reply.text, None, notes)
    fields = {name: answer[name] for name in FIELDS if isinstance(answer.get(name), str) and answer[name]}
    said = [answer.get(k) for k in ("text", "what")]
    text = next((t for t in said if isinstance(t, str) and t), "The model gave no description.")
    return Explanation(
        segment, verdict, text, fields, times, prompt.id, model, reply.text, reply.probability, reply.notes
    )


class PromptedExplainer:
    """An engine with a template. Settings: explain_frames, explain_together, contrast, max_new_tokens."""

    def __init__(self, engine: Engine, prompt: Prompt, settings: Settings) -> None:
        self.engine, self.prompt, self.settings = engine, prompt, settings

    def __call__(
        self, video: Video, track: ScoreTrack, segments: Sequence[Segment], *, on_text: OnText | None = None,
        values: Sequence[Values] | None = None,
    ) -> list[Explanation]:  # fmt: skip
        """One explanation a segment; on_text(index, piece) gets the words as they come. values: more that the template may ask for."""
        told: list[Explanation] = []
        together = self.settings.explain_together
        for first in range(0, len(segments), together):
            some = segments[first : first + together]
            more = values[first : first + together] if values else [{}] * len(some)
            asked, times = self.requests(video, track, some, more)
            heard: OnText | None = (lambda i, piece, first=first: on_text(first + i, piece)) if on_text else None
            for segment, shown, reply in zip(some, times, self.engine(asked, heard), strict=True):
                seen = tuple(shown[i] for i in reply.shown) if reply.shown else shown
                told.append(read_answer(reply, segment, times=seen, prompt=self.prompt, model=self.engine.name))
        return told

    def requests(
        self, video: Video, track: ScoreTrack, segments: Sequence[Segment], values: Sequence[Values]
    ) -> tuple[list[Request], list[tuple[float, ...]]]:
        """What is asked of each segment, and the times (s) of its frames, the calm one first where it is shown."""
        calm = (calmest(track),) if self.settings.contrast else ()
        count = self.settings.explain_frames
        blank = np.zeros((_size(video)[1], _size(video)[0], 3), np.uint8)
        times = [(*calm, *sample_times(track, s, count)) for s in segments]
        for i, segment in enumerate(segments):
            messages = self.messages(video, segment, times[i], values[i])
            holds = self.engine.room(self._request(messages, [blank] * len(times[i])))
            if holds < len(times[i]):
                calm = calm if holds > 1 else ()
                times[i] = (*calm, *sample_times(track, segment, holds - len(calm)))
        frames = frames_at(video.path, [t for own in times for t in own], self.settings, size=PICTURE)
        asked = []
        for segment, own, more in zip(segments, times, values, strict=True):
            pictures, frames = frames[: len(own)], frames[len(own) :]
            asked.append(self._request(self.messages(video, segment, own, more), pictures))
        return asked, times

    def messages(self, video: Video, segment: Segment, times: tuple[float, ...], more: Values) -> list[dict[str, Any]]:
        """The template with what is known of a segment."""
        contrast = self.settings.contrast and len(times) > 1
        known = {
            "label": segment.label, "times": ", ".join(f"{t:.1f} s" for t in times[1 if contrast else 0 :]),
            "start": f"{segment.start:.1f}", "end": f"{segment.end:.1f}", "peak": f"{segment.peak:.2f}",
            "contrast": f"{times[0]:.1f} s" if contrast else "", "duration": f"{video.duration:.0f}",
            "examples": "", "said": "", "facts": "", **more,
        }  # fmt: skip
        return self.prompt.tell(known, images=len(times))

    def _request(self, messages: list[dict[str, Any]], pictures: Sequence[Picture]) -> Request:
        return make_request(self.prompt, messages, pictures, self.settings)


def make_request(
    prompt: Prompt, messages: Sequence[Mapping[str, Any]], pictures: Sequence[Picture], settings: Settings
) -> Request:
    """What is asked of an engine: a rendered template with its pictures, its schema and its way of generating."""
    tokens = settings.max_new_tokens or int(prompt.generation.get("max_new_tokens", TOKENS))
    sampling = {k: v for k, v in prompt.generation.items() if k != "max_new_tokens"}
    return Request(messages, pictures, prompt.schema if settings.constrain else None, tokens, sampling)


def _size(video: Video) -> tuple[int, int]:
    """Width and height of a frame whose short side has PICTURE pixels."""
    scale = min(1.0, PICTURE / min(video.width, video.height))
    return max(1, round(video.width * scale)), max(1, round(video.height * scale))


def dialogue(
    prompt: Prompt, known: Values, turns: Sequence[tuple[str, str]], question: str, *, images: int
) -> list[dict[str, Any]]:
    """Messages of a template whose first question was followed by others. turns: questions and answers before this one."""
    first, *rest = [*(q for q, _ in turns), question]
    messages = prompt.tell({**known, "question": first}, images=images)
    for (_, told), asked in zip(turns, rest, strict=True):
        messages += [_turn("assistant", told), _turn("user", asked)]
    return messages


def summarise(engine: Engine, prompt: Prompt, analysis: Analysis, settings: Settings) -> Summary:
    """The whole clip in a few sentences, from what was said of its segments, those with the lowest peaks left out where the context does not
    hold all; the notes themselves where the model's words cannot be read or name a class of event that no note names.

    Raises TemplateError, ModelError, SettingsError for a context that holds no note.
    """
    said = {e.segment: e for e in analysis.explanations}
    kept = sorted(analysis.segments, key=lambda s: -s.peak)
    while True:
        lines = [
            f"{s.start:.1f}-{s.end:.1f} s, {said[s].verdict if s in said else 'flagged'}: {plain(said[s].text if s in said else s.label)}"
            for s in sorted(kept, key=lambda s: s.start)
        ]
        left = len(analysis.segments) - len(kept)
        notes = "\n".join(lines + ([f"and {left} with lower scores"] if left else [])) or "none"
        known = {"segments": notes, "duration": f"{analysis.video.duration:.0f}"}
        request = make_request(prompt, prompt.tell(known, images=0), (), settings)
        try:
            engine.room(request)
            break
        except SettingsError:
            if len(kept) < 2:
                raise
            kept = kept[: len(kept) * 3 // 4]
    (reply,) = engine([request])
    answer = read_json(reply.text) if prompt.schema is not None else {"text": reply.text}
    well = isinstance(answer, dict) and not prompt.faults(answer)
    text = str(answer.get("text", "")).strip() if well else ""
    invented = [c for c in analysis.track.labels if c and c.lower() in text.lower() and c.lower() not in notes.lower()]
    if not text or invented:
        why = f"named {', '.join(invented)}, which no note does" if invented else "could not be read"
        text = f"The model's summary {why}. Its notes: {notes}"
    return Summary(text, prompt.id, engine.name, reply.text)


def notes_of(prompt: Prompt, analysis: Analysis, model: str) -> Summary:
    """The whole clip in the notes of its segments, for a model that cannot summarise: how many were flagged, what is sure, what is not."""
    said = {e.segment: e for e in analysis.explanations}
    segments = sorted(analysis.segments, key=lambda s: s.start)
    if not segments:
        return Summary("Nothing was flagged.", prompt.id, model)
    count = len(segments)
    lines = [f"{count} {'moment' if count == 1 else 'moments'} flagged in {clock(analysis.video.duration)}."]
    lines += [
        said[s].text if s in said else f"{when(s).capitalize()}: flagged, not explained." for s in segments[:MOST_NOTES]
    ]
    if count > MOST_NOTES:
        lines.append(f"And {count - MOST_NOTES} more.")
    return Summary(" ".join(lines), prompt.id, model)


class Chat:
    """Questions about one segment, with their history. turns: (question, answer) so far; facts: what nano answers from, None for a model's own words."""

    def __init__(
        self, engine: Engine, prompt: Prompt, settings: Settings, analysis: Analysis, segment: Segment,
        *, turns: Sequence[tuple[str, str]] = (), facts: Sequence[Fact] | None = None,
    ) -> None:  # fmt: skip
        self.facts = facts
        self.engine, self.prompt, self.settings = engine, prompt, settings
        self.video, self.segment, self.turns = analysis.video, segment, list(turns)
        said = next((e for e in analysis.explanations if e.segment == segment), None)
        self.explanation = said
        self.said = said.text if said else ""
        shown = [t for t in said.times if segment.start <= t < segment.end] if said else []
        self.times = tuple(shown) or sample_times(analysis.track, segment, settings.explain_frames)
        self.pictures = frames_at(self.video.path, list(self.times), settings, size=PICTURE)

    def ask(self, question: str, on_piece: Callable[[str], None] | None = None) -> str:
        """The answer to a question; the oldest turns are left out where the context does not hold them.

        With facts it is told from them and from the notes alone.
        """
        if self.facts is not None:
            told = answer(question, self.facts, self.explanation)
            if on_piece:
                on_piece(told)
            self.turns.append((question, told))
            return told
        while self.turns and not self._fits(self._asked(question)):
            self.turns.pop(0)
        request = self._asked(question)
        self.engine.room(request)  # raises SettingsError for a question that is too long by itself
        (reply,) = self.engine([request], (lambda _, piece: on_piece(piece)) if on_piece else None)
        self.turns.append((question, reply.text.strip()))
        return reply.text.strip()

    def _fits(self, request: Request) -> bool:
        try:
            return self.engine.room(request) >= len(self.pictures)
        except SettingsError:
            return False

    def _asked(self, question: str) -> Request:
        known = {
            "times": ", ".join(f"{t:.1f} s" for t in self.times), "said": self.said, "label": self.segment.label,
            "start": f"{self.segment.start:.1f}", "end": f"{self.segment.end:.1f}",
        }  # fmt: skip
        messages = dialogue(self.prompt, known, self.turns, question, images=len(self.pictures))
        return make_request(self.prompt, messages, self.pictures, self.settings)


def _turn(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": plain(text)}]}
