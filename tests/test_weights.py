"""Where weights are, and that what was altered is never used in silence."""

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

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
    assert sum(p.stat().st_size for p in files) <= 40e6
    assert {p.suffix for p in files} <= {".safetensors", ".json", ".jinja", ".txt", ".md", ".py"}
    listed = json.loads((NANO / "checksums.json").read_text())
    assert {str(p.relative_to(NANO)) for p in files if p.suffix in {".safetensors", ".json", ".jinja"}} == {
        *listed,
        "checksums.json",
    }


def test_every_shipped_number_is_finite() -> None:
    for path in NANO.rglob("*.safetensors"):
        with safe_open(path, "np") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                assert np.isfinite(file.get_tensor(name).astype(np.float32)).all(), (path.name, name)


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
