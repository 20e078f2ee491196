"""Segments to explanations by a model of the LLaVA family, in this process.

In: a clip, its score track and its segments. Out: one `Explanation` each, in order. What the model writes is text that nobody trusts: it
is parsed, checked and kept; an answer that cannot be read is `unclear`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

import vlad.explainers.tower  # noqa: F401  # nano's tower, known to AutoModel by name
from vlad.config import Settings
from vlad.device import choose_device, choose_dtype
from vlad.errors import WeightsError
from vlad.prompting import Prompt
from vlad.types import FIELDS, Explanation, ScoreTrack, Segment, Verdict, Video
from vlad.video import frames_at
from vlad.weights import pinned

TAU = 0.1  # added to every score before sampling (Holmes-VAU, density-aware sampling)
PICTURE = 336  # pixels of the short side read from the clip; the processor fits them to its tower


class Answer(BaseModel):
    """What a template asks for."""

    model_config = ConfigDict(extra="ignore", strict=True)

    verdict: Verdict
    what: str = ""
    who: str = ""
    where: str = ""
    when: str = ""
    why: str = ""
    text: str = ""


def sample_times(track: ScoreTrack, segment: Segment, count: int) -> tuple[float, ...]:
    """`count` rising times (s) inside a segment, denser where scores are high: equal steps of the cumulative score plus TAU."""
    edges = np.unique(np.concatenate([[segment.start, segment.end], track.edges]))
    edges = edges[(edges >= segment.start) & (edges <= segment.end)]
    weight = (track.at((edges[:-1] + edges[1:]) / 2) + TAU) * np.diff(edges)
    total = np.concatenate([[0.0], np.cumsum(weight)])
    steps = (np.arange(count) + 0.5) / count * total[-1]
    return tuple(float(t) for t in np.interp(steps, total, edges))


def read_answer(raw: str, segment: Segment, *, times: tuple[float, ...], prompt: str, model: str) -> Explanation:
    """The first JSON object in `raw` as an explanation; `unclear` with the raw text kept where there is none."""
    found = re.search(r"\{.*\}", raw, re.S)
    try:
        answer = Answer.model_validate(json.loads(found.group())) if found else None
    except (ValueError, ValidationError, RecursionError):  # RecursionError: thousands of open brackets
        answer = None
    if answer is None:
        text = "The model's answer could not be read; see its own words."
        return Explanation(segment, "unclear", text, {}, times, prompt, model, raw)
    fields = {name: getattr(answer, name) for name in FIELDS if getattr(answer, name)}
    text = answer.text or answer.what or "The model gave no description."
    return Explanation(segment, answer.verdict, text, fields, times, prompt, model, raw)


class LlavaExplainer:
    """A loaded model with its processor and a template."""

    def __init__(self, model: Any, processor: Any, prompt: Prompt, settings: Settings, *, name: str) -> None:
        self.model, self.processor, self.prompt, self.settings, self.name = (
            model.eval(),
            processor,
            prompt,
            settings,
            name,
        )

    def __call__(
        self, video: Video, track: ScoreTrack, segments: Sequence[Segment], *,
        on_text: Callable[[int, str], None] | None = None,
    ) -> list[Explanation]:  # fmt: skip
        """One explanation a segment; on_text(index, piece) gets the words as they come."""
        plans = [sample_times(track, s, self.settings.explain_frames) for s in segments]
        frames = (
            frames_at(video.path, [t for plan in plans for t in plan], self.settings, size=PICTURE) if plans else []
        )
        explanations = []
        for index, (segment, times) in enumerate(zip(segments, plans, strict=True)):
            pictures, frames = frames[: len(times)], frames[len(times) :]
            values = {"label": segment.label, "times": ", ".join(f"{t:.1f} s" for t in times)}
            raw = self.generate(values, pictures, partial(on_text, index) if on_text else None)
            explanations.append(read_answer(raw, segment, times=times, prompt=self.prompt.id, model=self.name))
        return explanations

    def generate(
        self,
        values: dict[str, str],
        pictures: Sequence[npt.NDArray[np.uint8]],
        on_piece: Callable[[str], None] | None = None,
    ) -> str:
        """The model's words for a template's values and pictures (uint8 RGB [H, W, 3] each)."""
        from transformers import TextIteratorStreamer

        messages = self.prompt.render(values, images=len(pictures))
        text = self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        images = [Image.fromarray(p) for p in pictures]
        inputs = self.processor(images=images, text=text, return_tensors="pt").to(self.model.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        streamer: Any = TextIteratorStreamer(self.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
        options = {"max_new_tokens": self.settings.max_new_tokens, "do_sample": False, "streamer": streamer}
        fault: list[BaseException] = []

        def run() -> None:
            try:
                with torch.inference_mode():
                    self.model.generate(**inputs, **options)
            except BaseException as error:  # handed to the thread that waits for the words
                fault.append(error)
                streamer.end()

        thread = Thread(target=run, daemon=True)
        thread.start()
        pieces = []
        for piece in streamer:
            pieces.append(piece)
            if on_piece:
                on_piece(piece)
        thread.join()
        if fault:
            raise fault[0]
        return "".join(pieces)


def load_llava(folder: str, adapter: str, prompt: Prompt, settings: Settings, *, name: str) -> LlavaExplainer:
    """A LLaVA-family model by hub name (if already here) or folder, with a PEFT adapter. Raises WeightsError."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    device = choose_device(settings.device)
    revision = pinned(folder) or "main"
    options: dict[str, Any] = {"dtype": choose_dtype(device, settings.precision)}
    if settings.explainer_bits == 4:
        options = {"quantization_config": _four_bits(name), "device_map": {"": device}}
    try:
        loader: Any = AutoProcessor
        processor = loader.from_pretrained(folder, revision=revision, local_files_only=True)
        model: Any = AutoModelForImageTextToText.from_pretrained(
            folder, revision=revision, local_files_only=True, use_safetensors=True, **options
        )
        if adapter:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, adapter, use_safetensors=True)
            if settings.explainer_bits == 16:
                model = model.merge_and_unload()  # the same numbers in fewer steps
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise WeightsError(
            f"explainer {name}: cannot be loaded ({line}); run `vlad models pull`, name a local folder, or add --no-explain"
        ) from None
    model = model if settings.explainer_bits == 4 else model.to(device)
    return LlavaExplainer(model, processor, prompt, settings, name=f"{name}+{Path(adapter).name}" if adapter else name)


def _four_bits(name: str) -> Any:
    """NF4 for the language model alone; the names of the parts as they are since transformers 5. Raises WeightsError."""
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise WeightsError(
            f"explainer {name}: 4 bits need bitsandbytes; install vlad[quantised] or set explainer_bits=16"
        )
    config: Any = BitsAndBytesConfig
    return config(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["model.vision_tower", "model.multi_modal_projector", "lm_head"],
    )  # fmt: skip
