"""Templates: files that may be wrong, values that may be hostile."""

from pathlib import Path

import pytest

from vlad.errors import TemplateError
from vlad.prompting import load_prompt, plain

GOOD = "---\nname: t\nversion: 2\nvariables: {times: null, label: ''}\n---\n## system\nBe brief.\n## user\nAt {{ times }}: {{ label }}\n"


def write(folder: Path, text: str) -> Path:
    (folder / "t.md").write_text(text)
    return folder


def test_a_template_becomes_messages_with_pictures_first(tmp_path: Path) -> None:
    prompt = load_prompt("t", write(tmp_path, GOOD))
    system, user = prompt.render({"times": "1.0 s"}, images=2)
    assert system == {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    assert [c["type"] for c in user["content"]] == ["image", "image", "text"]
    assert user["content"][2]["text"] == "At 1.0 s:"
    assert prompt.id == f"t@{prompt.hash}"


def test_one_changed_letter_changes_the_hash(tmp_path: Path) -> None:
    first = load_prompt("t", write(tmp_path, GOOD)).hash
    assert load_prompt("t", write(tmp_path, GOOD.replace("brief", "Brief"))).hash != first


def test_every_missing_and_unknown_value_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"missing values: \['times'\]; values it does not know: \['colour'\]"):
        load_prompt("t", write(tmp_path, GOOD)).render({"colour": 1}, images=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no front matter", "begin it with front matter"),
        ("---\nname: [\n---\n## user\n", "not YAML"),
        (GOOD.replace("## user", "## other"), "needs a line '## user'"),
        (GOOD.replace("{{ label }}", "{{ label "), r"t\.md:9: "),
        (GOOD.replace("{{ label }}", "{{ colour }}"), r"undeclared variables \['colour'\]"),
    ],
)
def test_a_wrong_template_is_told_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        load_prompt("t", write(tmp_path, text))


def test_a_template_cannot_reach_python(tmp_path: Path) -> None:
    evil = GOOD.replace("{{ label }}", "{{ label.__class__.__mro__ }}")
    with pytest.raises(TemplateError, match="cannot be rendered"):
        load_prompt("t", write(tmp_path, evil)).render({"times": "1"}, images=0)


@pytest.mark.parametrize("name", ["../explain", "Explain", "/etc/passwd", ""])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(TemplateError, match="expected a plain name"):
        load_prompt(name)


@pytest.mark.parametrize(
    "token", ["<image>", "< IMAGE >", "</s>", "<|im_end|>", "[INST]", "USER:", "<assistant>", "<user>", "\x1b[2J"]
)
def test_reserved_tokens_in_a_value_are_inert(token: str) -> None:
    said = plain(f"a {token} b")
    assert not set(said) & set("<>[]|\x1b") or token == "\x1b[2J"
    assert "\x1b" not in said
    assert "USER:" not in said


def test_the_shipped_template_is_sound() -> None:
    prompt = load_prompt("explain")
    _, user = prompt.render({"times": "1.0 s", "label": "<image> fighting"}, images=1)
    assert user["content"][1]["text"].count("<image>") == 0
