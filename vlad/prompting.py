"""A template file and values to chat messages, with the template's hash; and what is wrong with a template.

In: a name, a folder of the user's, values. Out: messages of the form that processors of transformers 5 take. A template is YAML front
matter and a Jinja2 body with a `system` and a `user` block; both are hostile until proven otherwise, and so is every value.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry

from vlad import rendering, safe_yaml
from vlad.errors import TemplateError

# Every repetition is bounded: on hostile text the time stays linear.
RESERVED = re.compile(
    r"<\s{0,8}/?\s{0,8}(image|video|s|pad|unk|bos|eos|start|end|im_start|im_end|system|user|assistant)\s{0,8}>|<\|[^|>]{0,64}\|>|\[/?INST\]"
    r"|\b(USER|ASSISTANT|SYSTEM)\s{0,8}:",
    re.I,
)
ROUNDS = 8  # of taking reserved tokens out of what taking them out has left
LONGEST = 100_000  # letters of a template, and of one value
DEEPEST = 20  # levels of its front matter
LARGEST = 1e15  # number in it
MOST = 100  # variables of a template, and faults that are told of it
ELSEWHERE = {"$ref", "$dynamicRef", "$schema", "$id"}  # of a schema: what could name another place
PATTERNS = {"pattern", "patternProperties"}  # expressions that an answer could be made to take for ever
PARTS = re.compile(r"^## (system|user)[ \t]*$", re.M)
KEYS = {"name", "version", "description", "variables", "generation", "schema", "sample", "tuned_for"}
GENERATION = {"max_new_tokens": int, "do_sample": bool, "temperature": (int, float), "top_p": (int, float)}
RANGES = {"max_new_tokens": (1, 4096), "temperature": (0.0, 5.0), "top_p": (0.0, 1.0)}
# What vlad can tell a template; a variable of another name needs a default of its own.
OFFERED = {
    "label": "the scorer's class for the span",
    "times": "seconds of the frames, as text",
    "start": "of the span, seconds",
    "end": "of the span, seconds",
    "peak": "the span's highest score, 0 to 1",
    "contrast": "seconds of the clip's calmest moment, whose frame is shown first; '' without it",
    "examples": "descriptions of like moments that a person confirmed; '' without them",
    "said": "what was said of the span before",
    "duration": "of the clip, seconds",
    "segments": "flagged spans and what was said of them, a line each",
    "question": "a person's question",
    "reference": "what is known to be true",
    "answer": "what is to be judged",
}


def plain(value: object) -> str:
    """A value as inert text: reserved tokens of chat formats lose their meaning, control characters go."""
    text = "".join(c for c in str(value)[:LONGEST] if c.isprintable() or c == "\n")
    for _ in range(ROUNDS):  # taking one out may join another: <<image>>
        text, found = RESERVED.subn(lambda m: re.sub(r"[<>|\[\]:]", " ", m.group()).strip(), text)
        if not found:
            return text
    return re.sub(r"[<>|\[\]:]", " ", text)


@dataclass(frozen=True)
class Prompt:
    """One template.

    hash: six hex digits over the whole file. defaults: values of its variables, None where one must be given. schema: JSON schema of the
    answer, None for free text. generation: max_new_tokens, do_sample, temperature, top_p. sample: values to look at it with. tuned_for:
    the model and footage it was written for, since prompts carry over badly.
    """

    name: str
    version: int
    hash: str
    defaults: Mapping[str, Any]
    parts: tuple[tuple[str, str], ...]
    path: str
    description: str = ""
    schema: Mapping[str, Any] | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)
    sample: Mapping[str, Any] = field(default_factory=dict)
    tuned_for: str = ""
    source: str = ""

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
        safe = {k: plain(v) for k, v in given.items()}
        bodies = [body for _, body in self.parts]
        try:
            texts = _ours(self.source, bodies, safe) or _RENDERER.fill(bodies, safe)
        except TemplateError as error:
            raise TemplateError(f"{self.path}: cannot be rendered ({error})") from None
        messages = []
        for (role, _), text in zip(self.parts, texts, strict=True):
            pictures = [{"type": "image"}] * images if role == "user" else []
            messages.append({"role": role, "content": [*pictures, {"type": "text", "text": text}]})
        return messages

    def tell(self, known: Mapping[str, object], *, images: int) -> list[dict[str, Any]]:
        """`render` with those of the values it asks for."""
        return self.render({k: v for k, v in known.items() if k in self.defaults}, images=images)

    def faults(self, answer: object) -> list[str]:
        """What in a parsed answer breaks the schema, a line each; none without a schema."""
        if self.schema is None:
            return []
        found: Iterator[ValidationError] = Draft202012Validator(self.schema, registry=Registry()).iter_errors(answer)
        return [f"{'/'.join(map(str, e.path)) or 'answer'}: {e.message[:200]}" for e in found]


def shipped() -> Path:
    """The folder of the shipped templates."""
    return Path(str(files("vlad.prompts")))


@cache
def _shipped_hashes() -> frozenset[str]:
    return frozenset(hashlib.sha256(p.read_bytes()).hexdigest() for p in shipped().glob("*.md"))


def _ours(source: str, bodies: Sequence[str], values: Mapping[str, str]) -> list[str] | None:
    """The texts of a template that vlad ships, rendered here, since it is known to end; None for anybody else's. Raises TemplateError."""
    if hashlib.sha256(source.encode("utf-8", "replace")).hexdigest() not in _shipped_hashes():
        return None
    answer = rendering.fill(bodies, values)
    if "error" in answer:
        raise TemplateError(str(answer["error"]))
    return list(answer["texts"])


_RENDERER = rendering.Renderer()


def names(folder: Path | None = None) -> dict[str, Path]:
    """Every template by name: the folder's own, else the shipped one."""
    found = {p.stem: p for p in sorted(shipped().glob("*.md"))}
    return found | ({p.stem: p for p in sorted(folder.glob("*.md"))} if folder else {})


def user_folder(folder: Path | None) -> Path | None:
    """The folder whose templates override the shipped ones: the one named, else VLAD_PROMPTS. Raises TemplateError where it is none."""
    named = folder or (Path(os.environ["VLAD_PROMPTS"]) if os.environ.get("VLAD_PROMPTS") else None)
    if named and not named.is_dir():
        raise TemplateError(f"{named}: not a folder; name one that holds templates such as explain.md")
    return named


def load_prompt(name: str, folder: Path | None = None) -> Prompt:
    """The template NAME.md of `folder` (or of VLAD_PROMPTS), else the shipped one. Raises TemplateError with file and line."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise TemplateError(f"prompt {name!r}: expected a plain name such as 'explain'")
    own = user_folder(folder)
    path = own / f"{name}.md" if own and (own / f"{name}.md").is_file() else shipped() / f"{name}.md"
    return read_prompt(path)


def read_prompt(path: Path) -> Prompt:
    """The template of a file. Raises TemplateError with its first fault, file and line."""
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(
            f"prompt {path.stem!r}: {path.name} cannot be read ({error}); see the folder prompts/"
        ) from None
    prompt, faults = parse(source, path)
    grave = [f for f in faults if f.grave]
    if prompt is None or grave:
        raise TemplateError(str(grave[0]))
    return prompt


@dataclass(frozen=True)
class Finding:
    """One fault of a template: file, line (from 1), what and the way out. grave: it cannot be used."""

    file: str
    line: int
    text: str
    grave: bool = True

    def __post_init__(self) -> None:  # a template's own names stand in it, and a finding is one line
        object.__setattr__(self, "text", "".join(c if c.isprintable() else " " for c in self.text))

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def parse(source: str, path: Path) -> tuple[Prompt | None, list[Finding]]:
    """A template, None where it cannot be used, and every fault of it (the first MOST)."""
    faults: list[Finding] = []
    if len(source) > LONGEST:
        return None, [Finding(path.name, 1, f"it has more than {LONGEST} letters")]
    found = re.match(r"---\r?\n(.*?)\r?\n---\r?\n", source, re.S)

    def fault(line: int, text: str, *, grave: bool = True) -> None:
        faults.append(Finding(path.name, line, text, grave))

    def line_of(word: str) -> int:
        place = re.search(rf"\b{re.escape(word)}\b", source)
        return source[: place.start()].count("\n") + 1 if place else 1

    try:
        head = front_matter(found.group(1)) if found else None
    except (yaml.YAMLError, *rendering.ERRORS) as error:  # PyYAML's own constructors raise whatever they like
        mark = getattr(error, "problem_mark", None)
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        fault(mark.line + 2 if mark else 2, f"the front matter is not YAML that can be used ({said})")
        return None, faults
    if found is None or not isinstance(head, dict) or not isinstance(head.get("variables"), dict):
        fault(1, "begin it with front matter between two lines of ---, with name, version and variables")
        return None, faults
    for key in sorted(map(str, set(head) - KEYS))[:MOST]:
        fault(line_of(key), f"unknown key {key[:80]}; known are {', '.join(sorted(KEYS))}")
    if head.get("name", path.stem) != path.stem:
        fault(line_of("name"), f"its name is {short(head['name'])}, its file {path.name}; make them one")
    if not isinstance(head.get("version", 1), int):
        fault(line_of("version"), "version: expected a whole number")
    if not isinstance(head.get("sample", {}), dict):
        fault(line_of("sample"), "sample: expected lines such as times: 1.0 s, 2.0 s")
    faults += _generation_faults(head.get("generation", {}), path, line_of)
    faults += _schema_faults(head.get("schema"), path, line_of("schema"))
    digest = hashlib.sha256(source.encode("utf-8", "replace")).hexdigest()
    known_to_end = digest in _shipped_hashes()
    pieces = PARTS.split(source[found.end() :])
    parts = tuple(zip(pieces[1::2], pieces[2::2], strict=True))
    if "user" not in dict(parts):
        fault(source[: found.end()].count("\n"), "it needs a line '## user' and the text below it")
    used: set[str] = set()
    read = True
    place = found.end() + len(pieces[0])
    for role, body in parts:
        place = source.index(f"## {role}", place)
        place = source.index("\n", place) if "\n" in source[place:] else len(source)
        start = source[:place].count("\n")
        looked = rendering.look(body) if known_to_end else _RENDERER.look(body)
        used |= set(looked.get("used", ()))
        if "error" in looked:
            read = False
            fault(start + looked["line"], looked["error"])
        for token in list(RESERVED.finditer(body))[:MOST]:
            line = start + body[: token.start()].count("\n") + 1
            fault(line, f"{short(token.group())} is a word of chat formats; the processor writes these", grave=False)
    faults += _variable_faults(head["variables"], used if read else None, path, line_of)
    whole = not any(f.grave for f in faults)
    if not whole:
        return None, faults[:MOST]
    prompt = Prompt(
        path.stem, int(head.get("version", 1)), digest[:6], head["variables"], parts, path.name, str(head.get("description", "")),
        head.get("schema"), head.get("generation") or {}, head.get("sample") or {}, str(head.get("tuned_for", "")), source,
    )  # fmt: skip
    return prompt, faults[:MOST]


def front_matter(text: str) -> Any:
    """YAML of a hostile text: no aliases, so that it stays as large as it looks, and DEEPEST levels. Raises yaml.YAMLError, ValueError."""
    found = safe_yaml.load(text, deepest=DEEPEST)
    _plain(found)
    return found


def _plain(value: object) -> None:
    """Raises ValueError for what JSON would not hold: whatever reads a template counts on words as keys, and on nothing but words, numbers, lists and tables."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"the key {short(key)} is no word; put it in quotes")
            _plain(inner)
    elif isinstance(value, list):
        for inner in value:
            _plain(inner)
    elif isinstance(value, int | float) and not abs(value) <= LARGEST:  # not a number, too
        raise ValueError(f"a number beyond {LARGEST:g}, or none; put it in quotes")
    elif not isinstance(value, str | int | float | None):
        raise ValueError(f"a {type(value).__name__} is neither words nor a number; put it in quotes")


def short(value: object) -> str:
    """A value as it stands in a message, however large it is."""
    large = isinstance(value, int) and abs(value) > LARGEST  # Python writes no number of thousands of digits
    known = isinstance(value, str | int | float | bool | None) and not large
    text = repr(value) if known else f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _variable_faults(
    variables: Mapping[Any, Any], used: set[str] | None, path: Path, line_of: Callable[[str], int]
) -> Iterator[Finding]:
    """used: what the template names, None where it could not be read, so that nobody knows."""
    if len(variables) > MOST:
        yield Finding(path.name, line_of("variables"), f"more than {MOST} variables")
        return
    undeclared = sorted((used or set()) - set(variables))[:MOST]
    for name in undeclared:
        yield Finding(path.name, line_of(name), f"undeclared variables {undeclared[:10]}; name them under variables:")
    for name, default in variables.items() if not undeclared else ():
        if not isinstance(name, str):
            yield Finding(path.name, line_of(str(name)), f"variable {short(name)}: expected a word")
            continue
        if used is not None and name not in used:
            yield Finding(path.name, line_of(name), f"variable {name[:80]} is declared and not used", grave=False)
        if default is None and name not in OFFERED:
            known = ", ".join(OFFERED)
            yield Finding(
                path.name,
                line_of(name),
                f"variable {name[:80]} has no default, and vlad tells only {known}",
                grave=False,
            )


def _generation_faults(given: object, path: Path, line_of: Callable[[str], int]) -> Iterator[Finding]:
    if not isinstance(given, dict):
        yield Finding(path.name, line_of("generation"), "generation: expected lines such as max_new_tokens: 160")
        return
    for key, value in given.items():
        kind = GENERATION.get(key)
        if kind is None:
            yield Finding(
                path.name, line_of(str(key)), f"generation: unknown {str(key)[:80]}; known are {', '.join(GENERATION)}"
            )
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):  # type: ignore[arg-type]
            yield Finding(path.name, line_of(key), f"generation: {key} is {short(value)}, of a wrong type")
        elif key in RANGES and not RANGES[key][0] <= value <= RANGES[key][1]:
            low, high = RANGES[key]
            yield Finding(path.name, line_of(key), f"generation: {key} is {short(value)}; expected {low:g} to {high:g}")


def _pairs(schema: object) -> Iterator[tuple[str, object]]:
    """Every key of a schema with its value, at any level."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            yield str(key), value
            yield from _pairs(value)
    elif isinstance(schema, Iterable) and not isinstance(schema, str):
        for value in schema:
            yield from _pairs(value)


def _schema_faults(schema: object, path: Path, line: int) -> Iterator[Finding]:
    if schema is None:
        return
    foreign = sorted({k for k, _ in _pairs(schema) if k in ELSEWHERE or k in PATTERNS})
    if foreign:  # references within itself can be endless, or double with every line
        yield Finding(path.name, line, f"schema: {', '.join(foreign)}: it refers to nothing, and holds no patterns")
        return
    try:
        Draft202012Validator.check_schema(schema)  # type: ignore[arg-type]
    except SchemaError as error:
        yield Finding(path.name, line, f"schema: {'/'.join(map(str, error.path))}: {error.message[:200]}")
        return
    if not isinstance(schema, dict) or schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
        yield Finding(path.name, line, "schema: expected type object with properties")
        return
    missing = sorted(set(schema.get("required", ())) - set(schema["properties"]))
    if missing:
        yield Finding(path.name, line, f"schema: required {missing} are no properties")
    verdict = schema["properties"].get("verdict")
    given = verdict.get("enum", ["?"]) if isinstance(verdict, dict) else ["?"]
    if verdict is not None and any(word not in ("anomaly", "normal", "unclear") for word in given):
        yield Finding(path.name, line, "schema: verdict must be an enum of anomaly, normal, unclear")


def lint(
    folder: Path, *, count: Callable[[str], int] | None = None, context: int = 0, picture: int = 0
) -> list[Finding]:
    """Every fault of every template of a folder.

    count: tokens of a text for a model that holds `context` of them and spends `picture` on each frame: a template is told that leaves no
    room for one frame and the answer.
    """
    faults: list[Finding] = []
    seen: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.md")):
        if path.name.lower() in ("readme.md",):
            continue
        if path.stem.lower() in seen:
            faults.append(Finding(path.name, 1, f"two files of one name: {seen[path.stem.lower()]} and {path}"))
        seen[path.stem.lower()] = path
        try:
            prompt, own = parse(path.read_text(encoding="utf-8"), path)
        except (OSError, UnicodeDecodeError) as error:
            faults.append(Finding(path.name, 1, f"cannot be read ({error})"))
            continue
        faults += own
        if prompt is not None:
            faults += _sample_faults(prompt, count, context, picture)
    return faults


def _sample_faults(prompt: Prompt, count: Callable[[str], int] | None, context: int, picture: int) -> Iterator[Finding]:
    unknown = sorted(set(prompt.sample) - set(prompt.defaults))
    if unknown:
        yield Finding(prompt.path, 1, f"sample: {unknown} are no variables", grave=False)
    values = {k: "0" for k, v in prompt.defaults.items() if v is None} | {
        k: v for k, v in prompt.sample.items() if k in prompt.defaults
    }
    try:
        messages = prompt.render(values, images=0)
    except TemplateError as error:
        yield Finding(prompt.path, 1, str(error))
        return
    if count:
        text = sum(count(m["content"][-1]["text"]) for m in messages)
        answer = int(prompt.generation.get("max_new_tokens", 160))
        if text + picture + answer > context:
            yield Finding(
                prompt.path, 1,
                f"{text} tokens of text, {picture} of one frame and {answer} of the answer are more than the context of {context}",
            )  # fmt: skip


class Templates:
    """Templates that follow their files: an edit counts at once, a broken one leaves the last good version in place and says so."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = user_folder(folder)
        self._good: dict[str, Prompt] = {}
        self._seen: dict[str, tuple[str, int, int]] = {}
        self.broken: dict[str, str] = {}  # name -> what is wrong with its file, where the last good version is in use

    def __call__(self, name: str) -> Prompt:
        """The newest version of a template that can be used. Raises TemplateError where there never was one."""
        path = names(self.folder).get(name)
        try:
            stat = path.stat() if path else None
        except OSError:
            stat = None
        state = (str(path), stat.st_mtime_ns, stat.st_size) if stat else ("", 0, 0)
        if self._seen.get(name) == state and name in self._good:
            return self._good[name]
        self._seen[name] = state
        try:
            self._good[name] = load_prompt(name, self.folder)
            self.broken.pop(name, None)
        except TemplateError as error:
            self.broken[name] = str(error)
            if name not in self._good:
                raise
        return self._good[name]
