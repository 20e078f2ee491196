"""The training loops that VadCLIP's and UR-DMU's authors published, run as they are on features on disk: for `vlad eval speed training`, in a process of their own.

    python -m vlad.eval.published vadclip|ur-dmu FOLDER FEATURES STEPS

In: FOLDER, a checkout of nwpu-zxr/VadCLIP or henrryzh1/UR-DMU; FEATURES, a list of .npy files, anomalous ones first. Out: seconds of STEPS steps, data loading
included, on a line. Nothing of theirs is copied here. They are written for a GPU, an older NumPy and packages that draw: those names are set to what a processor
has, CLIP's weights are random (speed does not depend on them), and what is no training (tests, checkpoints) is left out of the time.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import packaging.version
import torch

BATCH = 64  # of each kind, theirs
SNIPPETS, WIDTH = 200, 1024  # of UR-DMU's bags


def _modules(folder: Path, **stubs: Any) -> None:
    """Their modules can be imported, those they draw with are nothing."""
    sys.path.insert(0, str(folder))
    sys.modules.update(stubs)


def vadclip(folder: Path, features: Sequence[Path], steps: int) -> float:
    """Seconds of their `ucf_train.train` on CSV rows as theirs."""
    shim = ModuleType("pkg_resources")
    shim.packaging = packaging  # type: ignore[attr-defined]
    _modules(folder / "src", pkg_resources=shim)
    clip, model = import_module("clip.clip"), import_module("clip.model")
    tower = (512, 224, 12, 768, 16, 77, 49408, 512, 8, 12)  # ViT-B/16
    clip.load = lambda name, device: (model.CLIP(*tower).float(), None)  # type: ignore[attr-defined]
    to: Any = torch.Tensor.to
    here: Any = lambda self, *a, **k: to(self, *["cpu" if isinstance(v, str) and v == "cuda" else v for v in a], **k)  # noqa: E731
    torch.Tensor.to = here  # type: ignore[method-assign]
    train, own = import_module("ucf_train"), import_module("model")
    train.test = lambda *_: (0.0, 0.0)  # type: ignore[attr-defined]
    args = import_module("ucf_option").parser.parse_args([])
    words = {"Normal": "normal", "Abuse": "abuse"} | {f"Class{i}": f"class {i}" for i in range(12)}
    with tempfile.TemporaryDirectory() as place:
        table = Path(place) / "rows.csv"
        lines = [f"{path},{'Abuse' if i < len(features) // 2 else 'Normal'}" for i, path in enumerate(features)]
        table.write_text("\n".join(["path,label", *lines]) + "\n")
        np.save(truth := Path(place) / "gt.npy", np.zeros(1))
        args.gt_path = args.gt_segment_path = args.gt_label_path = str(truth)
        args.max_epoch = 1
        loaders = [
            torch.utils.data.DataLoader(
                train.UCFDataset(args.visual_length, str(table), False, words, normal), batch_size=BATCH, shuffle=True, drop_last=True,
            ) for normal in (True, False)
        ]  # fmt: skip
        head = own.CLIPVAD(
            args.classes_num, args.embed_dim, args.visual_length, args.visual_width, args.visual_head, args.visual_layers,
            args.attn_window, args.prompt_prefix, args.prompt_postfix, "cpu",
        )  # fmt: skip
        torch.save = lambda *_, **__: None
        torch.load = lambda *_, **__: {"model_state_dict": head.state_dict()}
        assert min(map(len, loaders)) == steps
        begin = time.perf_counter()
        train.train(head, *loaders, None, args, words, "cpu")
        return time.perf_counter() - begin


def ur_dmu(folder: Path, features: Sequence[Path], steps: int) -> float:
    """Seconds of the loop of their ucf_main.py, by their `train.train`."""
    _modules(folder, visdom=MagicMock(), ipdb=MagicMock())
    np.int = int  # type: ignore[attr-defined]  # NumPy 1.24 took it away
    for kind in (torch.Tensor, torch.nn.Module):
        kind.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    data, model, train = import_module("dataset_loader"), import_module("model"), import_module("train")
    half = len(features) // 2
    anomalous, normal = features[:half], features[half:]
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        Path("list").mkdir()
        rows = [str(anomalous[i % half]) for i in range(8100)] + [
            str(path) for path in normal
        ]  # theirs has 8,100 first
        Path("list/UCF_Train.list").write_text("\n".join(rows) + "\n")
        loaders = [
            torch.utils.data.DataLoader(
                data.UCF_crime("", "rgb", "Train", SNIPPETS, WIDTH, is_normal=kind), batch_size=BATCH, shuffle=True, drop_last=True,
            ) for kind in (True, False)
        ]  # fmt: skip
        head = model.WSAD(WIDTH, flag="Train", a_nums=60, n_nums=60)
        optimiser = torch.optim.Adam(head.parameters(), lr=1e-4, betas=(0.9, 0.999), weight_decay=5e-5)
        criterion, drawn = train.AD_Loss(), MagicMock()
        begin = time.perf_counter()
        rounds = [iter(loader) for loader in loaders]
        for step in range(1, steps + 1):
            train.train(head, *rounds, optimiser, criterion, drawn, step)
        return time.perf_counter() - begin


def main(kind: str, folder: str, features: str, steps: str) -> None:
    """Print the seconds, last."""
    paths = [Path(line).resolve() for line in Path(features).read_text().splitlines()]
    loop = {"vadclip": vadclip, "ur-dmu": ur_dmu}[kind]
    torch.manual_seed(0)
    print(loop(Path(folder).resolve(), paths, int(steps)))


if __name__ == "__main__":
    main(*sys.argv[1:])
