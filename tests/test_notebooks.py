"""The researcher's first three hours run as they stand, cell by cell."""

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"


def run(name: str) -> dict[str, Any]:
    """What a notebook's cells leave behind."""
    found: dict[str, Any] = {"__name__": name}
    for cell in json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{name}, {cell['id']}", "exec"), found)
    return found


def test_no_notebook_holds_what_it_printed_once() -> None:
    cells = [c for p in sorted(FOLDER.glob("*.ipynb")) for c in json.loads(p.read_text())["cells"]]
    assert len(cells) > 15
    assert not any(c.get("outputs") for c in cells)


def test_a_head_of_ones_own() -> None:
    from vlad.finetune.losses import LOSSES

    from vlad.scorers import HEADS

    try:
        found = run("a-head-of-your-own")
    finally:
        HEADS.pop("mine", None)
        LOSSES.pop("mine", None)
    assert found["inside"] > found["outside"] + 0.2
    cells = json.loads((FOLDER / "a-head-of-your-own.ipynb").read_text())["cells"]
    assert sum(len([x for x in c["source"] if x.strip()]) for c in cells if c["cell_type"] == "code") <= 60


@pytest.mark.slow
def test_features_to_a_digit() -> None:
    found = run("features-to-a-digit")
    assert found["auc"] > 0.85
    assert found["control"] < found["auc"] - 0.2


@pytest.mark.slow
def test_footage_to_a_scorer() -> None:
    found = run("footage-to-a-scorer")
    assert found["refused"].returncode == 1
    assert found["after"].made_by["settings"]["scorer_weights"].endswith("mine")
