"""Where models run and in which precision. Knows no model."""

from __future__ import annotations

from pathlib import Path

import torch


def choose_device(wanted: str) -> torch.device:
    """The device of a setting; `auto` takes CUDA, then Apple's GPU, then the processor."""
    if wanted != "auto":
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


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
