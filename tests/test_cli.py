"""Exit codes, streams and hostile names; the models behind the verbs are stood in for."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vlad
from vlad.cli import common, main, printable
from vlad.errors import VideoError
from vlad.types import Analysis, Explanation, ScoreTrack, Segment, Video

SEGMENT = Segment(1.0, 3.0, 0.9, 2.0, "[bold]fighting\x1b[31m")


def analysis(path: Path) -> Analysis:
    video = Video(str(path), "0" * 64, 4.0, 15.0, 320, 240, "h264")
    track = ScoreTrack(np.array([0.1, 0.9], np.float32), np.array([0.0, 2.0, 4.0]))
    return Analysis(
        video, track, (SEGMENT,), (Explanation(SEGMENT, "anomaly", "two [red]people"),), {"warnings": ["1 gap"]}
    )


class Stand:
    """Analyses whatever is not called bad; stops at what is called interrupt."""

    def __init__(self, settings: vlad.Settings) -> None:
        self.settings = settings

    def __call__(self, path: Path, **callbacks: Any) -> Analysis:
        if "interrupt" in path.name:
            raise KeyboardInterrupt
        if "bad" in path.name:
            raise VideoError(f"{path}: holds no picture;\nconvert it")
        return analysis(path)


@pytest.fixture(autouse=True)
def stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vlad, "Analyzer", Stand, raising=False)
    monkeypatch.setattr(vlad, "save", lambda a, folder, **_: (Path(folder) / "x.json",), raising=False)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return int(stop.value.code or 0)


def test_all_well_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("analyze", "a.mp4") == 0
    assert "fighting" in capsys.readouterr().out


def test_a_bad_clip_stops_no_other_and_costs_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("analyze", "bad.mp4", "good.mp4", "bad2.mp4") == 1
    told = capsys.readouterr()
    assert "good.mp4" in told.out
    assert len([line for line in told.err.splitlines() if "no picture" in line]) == 2
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    "arguments", [("analyze",), ("analyse", "a.mp4"), ("analyze", "--nope", "a.mp4"), ("finetune",)]
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--preset", "none"), "choose one of"),
        (("--set", "enter=7"), "enter"),
        (("--set", "enter"), "KEY=VALUE"),
        (
            (
                "--set",
                "enter=[",
            ),
            "cannot be read",
        ),
        (("--set", "colour=red"), "colour: there is no such setting"),
        (("--set", "entre=0.5"), "did you mean enter?"),
    ],
)
def test_a_wrong_setting_is_one_line(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("analyze", "a.mp4", *arguments) == 1
    told = capsys.readouterr()
    assert words in told.err
    assert len(told.err.splitlines()) == 1


def test_a_name_with_a_leading_dash(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("analyze", "--", "-a.mp4") == 0
    assert "-a.mp4" in capsys.readouterr().out


def test_ctrl_c_keeps_what_is_finished(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("analyze", "a.mp4", "interrupt.mp4", "b.mp4") == 130
    told = capsys.readouterr()
    assert "1 of 3" in told.err
    assert "b.mp4" not in told.out


def test_no_name_and_no_caption_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("analyze", "a\x1b[2J\n[bold].mp4") == 0
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err
    assert "[bold].mp4" in told.out
    assert "[red]people" in told.out.replace("\n", "")
    assert printable("\ud800\x07é") == "\\ud800\\x07é"


def test_json_is_one_list_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("analyze", "--json", "a.mp4", "bad.mp4", "b.mp4") == 1
    found = json.loads(capsys.readouterr().out)
    assert [one["video"]["path"] for one in found] == ["a.mp4", "b.mp4"]


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run("analyze", "a.mp4", "-o", "file/out") == 1
    assert "-o" in capsys.readouterr().err


def offline(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The verb in a process of its own with the hub switched off and an empty hub cache."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(Path.cwd() / "hub")}
    command = [sys.executable, "-m", "vlad", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_models_list_needs_no_network() -> None:
    listed = offline("models", "list")
    assert listed.returncode == 0, listed.stderr
    assert "clip-b16: timm/" in listed.stdout
    assert "vlad models pull clip-b16" in listed.stdout


def test_an_unreachable_hub_names_the_local_way() -> None:
    refused = offline("models", "pull", "clip-b16")
    assert refused.returncode == 1
    assert "copy it to a folder" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_an_unknown_preset_to_pull() -> None:
    refused = offline("models", "pull", "clip-z")
    assert (refused.returncode, refused.stderr.count("choose one of")) == (1, 1)


def test_it_says_which_version_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"vlad {vlad.__version__}\n"


def test_nothing_flagged_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """It was an empty table."""
    made = Analysis(
        Video("calm.mp4", "0" * 64, 10.0, 15.0, 8, 8, "h264"), ScoreTrack(np.zeros(2, np.float32), np.arange(3.0)), ()
    )
    common.show(made, [])
    told = capsys.readouterr().out
    assert "nothing reached the threshold. That is no proof that nothing happened." in " ".join(told.split())
    assert "verdict" not in told


def test_training_says_what_can_be_trained(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("finetune", "--help") == 0
    told = capsys.readouterr().out
    assert len(told.splitlines()) > 8
    assert "llava-qlora" in told
