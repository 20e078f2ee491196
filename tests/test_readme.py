"""The README's commands exist, its Python compiles, and the first result is near the top."""

import ast
import re
from pathlib import Path

import pytest

import vlad
from vlad.cli import main
from vlad.config import PRESETS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.M | re.S)


def test_first_result_by_line_25() -> None:
    assert any("make demo" in line for line in TEXT.splitlines()[:25])


def test_python_names_the_face() -> None:
    for code in (body for language, body in BLOCKS if language == "python"):
        used = {
            node.attr for node in ast.walk(ast.parse(code))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "vlad"
        }  # fmt: skip
        assert used <= set(vlad.__all__)


@pytest.mark.parametrize(
    "verb",
    sorted(
        set(
            re.findall(
                r"vlad (analyze|demo|doctor|models list|models pull|features|score|adapt|calibrate|import|app|users add|audit verify|verdicts export)\b",
                TEXT,
            )
        )
    ),
)
def test_every_verb_answers_to_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([*verb.split(), "--help"])
    assert "Usage" in capsys.readouterr().out


def test_presets_and_targets_are_real() -> None:
    assert all(f"`{name}`" in TEXT for name in PRESETS)
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in re.findall(r"\bmake (\w+)", TEXT))


def test_every_name_of_the_tree_exists() -> None:
    tree = next(body for _, body in BLOCKS if body.startswith("vlad/ "))
    above = ROOT
    for line in tree.splitlines():
        name = line.split()[0]
        above = above if line.startswith(" ") else ROOT / name
        assert (above / name if line.startswith(" ") else above).exists(), line
    for name in re.findall(r"\b(\w+\.(?:py|yaml))\b", tree):
        assert list(ROOT.glob(f"*/{name}")), name
