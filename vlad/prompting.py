"""A template file and values to chat messages, with the template's hash.

In: a name, a folder of the user's, values. Out: messages of the form that processors of transformers 5 take. A template is YAML front
matter and a Jinja2 body with a `system` and a `user` block; both are hostile until proven otherwise, and so is every value.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined, TemplateSyntaxError, meta
from jinja2.exceptions import SecurityError
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vlad.errors import TemplateError

RESERVED = re.compile(
    r"<\s*/?\s*(image|video|s|pad|unk|bos|eos|start|end|im_start|im_end|system|user|assistant)\s*>|<\|[^|>]*\|>|\[/?INST\]|\b(USER|ASSISTANT|SYSTEM)\s*:",
    re.I,
)
PARTS = re.compile(r"^## (system|user)[ \t]*$", re.M)


def plain(value: object) -> str:
    """A value as inert text: reserved tokens of chat formats lose their meaning, control characters go."""
    text = "".join(c for c in str(value) if c.isprintable() or c == "\n")
    return RESERVED.sub(lambda m: re.sub(r"[<>|\[\]:]", " ", m.group()).strip(), text)


@dataclass(frozen=True)
class Prompt:
    """One template. hash: six hex digits over the whole file; defaults: values of its variables, None where one must be given."""

    name: str
    version: int
    hash: str
    defaults: Mapping[str, Any]
    parts: tuple[tuple[str, str], ...]
    path: str

    @property
    def id(self) -> str:
        """What stands in an explanation, for example explain@9f2c1a."""
        return f"{self.name}@{self.hash}"

    def render(self, values: Mapping[str, object], *, images: int) -> list[dict[str, Any]]:
        """Chat messages; the user's turn begins with `images` pictures. Raises TemplateError that lists every missing value."""
        given = {**self.defaults, **values}
        missing = sorted(k for k in self.defaults if given[k] is None)
        unknown = sorted(set(values) - set(self.defaults))
        if missing or unknown:
            raise TemplateError(
                f"{self.path}: missing values: {missing or 'none'}; values it does not know: {unknown or 'none'}"
            )
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
        safe = {k: plain(v) for k, v in given.items()}
        messages = []
        for role, body in self.parts:
            try:
                text = environment.from_string(body).render(safe).strip()
            except (JinjaError, SecurityError) as error:
                raise TemplateError(f"{self.path}: cannot be rendered ({error})") from None
            pictures = [{"type": "image"}] * images if role == "user" else []
            messages.append({"role": role, "content": [*pictures, {"type": "text", "text": text}]})
        return messages


def load_prompt(name: str, folder: Path | None = None) -> Prompt:
    """The template NAME.md of `folder`, else the shipped one. Raises TemplateError with file and line."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise TemplateError(f"prompt {name!r}: expected a plain name such as 'explain'")
    path = (
        folder / f"{name}.md"
        if folder and (folder / f"{name}.md").is_file()
        else Path(str(files("vlad.prompts") / f"{name}.md"))
    )
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"prompt {name!r}: {path.name} cannot be read ({error}); see the folder prompts/") from None
    found = re.match(r"---\n(.*?)\n---\n", source, re.S)
    try:
        head = yaml.safe_load(found.group(1)) if found else None
    except yaml.YAMLError as error:
        raise TemplateError(f"{path.name}: the front matter is not YAML ({str(error).splitlines()[0]})") from None
    if found is None or not isinstance(head, dict) or not isinstance(head.get("variables"), dict):
        raise TemplateError(
            f"{path.name}: begin it with front matter between two lines of ---, with name, version and variables"
        )
    pieces = PARTS.split(source[found.end() :])
    parts = tuple(zip(pieces[1::2], pieces[2::2], strict=True))
    if "user" not in dict(parts):
        raise TemplateError(f"{path.name}: it needs a line '## user' and the text below it")
    environment = ImmutableSandboxedEnvironment()
    offset = source[: found.end()].count("\n")
    try:
        used = set().union(*(meta.find_undeclared_variables(environment.parse(body)) for _, body in parts))
    except TemplateSyntaxError as error:
        raise TemplateError(f"{path.name}: near line {offset + error.lineno}: {error.message}") from None
    if used - set(head["variables"]):
        raise TemplateError(
            f"{path.name}: undeclared variables {sorted(used - set(head['variables']))}; name them under variables:"
        )
    digest = hashlib.sha256(source.encode()).hexdigest()[:6]
    return Prompt(name, int(head.get("version", 1)), digest, head["variables"], parts, path.name)
