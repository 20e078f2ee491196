"""What is installed, which device, which weights are here and what to run next, as lines for a person."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from vlad.config import default_cache
from vlad.confine import state
from vlad.errors import WeightsError
from vlad.pipeline import versions
from vlad.readers import FFMPEG


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"cuda ({torch.cuda.get_device_name(0)})"
    return "mps" if torch.backends.mps.is_available() else f"cpu ({os.cpu_count()} cores)"


def _nano() -> str:
    """Empty if the embedded weights are whole, else what is wrong."""
    from vlad.weights import verify_nano

    try:
        verify_nano()
    except WeightsError as error:
        return str(error)
    return ""


def _ffmpeg() -> str:
    try:
        import av
    except ImportError:
        return "absent"
    old = av.library_versions["libavcodec"][0] < FFMPEG[0]
    return str(av.ffmpeg_version_info) + (f", older than {FFMPEG[1]}; pip install --upgrade av" if old else "")


def _writable(folder: Path) -> bool:
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)


def report() -> tuple[list[str], bool]:
    """The lines, and whether `vlad analyze` can work as it stands."""
    found = versions()
    lines = [f"python {platform.python_version()} on {platform.system()} {platform.machine()}"]
    lines += [f"{name} {number}" for name, number in found.items()]
    absent = [name for name, number in found.items() if number == "absent"]
    lines.append(f"device {_device()}" if "torch" not in absent else "device unknown, torch is absent")
    fault = _nano()
    lines.append(f"nano: {fault or 'all files here, checksums right'}")
    kept = state()
    lines.append(
        f"decoder: {f'limited, but not confined ({kept})' if kept else 'confined by seccomp: no other file, no network, no new process'}"
    )
    lines.append(f"ffmpeg {_ffmpeg()}")
    cache = default_cache()
    usable = _writable(cache)
    lines.append(f"cache {cache}: {'usable' if usable else 'not writable; set VLAD_CACHE to another folder'}")
    lines.append(f"disk {shutil.disk_usage(Path.cwd()).free / 1e9:.1f} GB free here")
    well = not absent and not fault and usable
    lines.append("next: vlad analyze CLIP" if well else "next: mend the line above, or install again with make test")
    return lines, well
