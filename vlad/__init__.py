"""vlad: finds the moments of a surveillance video that do not belong, shows when, and says why.

The face: names are looked up when first used, so that `import vlad` loads no torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlad.config import PRESETS, Settings, make_settings
    from vlad.errors import VladError
    from vlad.pipeline import Analyzer, analyze, save
    from vlad.types import Analysis, Explanation, Features, ScoreTrack, Segment, Snippet, Video

__version__ = "0.1.0"
for _silence in ("HF_HUB_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY"):
    os.environ.setdefault(
        _silence, "1"
    )  # read when its library begins: a hub, and Microsoft, would be told of every run

_HOMES = {
    "vlad.config": ("PRESETS", "Settings", "make_settings"),
    "vlad.errors": ("VladError",),
    "vlad.pipeline": ("Analyzer", "analyze", "save"),
    "vlad.types": ("Analysis", "Explanation", "Features", "ScoreTrack", "Segment", "Snippet", "Video"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "PRESETS",
    "Analysis",
    "Analyzer",
    "Explanation",
    "Features",
    "ScoreTrack",
    "Segment",
    "Settings",
    "Snippet",
    "Video",
    "VladError",
    "analyze",
    "make_settings",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'vlad' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
