"""Features in the layouts that the field publishes, and what is wrong with others."""

from pathlib import Path

import numpy as np
import pytest
from vlad.finetune.bags import read_bags
from vlad.finetune.data import classes_of, find_features, known

from vlad.errors import InputError


def put(path: Path, *shape: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.random.default_rng(0).random(shape, dtype=np.float32))
    return path


@pytest.mark.parametrize(
    ("name", "label", "classes"),
    [
        ("Normal_Videos_003_x264", "", ()), ("Normal_Videos001_x264", "", ()), ("Abuse028_x264", "", ("Abuse",)),
        ("RoadAccidents001_x264", "", ("RoadAccidents",)), ("Abuse028_x264", "Abuse", ("Abuse",)), ("x", "Normal", ()),
        ("Bad.Boys.1995__#01-11-55_01-12-40_label_G-B2-B6", "", ("explosion", "shooting", "car accident")),
        ("v=abc__#1_label_B4-0-0", "B4-0-0", ("riot",)), ("v=abc__#1_label_A", "", ()), ("v=abc__#1_label_A", "A", ()), ("clip7", "", None),
    ],
)  # fmt: skip
def test_labels_by_name_and_by_code(name: str, label: str, classes: tuple[str, ...] | None) -> None:
    assert classes_of(name, label) == classes


def test_every_layout(tmp_path: Path) -> None:
    put(tmp_path / "plain/Abuse028_x264.npy", 5, 8)
    crops = [put(tmp_path / f"crops/Arson001_x264__{k}.npy", 4, 8) for k in range(10)]
    put(tmp_path / "i3d/Normal_Videos_003_x264_i3d.npy", 3, 10, 8)
    put(tmp_path / "crops/Arson001_x264__vggish.npy", 4, 128)
    files = {f.name: f for f in find_features(tmp_path)}
    assert sorted(files) == ["Abuse028_x264", "Arson001_x264", "Normal_Videos_003_x264"]
    assert files["Arson001_x264"].crops == tuple(crops)
    assert files["Arson001_x264"].audio == tmp_path / "crops/Arson001_x264__vggish.npy"
    assert [files[n].load(7).shape for n in sorted(files)] == [(5, 8), (4, 8), (3, 8)]
    stacked = np.load(tmp_path / "i3d/Normal_Videos_003_x264_i3d.npy")
    np.testing.assert_array_equal(files["Normal_Videos_003_x264"].load(7), stacked[:, 7])
    assert [files[n].classes for n in sorted(files)] == [("Abuse",), ("Arson",), ()]


def test_a_published_list_finds_its_files_elsewhere(tmp_path: Path) -> None:
    for k in range(2):
        put(tmp_path / f"features/Abuse/Abuse028_x264__{k}.npy", 5, 8)
    listed = tmp_path / "list.csv"
    listed.write_text("path,label\n" + "".join(f"/home/someone/Abuse/Abuse028_x264__{k}.npy,Abuse\n" for k in range(2)))
    (file,) = find_features(listed, root=tmp_path / "features")
    assert (file.name, file.classes, len(file.crops)) == ("Abuse028_x264", ("Abuse",), 2)
    with pytest.raises(
        InputError, match=r"2 of 2 files are missing: .*__0\.npy, .*__1\.npy; name their folder as root"
    ):
        find_features(listed)
    (tmp_path / "plain.list").write_text(f"{tmp_path / 'features/Abuse/Abuse028_x264__0.npy'}\n\n")
    assert len(find_features(tmp_path / "plain.list")) == 1


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([[1.0, np.nan]]), "NaN or infinity"),
        (np.zeros((0, 4)), r"got \[0, 4\]"),
        (np.zeros(4), r"got \[4\]"),
        (np.array([["a"]]), "array of numbers"),
        (np.array([{"a": 1}], dtype=object), "pickled objects"),
    ],
)
def test_arrays_that_cannot_be_used(array: np.ndarray, words: str, tmp_path: Path) -> None:
    np.save(tmp_path / "Abuse028_x264.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=words):
        find_features(tmp_path)[0].load()


def test_all_faults_of_a_set_are_told_at_once(tmp_path: Path) -> None:
    put(tmp_path / "Abuse028_x264.npy", 5, 8)
    put(tmp_path / "Abuse030_x264.npy", 5, 9)
    put(tmp_path / "Abuse031_x264.npy", 5, 7)
    put(tmp_path / "clip.npy", 1, 8)
    files = find_features(tmp_path)
    named = [f for f in files if f.name != "clip"]
    with pytest.raises(
        InputError, match=r"2 files have not 8 numbers a snippet: Abuse030_x264 \(9\), Abuse031_x264 \(7\)"
    ):
        read_bags(named, {}, audio=False)
    with pytest.raises(InputError, match="no label for 1 videos: clip; use a CSV"):
        known(files)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no features"):
        find_features(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        find_features(tmp_path / "none.list")


@pytest.mark.data
def test_the_published_test_lists_name_all_test_videos() -> None:
    import csv
    import os

    folder = Path(os.environ["VLAD_DATA"]) / "annotations"
    for name, normal, count in (("ucf_CLIP_rgbtest.csv", 150, 290), ("xd_CLIP_rgbtest.csv", 300, 800)):
        rows = list(csv.DictReader((folder / name).read_text().splitlines()))
        assert len(rows) == count
        found = [classes_of(Path(r["path"]).stem, r["label"]) for r in rows]
        assert sum(c == () for c in found) == normal
        assert None not in found
