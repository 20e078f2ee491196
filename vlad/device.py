"""Where models run and in which precision. Knows no model."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def choose_device(wanted: str) -> torch.device:
    """The device of a setting; `auto` takes CUDA, then Apple's GPU, then the processor."""
    if wanted != "auto":
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def cores() -> int:
    """Cores of the processor that this process may use: those of its affinity, and no more than OMP_NUM_THREADS says, as a scheduler sets it for its workers."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(here, int(told))) if told.isdecimal() else here


def choose_dtype(device: torch.device, precision: str) -> torch.dtype:
    """bfloat16 where the hardware multiplies it, else float32, unless the setting says."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX512":
        flags = Path("/proc/cpuinfo")
        if flags.exists() and "avx512_bf16" in flags.read_text():
            return torch.bfloat16
    return torch.float32
