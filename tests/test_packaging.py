"""The package list, the tree and the version agree, and the face is light."""

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
