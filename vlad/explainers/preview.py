"""A template looked at before a model is asked: what it would get, whether it fits, and how recorded replies are read.

In: settings, a template, perhaps an analysis. Out: text and numbers. Loads a processor, and no weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlad.config import Settings
from vlad.errors import InputError, VladError
from vlad.prompting import Prompt, load_prompt, shipped
from vlad.types import Analysis, Explanation, Segment
from vlad.weights import nano_part, pinned

from .engine import Picture, Reply, Request
from .explain import PromptedExplainer, make_request, read_answer


class Counter:
    """An engine that only counts: a processor and its context, without a model."""

    def __init__(self, settings: Settings) -> None:
        from transformers import AutoConfig

        from .llava import Layout, load_processor, unloadable

        folder = str(nano_part("llava")) if settings.explainer == "nano" else settings.explainer
        self.name = settings.explainer
        try:
            config = AutoConfig.from_pretrained(folder, revision=pinned(folder) or "main", local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise unloadable(self.name, error) from None
        self.layout = Layout(load_processor(folder, self.name), config, name=self.name)

    def room(self, request: Request) -> int:
        """As the model's own."""
        return self.layout.room(request)

    def __call__(self, requests: Sequence[Request], on_text: Any = None) -> list[Reply]:
        """Answers nothing."""
        raise VladError("this engine only counts")


@dataclass(frozen=True)
class Preview:
    """text: messages, frames' times and tokens, as a person reads them. pictures: the frames with their times (s)."""

    text: str
    pictures: tuple[tuple[float, Picture], ...] = ()


def preview(
    settings: Settings, analysis: Analysis | None, segment: Segment | None, *, prompt: Prompt | None = None, counter: Counter | None = None
) -> Preview:  # fmt: skip
    """What a model would get for a segment, or for the template's own sample. Raises VladError.

    prompt: else the one that the settings name. counter: one that was loaded before.
    """
    prompt = prompt or load_prompt(settings.prompt, settings.prompts)
    counter = counter or (Counter(settings) if not settings.server else None)
    times: tuple[float, ...] = ()
    if analysis is None or segment is None:
        values = {k: v for k, v in prompt.sample.items() if k in prompt.defaults}
        images = 0 if "times" not in prompt.defaults else settings.explain_frames
        blank = np.zeros((240, 320, 3), np.uint8)
        request = make_request(prompt, prompt.render(values, images=images), [blank] * images, settings)
    else:
        explainer = PromptedExplainer(counter or _Endless(settings.explainer), prompt, settings)
        said = next((e.text for e in analysis.explanations if e.segment == segment), "")
        (request,), (times,) = explainer.requests(analysis.video, analysis.track, [segment], [_values(analysis, said)])
    lines = [f"{prompt.id} version {prompt.version}" + (f", tuned for {prompt.tuned_for}" if prompt.tuned_for else "")]
    for message in request.messages:
        texts = [c["text"] if c["type"] == "text" else "[frame]" for c in message["content"]]
        lines += ["", f"## {message['role']}", *texts]
    lines += ["", f"frames: {', '.join(f'{t:.2f} s' for t in times) or len(request.pictures)}"]
    if counter:
        layout = counter.layout
        lines.append(
            f"tokens: {layout.count(request)} with the frames, {request.max_new_tokens} for the answer, of {layout.context}"
        )
    if request.schema is not None:
        lines.append(f"answer: {', '.join(request.schema.get('properties', {}))}")
    return Preview("\n".join(lines), tuple(zip(times, request.pictures, strict=True)) if times else ())


def _values(analysis: Analysis, said: str) -> dict[str, str]:
    """What templates about other things than a span ask for, so that they can be looked at too."""
    notes = "\n".join(f"{s.start:.1f}-{s.end:.1f} s: {s.label}" for s in analysis.segments)
    return {"said": said, "segments": notes, "question": "What happens?", "reference": said, "answer": said}


class _Endless:
    """A model behind a server, whose context only the server knows."""

    def __init__(self, name: str) -> None:
        self.name = name

    def room(self, request: Request) -> int:
        """All."""
        return len(request.pictures)

    def __call__(self, requests: Sequence[Request], on_text: Any = None) -> list[Reply]:
        """Answers nothing."""
        raise VladError("this engine only looks")


def write_frames(seen: Preview, folder: Path) -> list[Path]:
    """The frames as NUMBER-SECONDS.jpg."""
    paths = []
    for number, (time, frame) in enumerate(seen.pictures, 1):
        path = folder / f"{number}-{time:.2f}s.jpg"
        Image.fromarray(frame).save(path, quality=90)
        paths.append(path)
    return paths


def limits(settings: Settings) -> dict[str, Any]:
    """`count`, `context` and `picture` of a model, for `vlad.prompting.lint`."""
    layout = Counter(settings).layout
    blank = np.zeros((240, 320, 3), np.uint8)
    image, text = {"type": "image"}, {"type": "text", "text": "x"}

    def tokens(count: int) -> int:
        return layout.count(Request([{"role": "user", "content": [image] * count + [text]}], [blank] * count))

    return {
        "count": lambda words: len(layout.tokenizer(words)["input_ids"]), "context": layout.context, "picture": tokens(1) - tokens(0),
    }  # fmt: skip


def check_replies(prompt: Prompt, folder: Path | None) -> tuple[list[str], int]:
    """(what was read wrongly, how many there are) of NAME.replies.jsonl beside a template: lines {"reply": TEXT, "expect": {...}}.

    expect: some of verdict, text, what, who, where, when, why, and readable. Raises InputError for a file that is none.
    """
    name = f"{prompt.name}.replies.jsonl"
    path = folder / name if folder and (folder / name).is_file() else shipped() / name
    if not path.is_file():
        return [], 0
    wrong, count = [], 0
    segment = Segment(0.0, 1.0, 1.0, 0.5)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            reply, expect = str(row["reply"]), dict(row["expect"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f'{path.name}:{number}: expected {{"reply": TEXT, "expect": {{...}}}} ({error})') from None
        found = read_answer(Reply(reply), segment, times=(), prompt=prompt, model="recorded")
        count += 1
        wrong += [
            f"{path.name}:{number}: {key} is {got!r}, expected {want!r}"
            for key, want in expect.items()
            if (got := _said(found, key)) != want
        ]
    return wrong, count


def _said(found: Explanation, key: str) -> object:
    if key == "readable":
        return not any(n.startswith("answer: ") for n in found.notes)
    return getattr(found, key) if key in ("verdict", "text") else found.fields.get(key, "")
