"""`vlad eval speed`: a line a part as soon as it is measured, beside what this processor could do."""

import json
from pathlib import Path

import pytest
import torch
from vlad.eval.speed import Parts, Took, demand, line_of, main

from vlad.errors import SettingsError


def test_a_part_that_is_none_is_told_with_those_there_are() -> None:
    """R14: it ran all of it, for ten minutes, in silence."""
    with pytest.raises(SettingsError, match="no part 'towr'; parts are limits, decode"):
        main(["towr"])
    with pytest.raises(SettingsError, match="keys seconds, clip, day, profile, work, published, steps, pieces"):
        main(["decode", "speed=3"])


@pytest.mark.slow
def test_one_part_is_measured_alone_and_kept(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["motion", "limits", f"clip={clip}", f"work={tmp_path}", f"profile={tmp_path / 'profile.txt'}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["limits", "limits", "motion"]  # in the order of the line
    kept = json.loads((tmp_path / "speed.json").read_text())
    assert [k["part"] for k in kept] == ["limits", "limits", "motion"]
    assert all(k["value"] > 0 for k in kept)
    assert "Self CPU" in (tmp_path / "profile.txt").read_text()


def test_operations_and_bytes_of_a_layer_are_counted() -> None:
    layer = torch.nn.Linear(30, 50, bias=False)
    flops, moved = demand(torch.nn.Sequential(layer), lambda: layer(torch.ones(7, 30)))
    assert flops == 2 * 7 * 30 * 50
    assert moved == 4 * (30 * 50 + 2 * 7 * 50)


def test_a_bar_that_is_missed_is_said() -> None:
    assert "at least 8: MISSED" in line_of("line", Took("times real time", 7.9, "busy", 8))
    assert "at most 2: ok" in line_of("words", Took("seconds", 1.9, "", 2, most=True))
    assert set(Parts.PARTS) >= {"decode", "resize", "tower", "motion", "objects", "head", "words"}
