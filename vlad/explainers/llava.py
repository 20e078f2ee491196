"""A model of the LLaVA family in this process: messages and pictures to words.

In: requests. Out: replies, their words as they come. Runs LLaVA-1.5 and nano (pictures), LLaVA-NeXT-Video and LLaVA-OneVision (pictures as
a video, which costs them a fraction of the tokens), with a PEFT adapter, in 16, 8 or 4 bits.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import LogitsProcessor
from transformers.generation.streamers import BaseStreamer

import vlad.explainers.tower  # noqa: F401  # nano's tower, known to AutoModel by name
from vlad.config import Settings
from vlad.device import choose_device, choose_dtype
from vlad.errors import ModelError, SettingsError, WeightsError
from vlad.types import VERDICTS
from vlad.weights import pinned

from .engine import OPENING, OnText, Reply, Request, fewer, shares

UNREAL = 10**9  # tokenizers without a limit say a number above this


class Words(BaseStreamer):
    """Tokens of a batch to words as they come: tells (row, piece) to `on_text`."""

    def __init__(self, tokenizer: Any, rows: int, on_text: OnText, ends: set[int]) -> None:
        self.tokenizer, self.on_text, self.ends = tokenizer, on_text, ends
        self.rows: list[list[int]] = [[] for _ in range(rows)]
        self.told = [""] * rows
        self.over = [False] * rows
        self.prompt = True

    def put(self, value: torch.Tensor) -> None:
        """The prompt first, then a token a row."""
        if self.prompt:
            self.prompt = False
            return
        for row, token in enumerate(value.reshape(-1).tolist()):
            self.over[row] |= token in self.ends
            if not self.over[row]:
                self.rows[row].append(token)
                self._tell(row, whole=False)

    def end(self) -> None:
        """Tell what was held back for want of a whole letter."""
        for row in range(len(self.rows)):
            self._tell(row, whole=True)

    def _tell(self, row: int, *, whole: bool) -> None:
        text = self.tokenizer.decode(self.rows[row], skip_special_tokens=True)
        if text.endswith("\ufffd") and not whole:
            return
        if len(text) > len(self.told[row]):
            self.on_text(row, text[len(self.told[row]) :])
            self.told[row] = text


class VerdictScores(LogitsProcessor):
    """Keeps, at each step, the log-probabilities of the tokens with which the three verdicts begin; changes nothing."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens, self.steps = list(tokens), []  # type: tuple[list[int], list[torch.Tensor]]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """scores [B, vocabulary], as the model gave them."""
        self.steps.append(torch.log_softmax(scores.float(), -1)[:, self.tokens].cpu())
        return scores


class Layout:
    """How a model's processor lays out requests, and how much its context holds. context: tokens."""

    def __init__(self, processor: Any, config: Any, *, name: str) -> None:
        self.processor, self.tokenizer, self.name = processor, processor.tokenizer, name
        # Pictures of one clip go as a video where the model knows videos: 144 or 196 tokens a frame instead of 576 or 729.
        self.as_video = getattr(processor, "video_processor", None) is not None and hasattr(config, "video_token_index")
        limits = [getattr(config.get_text_config(), "max_position_embeddings", UNREAL), self.tokenizer.model_max_length]
        self.context = int(min(x for x in [*limits, UNREAL] if x))

    def __call__(self, requests: Sequence[Request]) -> Any:
        """What the model takes: a batch, padded on the left."""
        texts = [
            self.processor.apply_chat_template(
                [_as_video(m) if self.as_video else m for m in r.messages], add_generation_prompt=True, tokenize=False
            )
            for r in requests
        ]
        given: dict[str, Any] = {}
        shown = [r.pictures for r in requests if r.pictures]
        if shown and self.as_video:
            given = {"videos": [np.stack(list(pictures)) for pictures in shown], "do_sample_frames": False}
        elif shown:
            given = {"images": [Image.fromarray(p) for pictures in shown for p in pictures]}
        return self.processor(text=texts, return_tensors="pt", padding=True, padding_side="left", **given)

    def count(self, request: Request) -> int:
        """Tokens of a request, its pictures' among them."""
        return int(self([request])["input_ids"].shape[1])

    def room(self, request: Request) -> int:
        """How many of the request's pictures the context holds beside the answer. Raises SettingsError for none."""
        pictures, free = len(request.pictures), self.context - request.max_new_tokens
        total = self.count(request)
        if total <= free:
            return pictures
        base = self.count(fewer(request, ())) if pictures else total
        holds = int((free - base) / ((total - base) / pictures)) if pictures else 0
        while holds > 0 and self.count(fewer(request, range(holds))) > free:
            holds -= 1
        if holds < 1:
            raise SettingsError(
                f"explainer {self.name}: its context of {self.context} tokens holds no frame beside {base} tokens of text and "
                f"{request.max_new_tokens} of the answer; shorten the template or set max_new_tokens lower"
            )
        return holds


class LlavaEngine:
    """A loaded model with its processor. name: base and adapter."""

    def __init__(self, model: Any, processor: Any, *, name: str) -> None:
        self.model, self.name = model.eval(), name
        self.layout = Layout(processor, model.config, name=name)
        self.processor, self.tokenizer = processor, processor.tokenizer
        ends = model.generation_config.eos_token_id
        self.ends = set(
            ends if isinstance(ends, list) else [ends] if ends is not None else [self.tokenizer.eos_token_id]
        )
        self._grammars: dict[str, Any] = {}

    def room(self, request: Request) -> int:
        """How many of the request's pictures the context holds beside the answer. Raises SettingsError for none."""
        return self.layout.room(request)

    def __call__(self, requests: Sequence[Request], on_text: OnText | None = None) -> list[Reply]:
        """A reply each. Out of memory it takes smaller batches, then fewer frames, and notes it."""
        try:
            return self._generate(requests, on_text)
        except (torch.OutOfMemoryError, MemoryError):
            torch.cuda.empty_cache()
        if len(requests) > 1:
            half = len(requests) // 2
            rest: OnText | None = (lambda i, piece: on_text(half + i, piece)) if on_text else None
            return self(requests[:half], on_text) + self(requests[half:], rest)
        (request,) = requests
        if len(request.pictures) < 2:
            raise ModelError(
                f"explainer {self.name}: out of memory with one frame; set explainer_bits=4, or device=cpu"
            )
        kept = tuple(range(0, len(request.pictures), 2))
        (reply,) = self([fewer(request, kept)], on_text)
        note = f"out of memory: {len(reply.shown or kept)} of {len(request.pictures)} frames shown"
        shown = tuple(kept[i] for i in reply.shown) if reply.shown else kept
        return [
            Reply(reply.text, reply.probability, shown, (*(n for n in reply.notes if "out of memory" not in n), note))
        ]

    def _generate(self, requests: Sequence[Request], on_text: OnText | None) -> list[Reply]:
        inputs = self.layout(requests).to(self.model.device)
        for key in ("pixel_values", "pixel_values_videos"):
            if key in inputs:
                inputs[key] = inputs[key].to(self.model.dtype)
        first = requests[0]
        options: dict[str, Any] = {"max_new_tokens": first.max_new_tokens, **(first.sampling or {})}
        watched = VerdictScores(self._openings()) if "verdict" in (first.schema or {}).get("properties", {}) else None
        processors = [p for p in (watched, self._grammar(first)) if p is not None]
        if on_text:
            options["streamer"] = Words(self.tokenizer, len(requests), on_text, self.ends)
        with torch.inference_mode():
            out = self.model.generate(**inputs, **{"do_sample": False, **options}, logits_processor=processors)
        start = inputs["input_ids"].shape[1]
        return [
            self._reply(row[start:].tolist(), watched.steps if watched else [], number, first.max_new_tokens)
            for number, row in enumerate(out)
        ]

    def _reply(self, tokens: list[int], steps: Sequence[torch.Tensor], row: int, most: int) -> Reply:
        end = next((i for i, t in enumerate(tokens) if t in self.ends), len(tokens))
        notes = (f"cut off after {most} tokens",) if end == len(tokens) and end >= most else ()
        text = self.tokenizer.decode(tokens[:end], skip_special_tokens=True)
        return Reply(text, self._probability(tokens[:end], steps, row), notes=notes)

    def _probability(self, tokens: list[int], steps: Sequence[torch.Tensor], row: int) -> float | None:
        """P(anomaly) among the three verdicts, read where the answer's verdict begins."""
        for place in range(min(len(tokens), len(steps), 40)):
            if OPENING.search(self.tokenizer.decode(tokens[:place], skip_special_tokens=True)):
                return shares(dict(zip(VERDICTS, steps[place][row].tolist(), strict=False)))
        return None

    def _openings(self) -> list[int]:
        """The tokens with which the three verdicts begin; none where they cannot be told apart by one."""
        start = '{"verdict": "'
        plain = self.tokenizer.encode(start, add_special_tokens=False)
        found = []
        for verdict in VERDICTS:
            whole = self.tokenizer.encode(start + verdict, add_special_tokens=False)
            if whole[: len(plain)] != plain:
                return []
            found.append(whole[len(plain)])
        return found if len(set(found)) == len(VERDICTS) else []

    def _grammar(self, request: Request) -> Any:
        """What keeps the answer to the schema (xgrammar; Dong et al. 2024); None for free text."""
        if request.schema is None:
            return None
        import xgrammar
        from xgrammar.contrib.hf import LogitsProcessor as Constraint

        schema = json.dumps(request.schema)
        if schema not in self._grammars:
            size = self.model.get_output_embeddings().weight.shape[0]
            info = xgrammar.TokenizerInfo.from_huggingface(
                self.tokenizer, vocab_size=size, stop_token_ids=sorted(self.ends)
            )
            compiler = xgrammar.GrammarCompiler(info)
            self._grammars[schema] = compiler.compile_json_schema(schema, any_whitespace=False)
        return Constraint(self._grammars[schema])


def _as_video(message: Any) -> dict[str, Any]:
    """All pictures of a message as one video."""
    pictures = [c for c in message["content"] if c["type"] == "image"]
    rest = [c for c in message["content"] if c["type"] != "image"]
    return {**message, "content": [*([{"type": "video"}] if pictures else []), *rest]}


def load_llava(folder: str, adapter: str, settings: Settings, *, name: str) -> LlavaEngine:
    """A LLaVA-family model by hub name (if already here) or folder, with a PEFT adapter. Raises WeightsError."""
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    device = choose_device(settings.device)
    revision = pinned(folder) or "main"
    options: dict[str, Any] = {"dtype": choose_dtype(device, settings.precision)}
    if settings.explainer_bits != 16:
        options |= {"quantization_config": _few_bits(name, settings.explainer_bits), "device_map": {"": device}}
    processor = load_processor(folder, name)
    # its bar is of tensors, within a second, among our own lines
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model: Any = AutoModelForImageTextToText.from_pretrained(
            folder, revision=revision, local_files_only=True, use_safetensors=True, **options
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise unloadable(name, error) from None
    if adapter:
        model = with_adapter(model, adapter, name, merge=settings.explainer_bits == 16)
    model = model.to(device) if settings.explainer_bits == 16 else model
    return LlavaEngine(model, processor, name=f"{name}+{Path(adapter).name}" if adapter else name)


def load_processor(folder: str, name: str) -> Any:
    """A model's processor, by hub name (if already here) or folder. Raises WeightsError, also for a model without vision."""
    from transformers import AutoProcessor

    loader: Any = AutoProcessor
    try:
        processor = loader.from_pretrained(folder, revision=pinned(folder) or "main", local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if "image processor" in str(error) and (Path(folder) / "config.json").is_file():
            raise WeightsError(f"explainer {name}: a model without vision; name one of the LLaVA family") from None
        raise unloadable(name, error) from None
    if getattr(processor, "image_processor", None) is None:
        raise WeightsError(f"explainer {name}: a model without vision; name one of the LLaVA family")
    return processor


def unloadable(name: str, error: BaseException) -> WeightsError:
    """What a model that does not load is told as."""
    return WeightsError(
        f"explainer {name}: cannot be loaded ({_line(error)}); run `vlad models pull`, name a local folder, or add --no-explain"
    )


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def with_adapter(model: Any, adapter: str, name: str, *, merge: bool) -> Any:
    """The model under a PEFT adapter, merged into its weights where `merge`: the same numbers in fewer steps. Raises WeightsError."""
    from peft import PeftModel
    from safetensors import safe_open

    way_out = "train one for this base, or leave the setting adapter out"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of missing keys: that is an error here, below
            tuned: Any = PeftModel.from_pretrained(model, adapter, use_safetensors=True)
        with safe_open(Path(adapter) / "adapter_model.safetensors", framework="pt") as file:
            given = {k.replace(".default.", ".") for k in file.keys()}  # noqa: SIM118  # no dict
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(
            f"explainer {name}: adapter {adapter} does not fit ({_line(error)}); {way_out}, or add --no-explain"
        ) from None
    own = {k.replace(".default.", ".") for k in tuned.state_dict() if "lora_" in k}
    if own != given:
        odd = sorted(own ^ given)[0]
        raise WeightsError(f"explainer {name}: adapter {adapter} is for another base ({odd} is not in both); {way_out}")
    return tuned.merge_and_unload() if merge else tuned


def _few_bits(name: str, bits: int) -> Any:
    """NF4 or LLM.int8 for the language model alone; the names of the parts as they are since transformers 5. Raises WeightsError."""
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise WeightsError(
            f"explainer {name}: {bits} bits need bitsandbytes; pip install '.[quantised]' where vlad lies or set explainer_bits=16"
        )
    config: Callable[..., Any] = BitsAndBytesConfig
    skipped = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]
    if bits == 8:
        return config(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return config(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=skipped,
    )
