"""Where weights are, and that what was altered is never used in silence."""

import json
import shutil
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors import safe_open

import vlad
import vlad.weights as weights
from vlad.config import PRESETS, make_settings
from vlad.errors import WeightsError

NANO = weights.nano_folder()


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of nano that may be damaged."""
    folder = tmp_path / "nano"
    shutil.copytree(NANO, folder)
    monkeypatch.setattr(weights, "nano_folder", lambda: folder)
    return folder


def test_what_is_shipped_is_whole_and_small() -> None:
    weights.verify_nano()
    files = [p for p in NANO.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sum(p.stat().st_size for p in files) <= 80e6
    assert {p.suffix for p in files} <= {".safetensors", ".json", ".jinja", ".txt", ".md", ".py", ".onnx"}
    listed = json.loads((NANO / "checksums.json").read_text())
    assert {str(p.relative_to(NANO)) for p in files if p.suffix in {".safetensors", ".json", ".jinja", ".onnx"}} == {
        *listed,
        "checksums.json",
    }


def test_every_shipped_number_is_finite() -> None:
    for path in NANO.rglob("*.safetensors"):
        with safe_open(path, "np") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                assert np.isfinite(file.get_tensor(name).astype(np.float32)).all(), (path.name, name)
                assert "vision_tower" not in name, "the towers are nano's eyes and are not stored twice"


def test_no_path_of_the_machine_that_trained() -> None:
    for path in NANO.rglob("*config.json"):
        assert not any(word in path.read_text() for word in ('"/', "/tmp", "/home", "/root", "runs/")), path


@pytest.mark.parametrize("part", ["clip/model.safetensors", "llava/model.safetensors", "adapter/adapter_config.json"])
def test_an_altered_file_is_named(copy: Path, part: str) -> None:
    data = bytearray((copy / part).read_bytes())
    data[-2] ^= 1
    (copy / part).write_bytes(data)
    with pytest.raises(WeightsError, match=f"{part} is not the file that was shipped; reinstall"):
        weights.verify_nano()


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "mil/head.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"mil/head\.safetensors is missing"):
        weights.verify_nano()
    (copy / "checksums.json").unlink()
    with pytest.raises(WeightsError, match="reinstall vlad"):
        weights.verify_nano()


@pytest.mark.parametrize("load", ["vlad.encoder:load_encoder", "vlad.explainers:load_explainer"])
def test_altered_weights_are_not_loaded(copy: Path, load: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import import_module

    module, name = load.split(":")
    part = "clip" if "encoder" in load else "llava"
    with open(copy / part / "model.safetensors", "ab") as file:
        file.write(b"x")
    with pytest.raises(WeightsError, match="is not the file that was shipped"):
        getattr(import_module(module), name)(make_settings())


def test_every_preset_has_its_sources_pinned() -> None:
    assert set(weights.SOURCES) == set(PRESETS)
    for name, sources in weights.SOURCES.items():
        for s in sources:
            assert len(s.revision) == 40
            assert weights.pinned(s.repo) == s.revision
        if sources:
            assert PRESETS[name]["explainer"] in {s.repo for s in sources}


def test_what_was_not_pulled_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert weights.local_copy("nobody/nothing") is None
    assert weights.describe().count("vlad models pull clip-b16") == 2


def test_no_model_file_is_fetched_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    from vlad.encoder import load_encoder

    with pytest.raises(WeightsError, match="models pull"):
        load_encoder(make_settings("clip-b16"))


@pytest.mark.parametrize("cached", [False, True])
def test_the_library_looks_up_no_name_for_weights_that_are_not_here(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], cached: bool
) -> None:
    """H17: only the command line was silent on the wire; analyze() asked the hub, and kept asking for most of a minute."""
    asked: list[object] = []

    def refuse(*host: object, **more: object) -> object:
        asked.append(host)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("vlad.encoder.local_copy", lambda repo: None)
    if cached:  # it says so, and is not
        monkeypatch.setattr("vlad.encoder._is_cached", lambda repo: True)
    begin = time.monotonic()
    with pytest.raises(
        WeightsError, match="cannot be loaded" if cached else "weights are not here: vlad models pull clip-b16"
    ) as told:
        vlad.analyze(clip, preset="clip-b16")
    assert asked == []
    assert "\n" not in str(told.value)
    assert time.monotonic() - begin < 20
    assert "ERROR" not in "".join(capfd.readouterr())


def test_offline_ends_where_it_began() -> None:
    before = constants.HF_HUB_OFFLINE
    with weights.offline():
        assert constants.HF_HUB_OFFLINE is True
    assert before == constants.HF_HUB_OFFLINE
