"""`--ray`: the same bytes on many machines, and one that is killed takes nothing with it."""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from vlad.eval.scale import Nodes, nodes

from vlad import cluster
from vlad.cli import main as command
from vlad.errors import ClusterError, SettingsError, VideoError
from vlad.manifest import MANIFEST, Manifest
from vlad.sim import simulate, write_video

RAY = pytest.mark.skipif(find_spec("ray") is None, reason="NOT RUN: Ray is not installed")


def main(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        command([str(a) for a in arguments])
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    "address",
    ["", "head", "head:0", "head:123456", "ray://head:10001", "http://head:6379", "head:6379; rm -r /", "-x:1", "a\n:1", "[::1", "x" * 9999],
)  # fmt: skip
def test_what_is_no_address_is_told_in_a_line(address: str) -> None:
    with pytest.raises(SettingsError, match="expected auto, or HOST:PORT") as told:
        cluster.check(address)
    assert len(str(told.value)) < 200


def test_a_device_of_this_machine_is_refused() -> None:
    with pytest.raises(SettingsError, match="device=cuda:1 is one of this machine"):
        cluster.check("head:6379", "cuda:1")


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    from vlad.device import cores

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    for said, expected in (("", 8), ("3", 3), ("64", 8), ("0", 1), ("4,2", 8)):
        monkeypatch.setenv("OMP_NUM_THREADS", said)
        assert cores() == expected


def test_a_manifest_counts_what_is_whole(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path, "a")
    (tmp_path / "one.npy").touch()
    manifest.add({"name": "one", "files": ["one.npy"]})
    manifest.add({"name": "gone", "files": ["gone.npy"]})
    with open(tmp_path / MANIFEST, "a") as file:
        file.write('{"name": "cut o')
    again = Manifest(tmp_path, "a")
    assert list(again.done()) == ["one"]
    again.add({"name": "two", "files": []})
    again.add({"name": "one", "files": ["one.npy"], "more": 1})
    assert {name: row.get("more") for name, row in Manifest(tmp_path, "a").done().items()} == {"one": 1, "two": None}
    assert Manifest(tmp_path, "b").done() == {}


@RAY
@pytest.mark.slow
def test_where_nobody_answers_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ray itself waits there for more than a minute, and then ends the process."""
    monkeypatch.setattr(cluster, "REACHED", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ClusterError, match="no Ray cluster answers"):
        cluster.check(f"127.0.0.1:{silent.getsockname()[1]}")


@pytest.fixture(scope="module")
def two() -> Iterator[Nodes]:
    """A head without cores, and two nodes with one each."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # nodes know vlad, and not its tests
    with nodes(2) as running:
        yield running


def clips(folder: Path, count: int, seconds: float = 4.0) -> list[Path]:
    folder.mkdir()
    for i in range(count):
        write_video(simulate(150_100 + i, duration=seconds, size=(320, 240)), folder / f"clip{i}.mp4")
    return sorted(folder.iterdir())


def same(one: Path, other: Path, ending: str) -> None:
    files = sorted(p.name for p in one.glob(f"*{ending}"))
    assert files == sorted(p.name for p in other.glob(f"*{ending}"))
    assert files
    for name in files:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@RAY
@pytest.mark.slow
def test_features_are_the_same_bytes_and_a_second_run_makes_nothing_again(
    two: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = clips(tmp_path / "clips", 4)
    (tmp_path / "clips" / "broken.mp4").write_bytes(b"no video")
    assert main("features", tmp_path / "clips", "-o", tmp_path / "plain") == 1
    plain = capsys.readouterr()
    assert main("features", tmp_path / "clips", "-o", tmp_path / "ray", "--ray", two.address) == 1
    told = capsys.readouterr()
    assert "broken.mp4" in told.err
    assert (told.err, told.out.split(" in ")[0]) == (plain.err, "4 of 5 videos")
    same(tmp_path / "plain", tmp_path / "ray", ".npy")
    rows = [sorted((tmp_path / f / MANIFEST).read_text().splitlines()) for f in ("plain", "ray")]
    assert rows[0] == rows[1]
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "ray").glob("*.npy")}
    paths[0].with_name("broken.mp4").unlink()
    assert main("features", tmp_path / "clips", "-o", tmp_path / "ray", "--ray", two.address) == 0
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "ray").glob("*.npy")} == before


@RAY
@pytest.mark.slow
def test_analyses_are_the_same_bytes_and_go_on_by_what_is_in_a_clip(
    two: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [*clips(Path("clips"), 3, 6.0), Path("clips/broken.mp4")]
    paths[-1].write_bytes(b"no video")
    common = ["--json", "--set", "cache=null"]
    assert main("analyze", *paths, "-o", "plain", *common) == 1
    plain = capsys.readouterr()
    assert main("analyze", *paths, "-o", "ray", *common, "--ray", two.address) == 1
    told = capsys.readouterr()
    assert told.out == plain.out
    assert told.err == plain.err
    assert any(a["explanations"] for a in json.loads(told.out))  # words too
    for ending in (".json", ".csv", ".html"):
        same(Path("plain"), Path("ray"), ending)
    before = {p: p.stat().st_mtime_ns for p in Path("ray").glob("clip*.json")}
    paths[1].write_bytes(paths[0].read_bytes())
    assert main("analyze", *paths[:3], "-o", "ray", *common, "--ray", two.address) == 0
    assert [a["video"]["path"] for a in json.loads(capsys.readouterr().out)] == [str(p) for p in paths[:3]]
    after = {p: p.stat().st_mtime_ns for p in Path("ray").glob("clip*.json")}
    assert [after[p] == before[p] for p in sorted(before)] == [True, True, True]  # the other clip has a name of its own
    assert len(after) == 4
    assert main("analyze", paths[0], "elsewhere/clip0.mp4", "-o", "ray", "--ray", two.address) == 1
    assert "two clips would be written as clip0.json" in capsys.readouterr().err


class Doubled:
    """Work whose workers die, fail or hang, as the job says."""

    def __init__(self, note: Path) -> None:
        self.note = note

    def __call__(self, job: str) -> str:
        with open(self.note, "a") as file:
            file.write(f"{job} {os.getpid()}\n")
        if job == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if job == "bug":
            raise ValueError("of its own")
        if job == "bad":
            raise VideoError("a clip")
        time.sleep(0.3)
        return job * 2


@RAY
@pytest.mark.slow
def test_what_fails_costs_itself(two: Nodes, tmp_path: Path) -> None:
    jobs = ["a", "bug", "die", "b", "bad", "c"]
    found = dict(cluster.each(partial(Doubled, tmp_path / "note"), jobs, two.address))
    assert {j: found[j] for j in "abc"} == {"a": "aa", "b": "bb", "c": "cc"}
    assert isinstance(found["bad"], VideoError)
    assert "ValueError: of its own" in str(found["bug"])
    assert "3 workers ended while they were at it" in str(found["die"])
    assert (tmp_path / "note").read_text().count("die") == 3


def absent(missing: str) -> Any:
    raise VideoError(missing)


@RAY
@pytest.mark.slow
def test_models_that_no_machine_has_end_the_run(two: Nodes) -> None:
    with pytest.raises(ClusterError, match="no such weights"):
        list(cluster.each(partial(absent, "no such weights"), ["a"], two.address))


@RAY
@pytest.mark.slow
def test_a_machine_that_is_killed_in_the_middle_takes_nothing_with_it(tmp_path: Path) -> None:
    paths = clips(tmp_path / "clips", 6)
    assert main("features", tmp_path / "clips", "-o", tmp_path / "plain") == 0
    killed = []
    with nodes(2) as running:

        def kill() -> None:
            manifest = tmp_path / "ray" / MANIFEST
            while not manifest.exists():  # both are at work
                time.sleep(0.05)
            time.sleep(0.3)
            killed.append(len(manifest.read_text().splitlines()))
            running.kill(1)

        thread = threading.Thread(target=kill)
        thread.start()
        assert main("features", tmp_path / "clips", "-o", tmp_path / "ray", "--ray", running.address) == 0
        thread.join()
    assert killed[0] < len(paths)
    same(tmp_path / "plain", tmp_path / "ray", ".npy")
    names = [json.loads(line)["name"] for line in (tmp_path / "ray" / MANIFEST).read_text().splitlines()]
    assert sorted(names) == [p.stem for p in paths]


@RAY
@pytest.mark.slow
def test_no_page_of_it_listens_and_it_tells_nobody(two: Nodes) -> None:
    """The guard of this suite fails a run in which a process of Ray's tries to reach another machine: its head reports that it reports nothing."""
    mine = [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
    assert any("gcs_server" in " ".join(p.cmdline()) for p in mine)
    listening = {c.laddr.port for p in mine for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert not listening & {8265, 52365}  # its page, and the agent that serves one
