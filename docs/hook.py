"""The packages as they are installed, for the reference: finetune/, eval/, app/ and prompts/ stand beside vlad/ in the tree, and inside it once installed."""

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent.parent


def on_startup(**_: Any) -> None:
    """Links under build/docs/vlad, which mkdocs.yml names."""
    place = HERE / "build" / "docs" / "vlad"
    place.mkdir(parents=True, exist_ok=True)
    for source in (*(HERE / "vlad").iterdir(), *(HERE / name for name in ("finetune", "eval", "app"))):
        link = place / source.name
        link.unlink(missing_ok=True)
        link.symlink_to(source)
