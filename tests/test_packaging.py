"""The package list, the tree and the version agree, and the face is light."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import vlad

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_packages_are_the_tree() -> None:
    folders = {
        file.parent.relative_to(ROOT)
        for f in ("vlad", "prompts", "finetune", "eval", "app")
        for file in (ROOT / f).rglob("__init__.py")
    }
    names = {".".join(f.parts if f.parts[0] == "vlad" else ("vlad", *f.parts)) for f in folders}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == names


def test_version_is_one() -> None:
    assert PROJECT["project"]["version"] == vlad.__version__


def test_named_files_are_there() -> None:
    for name in [PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]]:
        assert (ROOT / name).is_file()


def test_face_loads_no_torch() -> None:
    code = "import sys, vlad, vlad.cli; vlad.Settings; vlad.Segment; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_face_has_every_name() -> None:
    light = set(vlad.__all__) - {"Analyzer", "analyze", "save"}
    assert all(getattr(vlad, name) is not None for name in light)


def test_mapped_folders_import() -> None:
    code = "import vlad.prompts, vlad.finetune, vlad.eval"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_library_tells_its_maker_that_it_runs(tmp_path: Path) -> None:
    """onnxruntime 1.29 and later keep an identifier of the machine, and send it with what runs; the guard of this suite sees Python's sockets only."""
    code = (
        "from vlad.config import make_settings; from vlad.objects import load_detector; load_detector(make_settings())"
    )
    plain = {
        k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "PYTHONPATH")
    }  # a CI's own variables silence it too
    subprocess.run([sys.executable, "-c", code], check=True, env={**plain, "HOME": str(tmp_path)}, cwd=tmp_path)
    assert not [p for p in tmp_path.rglob("*") if "microsoft" in str(p).lower()]
