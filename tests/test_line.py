"""The whole line on a real clip with a real, if tiny and untrained, CLIP: command line to the three files."""

import json
import os
from pathlib import Path

import jsonschema
import open_clip
import pytest
import torch
from safetensors.torch import save_file

import vlad
from vlad.cli import main
from vlad.report import SCHEMA_PATH, from_json

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that open_clip loads as a model; weights by seed."""
    folder = tmp_path_factory.mktemp("tower")
    torch.manual_seed(0)
    model = open_clip.CLIP(**CONFIG)
    normal = {"mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": normal}))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return int(stop.value.code or 0)


def options(tower: Path, out: Path) -> list[str]:
    return [
        "--no-explain", "-o", str(out), "--set", f"encoder={tower}", "--set", "scorer=text", "--set", "enter=0.0",
        "--set", "leave=0.0",
    ]  # fmt: skip


def test_a_clip_becomes_three_files(
    clip: Path, tower: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("analyze", "--json", *options(tower, tmp_path), str(clip)) == 0
    (printed,) = json.loads(capsys.readouterr().out)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".csv", ".html", ".json"]
    text = (tmp_path / "scene.json").read_text()
    assert json.loads(text) == printed
    jsonschema.validate(printed, json.loads(SCHEMA_PATH.read_text()))
    assert from_json(text).segments
    assert "://" not in (tmp_path / "scene.html").read_text().replace("http://www.w3.org/", "")


@pytest.mark.slow
def test_python_and_command_agree(clip: Path, tower: Path, tmp_path: Path) -> None:
    run("analyze", *options(tower, tmp_path), str(clip))
    said = vlad.analyze(clip, encoder=str(tower), scorer="text", enter=0.0, leave=0.0, explain=False)
    assert said.segments == from_json((tmp_path / "scene.json").read_text()).segments


@pytest.mark.parametrize(
    "name",
    [
        "a b\n[bold]é.mp4",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("-dash.mp4", "=1+1.mp4", os.fsdecode(b"latin\xe9.mp4"))),
    ],
)
@pytest.mark.slow
def test_hostile_names(clip: Path, tower: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.symlink(clip, name)
    assert run("analyze", *options(tower, tmp_path / "out"), "--", name) == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_a_read_only_folder_is_one_line(clip: Path, tower: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("analyze", *options(tower, Path("/proc/nowhere")), str(clip)) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_is_no_clip_costs_one_line_each(tower: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("#EXTM3U\n/etc/passwd\n")
    names = [str(tmp_path / n) for n in ("empty.mp4", "text.mp4", "absent.mp4")] + [str(tmp_path)]
    assert run("analyze", *options(tower, tmp_path / "out"), *names) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4
    assert list((tmp_path / "out").iterdir()) == []
