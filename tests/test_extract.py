"""`vlad features`: goes on where it was killed, and a broken clip stops nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from vlad.finetune.data import find_features
from vlad.finetune.extract import crop, find_videos

import vlad
from vlad.cli import main as command
from vlad.errors import InputError
from vlad.manifest import MANIFEST


def main(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        command(["features", *arguments])
    return int(ended.value.code or 0)


def test_crops_are_the_centre_the_corners_and_their_mirrors() -> None:
    frames = np.arange(16 * 16, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    corners = [int(crop(frames, k)[0, 0, 0, 0]) for k in range(10)]
    assert corners == [17, 0, 2, 32, 34, 17 + 13, 13, 15, 45, 47]
    assert crop(frames, 9).shape == (1, 14, 14, 3)


@pytest.mark.slow
def test_a_folder_becomes_features_and_a_second_run_makes_nothing_again(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    (clips / "deep").mkdir(parents=True)
    (clips / "deep" / "Abuse001_x264.mp4").write_bytes(clip.read_bytes())
    (clips / "broken.mp4").write_bytes(b"no video")
    assert main([str(clips), "-o", str(out)]) == 1
    said = capsys.readouterr()
    assert "broken.mp4" in said.err
    assert "1 of 2 videos" in said.out
    (row,) = [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]
    values = np.load(out / "Abuse001_x264.npy")
    analysed = vlad.Analyzer(vlad.make_settings(cache=None)).features(clip)[0].values
    assert len(values) == row["snippets"]
    np.testing.assert_allclose(values, analysed, atol=1e-4)  # people and things are looked for in both
    (file,) = find_features(out)
    assert (file.name, file.classes) == ("Abuse001_x264", ("Abuse",))
    before = (out / "Abuse001_x264.npy").stat().st_mtime_ns
    with open(out / MANIFEST, "a") as manifest:
        manifest.write('{"name": "cut o')  # a run that was killed while it wrote
    (clips / "broken.mp4").write_bytes(clip.read_bytes())
    assert main([str(clips), "-o", str(out)]) == 0
    assert (out / "Abuse001_x264.npy").stat().st_mtime_ns == before
    assert len(find_features(out)) == 2
    assert main([str(clips), "-o", str(out), "--set", "frames_per_snippet=2"]) == 0
    assert (out / "Abuse001_x264.npy").stat().st_mtime_ns > before


@pytest.mark.slow
def test_five_crops_differ(clip: Path, tmp_path: Path) -> None:
    assert main([str(clip), "-o", str(tmp_path), "--crops", "5"]) == 0
    (file,) = find_features(tmp_path)
    assert len(file.crops) == 5
    assert not np.array_equal(file.load(0), file.load(1))


def test_missing_files_and_double_names_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("/none/a.mp4\n/none/b.mp4\n")
    with pytest.raises(InputError, match=r"2 files are missing: /none/a.mp4, /none/b.mp4"):
        find_videos([tmp_path / "list.txt"])
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "clip.mp4").write_bytes(b"")
    with pytest.raises(InputError, match="two clips of one name"):
        find_videos([tmp_path])
    assert main([str(tmp_path)]) == 2
    assert main([str(tmp_path), "-o", str(tmp_path / "out"), "--crops", "3"]) == 2
