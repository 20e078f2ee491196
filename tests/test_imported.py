"""Weights of HL-Net, UR-DMU, RTFM and PEL4VAD under their published names give what their equations give, written out on one video."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from typer.testing import CliRunner
from vlad.finetune.published import plain, run

from vlad.cli import app
from vlad.errors import InputError, SettingsError
from vlad.scorers import load_folder

T = torch.Tensor
State = dict[str, T]
WIDTH = 24
LONG = 13  # snippets


def random_state(shapes: dict[str, tuple[int, ...]]) -> State:
    torch.manual_seed(0)
    made = {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}
    return {k: v.abs() + 0.5 if k.endswith("running_var") else v for k, v in made.items()}


def conv(s: State, name: str, x: T, **how: int) -> T:
    """A convolution over time of [T, C]."""
    return functional.conv1d(x.T[None], s[f"{name}.weight"], s.get(f"{name}.bias"), **how)[0].T


def norm(s: State, name: str, x: T) -> T:
    """A batch norm that has been learnt, on [T, C]."""
    scale = s[f"{name}.weight"] / (s[f"{name}.running_var"] + 1e-5).sqrt()
    return (x - s[f"{name}.running_mean"]) * scale + s[f"{name}.bias"]


def linear(s: State, name: str, x: T) -> T:
    return functional.linear(x, s[f"{name}.weight"], s.get(f"{name}.bias"))


# HL-Net, Wu et al. 2020


def hl_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "conv1d1.weight": (512, WIDTH, 1), "conv1d1.bias": (512,), "conv1d2.weight": (128, 512, 1), "conv1d2.bias": (128,),
        "conv1d3.weight": (32, 128, 5), "conv1d3.bias": (32,), "conv1d4.weight": (32, 32, 5), "conv1d4.bias": (32,),
        "simAdj.weight0": (WIDTH, 32), "simAdj.weight1": (WIDTH, 32), "disAdj.sigma": (1,), "classifier.weight": (1, 96),
        "classifier.bias": (1,), "approximator.0.weight": (64, 128, 1), "approximator.0.bias": (64,), "approximator.2.weight": (32, 64, 1),
        "approximator.2.bias": (32,), "conv1d_approximator.weight": (1, 32, 5), "conv1d_approximator.bias": (1,),
    }  # fmt: skip
    for i in (1, 3, 5):
        shapes |= {f"gc{i}.weight": (128, 32), f"gc{i}.residual.weight": (32, 128, 5), f"gc{i}.residual.bias": (32,)}
        shapes |= {f"gc{i + 1}.weight": (32, 32)}
    return shapes


def hl_net(s: State, x: T) -> T:
    y = conv(s, "conv1d2", conv(s, "conv1d1", x).relu()).relu()
    causal = conv(s, "approximator.2", conv(s, "approximator.0", y).relu()).relu()
    online = conv(s, "conv1d_approximator", torch.cat([torch.zeros(4, 32), causal]))[:, 0]
    n, score = len(x), online.sigmoid()
    alike, close = torch.zeros(n, n), torch.zeros(n, n)
    near = torch.tensor([[float(torch.exp(torch.tensor(-abs(i - j) / torch.e))) for j in range(n)] for i in range(n)])
    for i in range(n):
        row = torch.stack([functional.cosine_similarity(x[i], x[j], dim=0) for j in range(n)])
        alike[i] = torch.where(row > 0.7, row, 0.0).softmax(0)
        close[i] = torch.sigmoid(((1 - (score[i] - score).abs()) - 0.5) / 0.1).softmax(0)
    branches = []
    for i, graph in ((1, alike), (3, near), (5, close)):
        first = (graph @ (y @ s[f"gc{i}.weight"]) + conv(s, f"gc{i}.residual", y, padding=2)).relu()
        branches.append((graph @ (first @ s[f"gc{i + 1}.weight"]) + first).relu())
    return linear(s, "classifier", torch.cat(branches, 1))[:, 0]


# UR-DMU, Zhou et al. 2023


def ur_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.conv_1.0.weight": (512, WIDTH, 3), "embedding.conv_1.0.bias": (512,), "cls_head.mlp.0.weight": (128, 1024),
        "cls_head.mlp.0.bias": (128,), "cls_head.mlp.2.weight": (1, 128), "cls_head.mlp.2.bias": (1,), "Amemory.memory_block": (60, 512),
        "Nmemory.memory_block": (60, 512), "encoder_mu.0.weight": (512, 512), "encoder_mu.0.bias": (512,), "encoder_var.0.weight": (512, 512),
        "encoder_var.0.bias": (512,),
    }  # fmt: skip
    for i in (0, 1):
        a, f = f"selfatt.layers.{i}.0", f"selfatt.layers.{i}.1"
        shapes |= {f"{p}.norm.{w}": (512,) for p in (a, f) for w in ("weight", "bias")}
        shapes |= {
            f"{a}.fn.to_qkv.weight": (2048, 512),
            f"{a}.fn.to_out.0.weight": (512, 1024),
            f"{a}.fn.to_out.0.bias": (512,),
        }
        shapes |= {f"{f}.fn.net.{k}.weight": (512, 512) for k in (0, 3)} | {
            f"{f}.fn.net.{k}.bias": (512,) for k in (0, 3)
        }
    return shapes


def ur_dmu(s: State, x: T) -> T:
    y, n = conv(s, "embedding.conv_1.0", x, padding=1).relu(), len(x)
    near = torch.tensor([[float(torch.exp(torch.tensor(-abs(i - j) / torch.e))) for j in range(n)] for i in range(n)])
    near = near / near.sum(0, keepdim=True)
    for i in (0, 1):
        a, f = f"selfatt.layers.{i}.0", f"selfatt.layers.{i}.1"
        inner = functional.layer_norm(y, (512,), s[f"{a}.norm.weight"], s[f"{a}.norm.bias"])
        q, k, v, t = (p.view(n, 4, 128) for p in (inner @ s[f"{a}.fn.to_qkv.weight"].T).chunk(4, dim=1))
        heads = [
            torch.cat([(q[:, h] @ k[:, h].T / 128**0.5).softmax(1) @ v[:, h], near @ t[:, h]], 1) for h in range(4)
        ]
        y = y + linear(s, f"{a}.fn.to_out.0", torch.cat(heads, 1))
        inner = functional.layer_norm(y, (512,), s[f"{f}.norm.weight"], s[f"{f}.norm.bias"])
        y = y + linear(s, f"{f}.fn.net.3", functional.gelu(linear(s, f"{f}.fn.net.0", inner)))
    said = []
    for name in ("Amemory", "Nmemory"):
        block = s[f"{name}.memory_block"]
        said.append(linear(s, "encoder_mu.0", (y @ block.T / 512**0.5).sigmoid() @ block))
    both = torch.cat([y, said[0] + said[1]], 1)
    return linear(s, "cls_head.mlp.2", linear(s, "cls_head.mlp.0", both).relu())[:, 0]


# RTFM, Tian et al. 2021


def rtfm_shapes() -> dict[str, tuple[int, ...]]:
    def batch_norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
        parts: dict[str, tuple[int, ...]] = {
            f"{name}.{p}": (width,) for p in ("weight", "bias", "running_mean", "running_var")
        }
        return parts | {f"{name}.num_batches_tracked": ()}

    shapes: dict[str, tuple[int, ...]] = {
        "Aggregate.conv_4.0.weight": (512, WIDTH, 1), "Aggregate.conv_5.0.weight": (WIDTH, 2048, 3), "Aggregate.non_local.W.0.weight": (512, 256, 1),
        "Aggregate.non_local.W.0.bias": (512,), "fc1.weight": (512, WIDTH), "fc1.bias": (512,), "fc2.weight": (128, 512), "fc2.bias": (128,),
        "fc3.weight": (1, 128), "fc3.bias": (1,),
    }  # fmt: skip
    for i in (1, 2, 3):
        shapes |= {f"Aggregate.conv_{i}.0.weight": (512, WIDTH, 3), f"Aggregate.conv_{i}.0.bias": (512,)}
        shapes |= batch_norm(f"Aggregate.conv_{i}.2", 512)
    for part in ("g", "theta", "phi"):
        shapes |= {f"Aggregate.non_local.{part}.weight": (256, 512, 1), f"Aggregate.non_local.{part}.bias": (256,)}
    return shapes | batch_norm("Aggregate.conv_5.2", WIDTH) | batch_norm("Aggregate.non_local.W.1", 512)


def rtfm(s: State, x: T) -> T:
    pyramid = [
        norm(s, f"Aggregate.conv_{i}.2", conv(s, f"Aggregate.conv_{i}.0", x, padding=d, dilation=d).relu())
        for i, d in ((1, 1), (2, 2), (3, 4))
    ]
    y = conv(s, "Aggregate.conv_4.0", x).relu()
    g, theta, phi = (conv(s, f"Aggregate.non_local.{p}", y) for p in ("g", "theta", "phi"))
    y = y + norm(s, "Aggregate.non_local.W.1", conv(s, "Aggregate.non_local.W.0", theta @ phi.T / len(x) @ g))
    fused = (
        norm(s, "Aggregate.conv_5.2", conv(s, "Aggregate.conv_5.0", torch.cat([*pyramid, y], 1), padding=1).relu()) + x
    )
    return linear(s, "fc3", linear(s, "fc2", linear(s, "fc1", fused).relu()).relu())[:, 0]


# PEL4VAD, Pu et al. 2024


def pel_shapes() -> dict[str, tuple[int, ...]]:
    e = "self_attention"
    shapes: dict[str, tuple[int, ...]] = {
        f"{e}.self_attn.alpha": (), f"{e}.self_attn.o.weight": (WIDTH, 128), f"{e}.self_attn.o.bias": (WIDTH,), f"{e}.linear1.weight": (WIDTH // 2, WIDTH, 1),
        f"{e}.linear1.bias": (WIDTH // 2,), f"{e}.linear2.weight": (300, WIDTH // 2, 1), f"{e}.linear2.bias": (300,), f"{e}.norm.weight": (WIDTH,),
        f"{e}.norm.bias": (WIDTH,), f"{e}.loc_adj.w": (1,), f"{e}.loc_adj.b": (1,), "classifier.weight": (1, 300, 9), "classifier.bias": (1,), "logit_scale": (),
    }  # fmt: skip
    for part in "qkv":
        shapes |= {f"{e}.self_attn.{part}.weight": (128, WIDTH), f"{e}.self_attn.{part}.bias": (128,)}
    return shapes


def pel4vad(s: State, x: T) -> T:
    e, n = "self_attention", len(x)
    q, k, v = (linear(s, f"{e}.self_attn.{p}", x) for p in "qkv")
    near = torch.zeros(n, n)
    for i in range(n):
        for j in range(n):
            near[i, j] = torch.exp(-(s[f"{e}.loc_adj.w"] * (i - j) ** 2 - s[f"{e}.loc_adj.b"]).abs())[0]
    whole = q @ k.T / 128**0.5 + near
    window = torch.tensor([[0.0 if abs(i - j) <= 4 else -1e9 for j in range(n)] for i in range(n)])
    alpha = s[f"{e}.self_attn.alpha"].sigmoid()
    y = alpha * (whole.softmax(1) @ v) + (1 - alpha) * ((whole + window).softmax(1) @ v)
    y = y.sign() * y.abs().sqrt()
    y = y / y.norm(dim=0, keepdim=True)
    y = functional.layer_norm(
        x + linear(s, f"{e}.self_attn.o", y), (WIDTH,), s[f"{e}.norm.weight"], s[f"{e}.norm.bias"]
    )
    y = functional.gelu(conv(s, f"{e}.linear2", functional.gelu(conv(s, f"{e}.linear1", y))))
    return conv(s, "classifier", torch.cat([torch.zeros(8, 300), y]))[:, 0]


HEADS_OF: dict[str, tuple[Callable[[], dict[str, tuple[int, ...]]], Callable[[State, T], T]]] = {
    "hl-net": (hl_shapes, hl_net), "ur-dmu": (ur_shapes, ur_dmu), "rtfm": (rtfm_shapes, rtfm),
    "pel4vad": (pel_shapes, pel4vad),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADS_OF)
def test_imported_weights_give_the_published_outputs(kind: str) -> None:
    shapes, equations = HEADS_OF[kind]
    state = random_state(shapes())
    head: Any = plain(kind, state, "any@1").eval()
    snippets = torch.randn(LONG, WIDTH)
    with torch.inference_mode():
        ours = head(snippets[None], None, None).logits[0]
        expected = equations(state, snippets)
    assert float(expected.std()) > 1e-3
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", HEADS_OF)
def test_a_file_becomes_a_scorer(kind: str, tmp_path: Path) -> None:
    state = random_state(HEADS_OF[kind][0]())
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "published.pkl")
    result = CliRunner().invoke(app, ["import", kind, str(tmp_path / "published.pkl"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    scorer = load_folder(str(tmp_path / "out"), None, lambda texts: None)  # type: ignore[arg-type, return-value]
    assert (scorer.head.config.kind, scorer.head.config.encoder) == (kind, f"{kind}-i3d")
    assert scorer.run(torch.randn(50, WIDTH).numpy())[0].shape == (50,)


def test_pel4vad_of_another_data_set_is_not_guessed_at() -> None:
    state = random_state({**pel_shapes(), "classifier.weight": (1, 300, 3)})
    with pytest.raises(InputError, match=r"over 3 snippets are not those of ucf-crime; say --labels"):
        plain("pel4vad", state, "x")
    assert plain("pel4vad", state, "x", "xd-violence").config.options == {"steps": 3, "norm": False}


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    state = random_state(ur_shapes())
    state["extra"] = state.pop("encoder_mu.0.bias")
    torch.save(state, tmp_path / "odd.pkl")
    with pytest.raises(InputError, match=r"not UR-DMU's weights: missing mu.bias; unexpected extra"):
        run("ur-dmu", tmp_path / "odd.pkl", tmp_path, labels="", encoder="")
    with pytest.raises(InputError, match="not RTFM's weights"):
        run("rtfm", tmp_path / "odd.pkl", tmp_path, labels="", encoder="")
    with pytest.raises(SettingsError, match="choose one of vadclip, hl-net, pel4vad, ur-dmu, rtfm"):
        run("i3d", tmp_path / "odd.pkl", tmp_path, labels="", encoder="")
