"""A model behind an OpenAI-compatible server (vLLM, Ollama, `transformers serve`): messages and pictures to words.

In: requests. Out: replies. Pictures go as JPEGs inside the request; nothing else of the clip does. Several requests are under way at once;
one that fails for a passing reason is asked again. What the server sends is as untrusted as any model's words.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
from PIL import Image

from vlad.config import Settings
from vlad.errors import ModelError, SettingsError
from vlad.types import VERDICTS

from .engine import OPENING, OnText, Picture, Reply, Request, shares

SIDE = 672  # pixels of the long side of a picture that is sent
RETRIES = 2
MOST = 100_000  # letters of an answer that are read


class ServerEngine:
    """One model of one server. name: the model's name there."""

    def __init__(self, model: str, settings: Settings) -> None:
        self.name, self.together, self.url = model, settings.server_together, settings.server
        try:
            self.client = openai.OpenAI(
                base_url=settings.server,
                api_key=settings.server_key or None,
                timeout=settings.server_seconds,
                max_retries=RETRIES,
            )  # None: OPENAI_API_KEY
        except openai.OpenAIError:  # no key: local servers want none, the library wants one
            self.client = openai.OpenAI(
                base_url=settings.server, api_key="none", timeout=settings.server_seconds, max_retries=RETRIES
            )
        self._plain = False  # the server does not know response_format or logprobs

    def room(self, request: Request) -> int:
        """All pictures: the server knows its context, and says so where it is too small."""
        return len(request.pictures)

    def __call__(self, requests: Sequence[Request], on_text: OnText | None = None) -> list[Reply]:
        """A reply each, several under way at once. Raises ModelError where the server is away or answers nonsense."""
        with ThreadPoolExecutor(self.together) as pool:
            return list(pool.map(lambda pair: self._one(pair[1], pair[0], on_text), enumerate(requests)))

    def _one(self, request: Request, index: int, on_text: OnText | None) -> Reply:
        options: dict[str, Any] = {"temperature": 0.0}
        for key in ("temperature", "top_p"):
            if (request.sampling or {}).get("do_sample") and key in (request.sampling or {}):
                options[key] = request.sampling[key]  # type: ignore[index]
        extra: dict[str, Any] = {}
        if request.schema is not None:
            extra["response_format"] = {
                "type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": request.schema}
            }  # fmt: skip
            extra |= {"logprobs": True, "top_logprobs": 20} if "verdict" in request.schema.get("properties", {}) else {}
        try:
            if extra and not self._plain:
                try:
                    return self._streamed(request, {**options, **extra}, index, on_text)
                except (openai.BadRequestError, openai.UnprocessableEntityError):
                    reply = self._streamed(request, options, index, on_text)
                    self._plain = True  # without them it works: ask it no more
                    return reply
            return self._streamed(request, options, index, on_text)
        except openai.APITimeoutError:
            raise ModelError(
                f"server {self.url}: no answer in time; raise server_seconds, or show fewer frames"
            ) from None
        except openai.APIConnectionError:
            raise ModelError(f"server {self.url}: away; start it, or check the setting server") from None
        except openai.AuthenticationError:
            raise ModelError(f"server {self.url}: the key is refused; set OPENAI_API_KEY") from None
        except openai.NotFoundError:
            raise ModelError(f"server {self.url}: knows no model {self.name!r}; it has: {self._models()}") from None
        except openai.APIStatusError as error:
            said = str(getattr(error, "message", error)).splitlines()[0][:200]
            raise ModelError(
                f"server {self.url}: {error.status_code}: {said}; show fewer frames if it speaks of length"
            ) from None
        except (openai.OpenAIError, ValueError, AttributeError, TypeError, KeyError) as error:
            raise ModelError(
                f"server {self.url}: its answer is no chat completion ({type(error).__name__}); is this the address of its /v1?"
            ) from None

    def _streamed(self, request: Request, options: dict[str, Any], index: int, on_text: OnText | None) -> Reply:
        pieces: list[str] = []
        size, reason = 0, ""
        found: dict[str, float] | None = None
        create: Any = self.client.chat.completions.create
        stream: Any = create(
            model=self.name, messages=_messages(request), max_tokens=request.max_new_tokens, stream=True, **options
        )
        if not hasattr(stream, "__iter__") or isinstance(stream, str):
            raise ValueError("no stream of events")
        for event in stream:
            if not event.choices:
                continue
            choice = event.choices[0]
            for token in (choice.logprobs.content or ()) if getattr(choice, "logprobs", None) else ():
                if found is None and OPENING.search("".join(pieces)):
                    found = {
                        v: t.logprob for t in reversed(token.top_logprobs) for v in VERDICTS if _begins(t.token, v)
                    }
            piece = choice.delta.content or ""
            reason = choice.finish_reason or reason
            size += len(piece)
            if size > MOST:
                raise ModelError(f"server {self.url}: an answer of more than {MOST} letters; lower max_new_tokens")
            if piece:
                pieces.append(piece)
                if on_text:
                    on_text(index, piece)
        notes = (f"cut off after {request.max_new_tokens} tokens",) if reason == "length" else ()
        if not pieces:
            notes = (*notes, "the server sent nothing")
        return Reply("".join(pieces), shares(found) if found else None, notes=notes)

    def _models(self) -> str:
        try:
            return ", ".join(m.id for m in self.client.models.list().data[:20]) or "none"
        except (openai.OpenAIError, ValueError, AttributeError):
            return "it does not say"


def _begins(token: str, verdict: str) -> bool:
    word = token.strip().strip('"')
    return len(word) > 1 and verdict.startswith(word)


def _messages(request: Request) -> list[dict[str, Any]]:
    """As the OpenAI API wants them, pictures as data URLs."""
    pictures = iter(request.pictures)
    messages = []
    for message in request.messages:
        content: list[dict[str, Any]] = []
        for item in message["content"]:
            if item["type"] == "image":
                content.append({"type": "image_url", "image_url": {"url": data_url(next(pictures))}})
            else:
                content.append({"type": "text", "text": item["text"]})
        only_text = len(content) == 1 and content[0]["type"] == "text"
        messages.append({"role": message["role"], "content": content[0]["text"] if only_text else content})
    return messages


def data_url(picture: Picture) -> str:
    """A picture as a JPEG data URL, its long side at most SIDE pixels."""
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def load_server(settings: Settings) -> ServerEngine:
    """The server that the settings name. Raises SettingsError for an address that is none."""
    if not settings.server.startswith(("http://", "https://")):
        raise SettingsError(f"server {settings.server!r}: expected a base URL such as http://localhost:8000/v1")
    return ServerEngine(settings.explainer, settings)
