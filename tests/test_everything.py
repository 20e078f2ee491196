"""`vlad eval all`: one page of what each verb shows, whatever one of them does."""

from collections.abc import Sequence
from pathlib import Path
from subprocess import CalledProcessError

import pytest
from rich.table import Table
from vlad.eval.everything import FEW, main, told
from vlad.eval.verb import show_table

from vlad.errors import InputError, SettingsError


def test_a_table_keeps_its_words() -> None:
    table = Table("head", "[bold]AUC[/bold]", title="of <heads>", caption="[dim]over videos[/dim]")
    table.add_row("mil", "[green].951[/green]")
    assert told(table) == {
        "title": "of <heads>",
        "caption": "over videos",
        "head": ["head", "AUC"],
        "rows": [["mil", ".951"]],
    }


def test_a_verb_that_fails_costs_its_own_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen: dict[str, Sequence[str]] = {}

    def verb(name: str) -> None:
        def run(argv: Sequence[str]) -> int:
            seen[name] = argv
            if name == "scorers":
                raise InputError("no such <folder>")
            if name == "clicks":
                raise CalledProcessError(2, "vlad finetune")  # as verbs run other verbs
            table = Table("measure")
            table.add_row(f"{name} & more")
            show_table(table)
            return 1  # a bar was missed: no fault of the run

        verbs[name] = run

    verbs: dict[str, object] = {}
    for name in FEW:
        verb(name)
    assert main([f"work={tmp_path}", "quick=true", "data="], verbs) == 1  # type: ignore[arg-type]
    page = (tmp_path / "all.html").read_text()
    assert "fewshot &amp; more" in page
    assert "no such &lt;folder&gt;" in page
    assert "exit status 2" in page
    assert "None of these figures means anything" in page
    assert "Real footage was not measured" in page
    assert "EfficientNet-Lite2" in page  # what nano was trained on
    assert "://" not in page
    assert "videos=4" in seen["nano"]
    assert main([f"work={tmp_path}", "only=nano", "data=footage"], verbs) == 0  # type: ignore[arg-type]
    assert "data=footage" in seen["nano"]
    with pytest.raises(SettingsError, match="parts are nano"):
        main(["only=nothing"], verbs)  # type: ignore[arg-type]
