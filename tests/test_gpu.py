"""Towers on a GPU, and compiled: the same features as on the processor. Those marked gpu are not run where there is none."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from vlad.eval.gpu import gpu_lines

from vlad.encoder import ClipEncoder

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
}


def encoder(device: str, dtype: torch.dtype, *, compiled: bool = False) -> ClipEncoder:
    torch.manual_seed(0)
    model = open_clip.CLIP(CONFIG["embed_dim"], CONFIG["vision_cfg"], CONFIG["text_cfg"])
    open_clip.set_model_preprocess_cfg(model, open_clip.transform.PreprocessCfg(size=32).__dict__)
    return ClipEncoder(
        model, lambda texts: torch.zeros(len(texts), 8, dtype=torch.long), name="tiny", weights="random", use_motion=False,
        squash=False, device=torch.device(device), dtype=dtype, compiled=compiled,
    )  # fmt: skip


def seen(made: ClipEncoder) -> np.ndarray:
    frames = np.random.default_rng(0).integers(0, 256, (5, 40, 64, 3), dtype=np.uint8)
    return made.tower(made.pixels(frames))[0].float().cpu().numpy()


@pytest.mark.slow
def test_a_compiled_tower_sees_the_same() -> None:
    plain = seen(encoder("cpu", torch.float32))
    assert np.abs(seen(encoder("cpu", torch.float32, compiled=True)) - plain).max() < 1e-4


def test_without_a_gpu_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert list(gpu_lines(Path("none.mp4"), 1.0, encoder)) == []


@pytest.mark.gpu
def test_a_gpu_sees_what_the_processor_sees() -> None:
    plain = seen(encoder("cpu", torch.float32))
    assert np.abs(seen(encoder("cuda", torch.float32)) - plain).max() < 1e-3
    assert np.abs(seen(encoder("cuda", torch.bfloat16)) - plain).max() < 3e-2
