"""Descriptors that are learnt without labels: cubes, what is hidden, what is learnt of it, and the folder as an encoder."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from vlad.finetune import masked, run
from vlad.finetune.recipe import MaskedRecipe, checked, read_recipe

from vlad.config import make_settings
from vlad.encoder import TubeEncoder, load_encoder
from vlad.errors import SettingsError, WeightsError
from vlad.pipeline import Analyzer
from vlad.tubes import Shape, Tubes, cubes, load_tubes, positions, save_tubes

SMALL = Shape(frames=4, size=32, tube=2, patch=8, width=24, depth=1, heads=2)
CHANGES = ("cubes.frames=4", "cubes.size=32", "cubes.width=24", "cubes.depth=1", "cubes.heads=2", "decoder_width=24", "decoder_depth=1",
           "decoder_heads=2", "hidden=0.5", "batch=8", "device=cpu")  # fmt: skip


def recipe(*changes: str) -> MaskedRecipe:
    return checked(MaskedRecipe, *read_recipe("masked", ["data=x", *CHANGES, *changes]))


def moving(clips: int = 3) -> list[torch.Tensor]:
    """Clips of a bright square that goes to the right."""
    found = []
    for k in range(clips):
        frames = torch.zeros(12, 37, 37, 3, dtype=torch.uint8)
        for t in range(12):
            frames[t, 5 + 3 * k : 17 + 3 * k, t : t + 12] = 250
        found.append(frames)
    return found


def write_video(path: Path, pictures: list[npt.NDArray[np.uint8]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        for picture in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        out.mux(stream.encode(None))
    return path


def test_a_cube_holds_its_own_pixels() -> None:
    frames = torch.zeros(1, 4, 32, 32, 3)
    frames[0, 2:, 8:16, 24:] = 1  # the second step, second row, fourth column
    parts = cubes(frames, SMALL)
    assert parts.shape == (1, 2 * 4 * 4, 2 * 8 * 8 * 3)
    assert parts[0].sum(1).nonzero().ravel().tolist() == [16 + 4 + 3]
    assert len(torch.unique(positions(SMALL, 24), dim=0)) == 32  # no two cubes are at one place


@pytest.mark.parametrize("wrong", [{"frames": 5}, {"size": 30}, {"heads": 5}, {"depth": 0}, {"tube": 16}])
def test_a_shape_that_does_not_divide_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"multiple|depth|one step"):
        Shape(**wrong)


def test_the_same_places_are_hidden_in_all_frames_and_never_seen() -> None:
    torch.manual_seed(0)
    model = masked.Masked(SMALL, hidden=0.75, width=24, depth=1, heads=2).eval()
    seen: list[torch.Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    order = torch.rand(2, 16).argsort(1)
    frames = torch.rand(2, 4, 32, 32, 3)
    loss = model(frames, order)
    assert seen[0].shape == (2, 2 * 4)
    assert (seen[0] % 16).reshape(2, 2, 4).unique(dim=1).shape[1] == 1
    shown = model.encoder(cubes(frames, SMALL), seen[0])
    parts = cubes(frames, SMALL)
    hidden = torch.ones(2, 32, dtype=torch.bool).scatter(1, seen[0], False)
    parts[hidden] = 9.0
    assert torch.equal(model.encoder(parts, seen[0]), shown)  # what is hidden says nothing
    assert 0.5 < float(loss.detach()) < 3


def test_spans_stay_within_their_clip() -> None:
    clips = [torch.full((k, 37, 37, 3), 60 * k, dtype=torch.uint8) for k in (4, 3, 2, 4)]  # two of them too short
    footage = masked.Footage.of(clips, torch.device("cpu"))
    drawn = footage.draw(64, SMALL, 2, torch.Generator().manual_seed(0))
    assert drawn.shape == (64, 4, 32, 32, 3)
    assert drawn.flatten(1).std(1).max() < 1e-4  # each of one clip alone
    assert torch.allclose(drawn, torch.tensor(240 / 127.5 - 1), atol=1e-4)


@pytest.mark.slow
def test_it_learns_and_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def ticking() -> float:
        now[0] += 0.01  # two are a step
        return now[0]

    monkeypatch.setattr(masked.time, "monotonic", ticking)
    torch.set_num_threads(1)
    told: list[dict[str, Any]] = []
    model = masked.train(moving(), recipe("minutes=0.08", "lr=3e-3"), SMALL, tmp_path / "whole", told.append)
    assert [row["step"] for row in told] == [100, 200]
    assert told[-1]["loss"] < 0.8  # one that foretells each cube's mean has 1
    assert not (tmp_path / "whole" / masked.CHECKPOINT).exists()
    again = load_tubes(tmp_path / "whole")
    assert all(torch.allclose(a, b, atol=1e-2) for a, b in zip(model.parameters(), again.parameters(), strict=True))

    monkeypatch.setattr(masked, "EVERY", 1.0)
    rest: list[dict[str, Any]] = []

    def stop(row: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        masked.train(moving(), recipe("minutes=0.08", "lr=3e-3"), SMALL, tmp_path / "out", stop)
    with pytest.raises(SettingsError, match="another recipe"):
        masked.train(moving(), recipe("minutes=0.2", "lr=3e-3"), SMALL, tmp_path / "out", rest.append)
    masked.train(moving(), recipe("minutes=0.08", "lr=3e-3"), SMALL, tmp_path / "out", rest.append)
    assert [row["step"] for row in rest] == [100, 200]
    assert rest[-1]["loss"] == pytest.approx(told[-1]["loss"], abs=0.05)
    assert rest[-1]["minutes"] == pytest.approx(told[-1]["minutes"], abs=0.01)


def test_a_folder_is_an_encoder(tmp_path: Path) -> None:
    save_tubes(Tubes(SMALL), tmp_path / "own")
    pictures = [np.full((48, 64, 3), 30 * k % 255, np.uint8) for k in range(24)]
    clip = write_video(tmp_path / "clip.mp4", pictures)
    settings = make_settings("tubes", encoder=str(tmp_path / "own"), objects=False, cache=None, device="cpu")
    encoder = load_encoder(settings)
    assert isinstance(encoder, TubeEncoder)
    features = Analyzer(settings).features(clip)[0]
    assert features.values.shape == (1, 2 * 24)
    assert features.values[0, 24:].min() > 0  # it changes
    assert features.encoder == encoder.name
    with pytest.raises(WeightsError, match="no words"):
        encoder.embed_text(["a fight"])
    (tmp_path / "own" / "tubes.json").write_text(json.dumps({"frames": 5}))
    with pytest.raises(WeightsError, match="no multiple"):
        load_encoder(settings)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [np.full((48, 64, 3), 9 * k, np.uint8) for k in range(20)]
    write_video(tmp_path / "clips" / "a.mp4", pictures)
    given = ["masked", f"data={tmp_path / 'clips'}", f"out={tmp_path / 'out'}", *CHANGES, "snippet=4", "minutes=0.01"]
    assert run.main(given) == 0
    assert "1 clips" in capsys.readouterr().out
    assert load_tubes(tmp_path / "out").shape == SMALL
    with pytest.raises(SettingsError, match=r"hidden.*colour|colour.*hidden"):
        run.main(["masked", "hidden=2", "colour=red"])
    with pytest.raises(SettingsError, match="no multiple"):
        run.main([*given, "cubes.size=33"])
    assert yaml.safe_load((Path(masked.__file__).parent / "masked.yaml").read_text())["cubes"] == vars(Shape())
