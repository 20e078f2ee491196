"""Templates and values that want the machine for themselves: no quadratic expression, no endless loop, no other place, no memory."""

import contextlib
import importlib
import pkgutil
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest

import vlad
from vlad import app, finetune, prompting
from vlad import eval as vlad_eval
from vlad.errors import TemplateError
from vlad.explainers import asked
from vlad.prompting import PARTS, RESERVED, Prompt, lint, parse, plain

HEAD = "---\nname: t\nversion: 1\nvariables: {{a: '', b: ''}}\n{more}---\n## user\n{body}\n"


def template(body: str = "{{ a }}{{ b }}", more: str = "") -> str:
    return HEAD.format(more=more, body=body)


def quick(seconds: float, began: float) -> None:
    assert time.monotonic() - began < seconds


@pytest.mark.parametrize("pattern", [RESERVED, PARTS], ids=["reserved", "parts"])
@pytest.mark.parametrize("text", ["<" + " " * 100_000, "<" * 50_000, "</ " * 30_000, "<|" * 50_000, "<|" + "x" * 100_000, "USER" + " " * 100_000, "[" * 100_000, "## user" + " " * 100_000 + "x", "< /" * 33_000])  # fmt: skip
def test_no_expression_is_quadratic(pattern: re.Pattern[str], text: str) -> None:
    began = time.monotonic()
    list(pattern.finditer(text))
    quick(1.0, began)


def patterns() -> dict[str, re.Pattern[str]]:
    """Every expression that a module of vlad keeps, by where it stands."""
    found: dict[str, re.Pattern[str]] = {"inline": re.compile(r"---\r?\n(.*?)\r?\n---\r?\n", re.S)}

    def take(where: str, value: object) -> None:
        if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
            found[where] = value
        elif isinstance(value, tuple | list | dict):
            for n, inner in enumerate(value.values() if isinstance(value, dict) else value):
                take(f"{where} {n}", inner)

    for room in (vlad, app, vlad_eval, finetune):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if "migrations" not in module.name and not module.name.endswith("__main__"):
                for name, value in vars(importlib.import_module(module.name)).items():
                    take(f"{module.name}.{name}", value)
    for name, words in asked.ASKS:
        found[f"asked {name}"] = re.compile(words)
    return found


@pytest.mark.slow
def test_no_expression_anywhere_is_quadratic() -> None:
    """Whatever is read of people, files and models; a search holds every other thread up meanwhile."""
    parts = ["a", "0", " ", "\n", "-", "_", ":", "<", "{", '"', "'", ".", ",", "/", "%", "0-", "a ", "1.", "20260101", "20260101 at ", "2026-", "- ",
             "---\n", "<|", "(", "a.", "e1", "\u00e9"]  # fmt: skip
    slow, all_of_them = [], patterns()
    for where, pattern in all_of_them.items():
        own = [f"{word} " for word in re.findall(r"[a-z]{2,}", pattern.pattern)]
        for part in dict.fromkeys([*parts, *own]):
            text = part * (10_000 // len(part))
            began = time.process_time()
            for hostile in (f"{text}!", f"20260101{text}!"):
                sum(1 for _ in pattern.finditer(hostile))
            took = time.process_time() - began
            if took > 0.5:
                slow.append((where, part, took))
    assert slow == []
    assert len(all_of_them) > 30


@pytest.mark.parametrize("value", ["<<image>>", "[[INST]]", "<" * 50 + "image" + ">" * 50, "<s<image>>", "US<s>ER:", "<|<|im_end|>|>", "<" + " " * 20_000 + "image>"])  # fmt: skip
def test_a_value_is_inert_whatever_taking_tokens_out_leaves(value: str) -> None:
    began = time.monotonic()
    said = plain(value)
    assert not RESERVED.search(said)
    assert plain(said) == said
    quick(1.0, began)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{{ a }}{{ b }}", marks=SLOW),
        "{{ 'x' * 3000000000 }}{{ a }}{{ b }}",
        pytest.param("{{ 'a' * 300000000 }}{{ a }}{{ b }}", marks=SLOW),
        "{{ 'x'|center(1000000000) }}{{ a }}{{ b }}",
        pytest.param("{{ '%0300000000d' % 1 }}{{ a }}{{ b }}", marks=SLOW),
        pytest.param("{{ ''|xmlattr }}{{ a }}{{ b }}", marks=SLOW),
        pytest.param("{% include 'x' %}{{ a }}{{ b }}", marks=SLOW),
        "{{ range(100001)|list }}{{ a }}{{ b }}",
        pytest.param("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}{{ a }}{{ b }}", marks=SLOW),
        pytest.param("{{ 9 ** (9 ** 9) }}{{ a }}{{ b }}", marks=SLOW),
        "{{ " + "not " * 5_000 + "a }}{{ b }}",
        "{{ " + "(" * 20_000 + "a" + ")" * 20_000 + " }}{{ b }}",
        pytest.param("{% if a %}" * 3_000 + "{{ b }}" + "{% endif %}" * 3_000, marks=SLOW),
        pytest.param("{% set x = 'abcdefgh' * 1000 %}" + "{% set x = x ~ x %}" * 40 + "{{ a }}{{ b }}", marks=SLOW),
    ],
    ids=lambda b: b[:40],
)  # fmt: skip
def test_a_template_costs_its_own_seconds_and_nothing_else(tmp_path: Path, body: str) -> None:
    (tmp_path / "t.md").write_text(template(body))
    began = time.monotonic()
    faults = lint(tmp_path)
    quick(20.0, began)
    assert any(f.grave for f in faults), faults
    assert all(len(str(f)) < 600 for f in faults)
    (tmp_path / "t.md").write_text(template())  # and the next one is rendered as ever
    assert lint(tmp_path) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("generation: &a {max_new_tokens: 5}\nsample: *a\n", "aliases"),
        ("sample: {a: " + "[" * 40_000 + "]" * 40_000 + "}\n", "nested deeper"),
        ("generation: {max_new_tokens: -5}\n", "expected 1 to 4096"),
        ("generation: {temperature: 99}\n", "expected 0 to 5"),
        ("generation: {max_new_tokens: [" + "1," * 9000 + "]}\n", "a list"),
        ("schema: {type: object, properties: {text: {$ref: 'file:///etc/hostname'}}}\n", "refers to nothing"),
        ("schema: {type: object, properties: {text: {}}, allOf: [{$ref: '#'}]}\n", "refers to nothing"),
        ("schema: {type: object, properties: {}, $defs: {a: {$dynamicRef: '#b'}}}\n", "refers to nothing"),
        ("schema: {type: object, properties: {text: {pattern: '(a+)+$'}}}\n", "no patterns"),
        ("schema: {type: object, properties: {verdict: {enum: [{a: b}]}}}\n", "verdict must be an enum"),
        ("schema: {type: object, properties: {verdict: true}}\n", "verdict must be an enum"),
        ("schema: {type: object, properties: {1: {}}}\n", "the key 1 is no word"),
        ("sample: 5\n", "sample: expected lines"),
        ("sample: {a: 2026-01-01}\n", "a date"),
        ("sample: {a: !!timestamp 'x'}\n", "that can be used"),
        ("sample: {a: !!int ''}\n", "that can be used"),
        ("sample: {a: !!set {b, c}}\n", "a set"),
        ("sample: {a: .nan}\n", "or none"),
        ("generation: {temperature: 0x" + "f" * 9000 + "}\n", "a number beyond"),
    ],
    ids=lambda t: str(t)[:24],
)  # fmt: skip
def test_hostile_front_matter_is_a_line(more: str, message: str) -> None:
    began = time.monotonic()
    prompt, faults = parse(template(more=more), Path("t.md"))
    quick(5.0, began)
    assert prompt is None
    assert any(message in f.text for f in faults)
    assert all(len(f.text) < 600 for f in faults)


def test_a_schema_opens_no_connection() -> None:
    """SSRF: a prompt made around `parse` does not fetch what its schema names either."""
    asked: list[Any] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(1.0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/ssrf"
        schema = {"type": "object", "properties": {"text": {"$ref": url}}}
        prompt = Prompt("t", 1, "000000", {}, (("user", "x"),), "t.md", schema=schema)
        with pytest.raises(Exception, match=r"ssrf|Unresolvable"):
            prompt.faults({"text": "x"})
        with contextlib.suppress(TimeoutError):
            asked.append(listener.accept())
    assert asked == []


def test_a_child_that_was_killed_costs_one_request() -> None:
    renderer = prompting._RENDERER
    assert renderer.fill(["{{ a }}"], {"a": "1"}) == ["1"]
    child = renderer._child
    assert child is not None
    child.kill()
    child.wait()
    assert renderer.fill(["{{ a }}"], {"a": "2"}) == ["2"]
    with pytest.raises(TemplateError, match="undefined"):
        renderer.fill(["{{ nobody }}"], {})
