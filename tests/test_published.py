"""Published weights are read as they are, and nothing in them is run."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from typer.testing import CliRunner
from vlad.finetune.published import read_state, run, vadclip

from vlad.cli import app
from vlad.errors import InputError, SettingsError, WeightsError
from vlad.scorers import load_folder
from vlad.scorers.head import sentences
from vlad.scorers.vadclip import VadClipHead

WIDTH, CONTEXT, VOCABULARY, LENGTH = 64, 40, 49408, 32
LABELS = ("abuse", "fighting", "roadAccidents")
State = dict[str, torch.Tensor]


def state_of(layers: int, *, text_layers: int = 2) -> State:
    """Random weights under the published names and shapes, the width apart."""
    torch.manual_seed(layers)
    shapes: dict[str, tuple[int, ...]] = {
        "disAdj.sigma": (1,), "linear.weight": (WIDTH, WIDTH), "linear.bias": (WIDTH,), "classifier.weight": (1, WIDTH),
        "classifier.bias": (1,), "frame_position_embeddings.weight": (LENGTH, WIDTH), "text_prompt_embeddings.weight": (CONTEXT, WIDTH),
        "clipmodel.positional_embedding": (CONTEXT, WIDTH), "clipmodel.text_projection": (WIDTH, WIDTH),
        "clipmodel.token_embedding.weight": (VOCABULARY, WIDTH), "clipmodel.ln_final.weight": (WIDTH,),
        "clipmodel.ln_final.bias": (WIDTH,), "clipmodel.logit_scale": (), "clipmodel.visual.proj": (8, 8),
    }  # fmt: skip
    for graph, inward in (("gc1", WIDTH), ("gc2", WIDTH // 2), ("gc3", WIDTH), ("gc4", WIDTH // 2)):
        shapes[f"{graph}.weight"] = (inward, WIDTH // 2)
        if inward != WIDTH // 2:
            shapes[f"{graph}.residual.weight"], shapes[f"{graph}.residual.bias"] = (
                (WIDTH // 2, inward, 5),
                (WIDTH // 2,),
            )
    for name in ("mlp1", "mlp2"):
        shapes |= {f"{name}.c_fc.weight": (4 * WIDTH, WIDTH), f"{name}.c_fc.bias": (4 * WIDTH,)}
        shapes |= {f"{name}.c_proj.weight": (WIDTH, 4 * WIDTH), f"{name}.c_proj.bias": (WIDTH,)}
    blocks = [f"temporal.resblocks.{i}" for i in range(layers)]
    for block in [*blocks, *(f"clipmodel.transformer.resblocks.{i}" for i in range(text_layers))]:
        shapes |= {f"{block}.attn.in_proj_weight": (3 * WIDTH, WIDTH), f"{block}.attn.in_proj_bias": (3 * WIDTH,)}
        shapes |= {f"{block}.attn.out_proj.weight": (WIDTH, WIDTH), f"{block}.attn.out_proj.bias": (WIDTH,)}
        shapes |= {f"{block}.mlp.c_fc.weight": (4 * WIDTH, WIDTH), f"{block}.mlp.c_fc.bias": (4 * WIDTH,)}
        shapes |= {f"{block}.mlp.c_proj.weight": (WIDTH, 4 * WIDTH), f"{block}.mlp.c_proj.bias": (WIDTH,)}
        shapes |= {f"{block}.{n}.{p}": (WIDTH,) for n in ("ln_1", "ln_2") for p in ("weight", "bias")}
    return {name: torch.randn(shape) * 0.2 for name, shape in shapes.items()}


def block(s: State, name: str, x: torch.Tensor, mask: torch.Tensor, heads: int) -> torch.Tensor:
    """A pre-norm transformer block on [T, width], written out."""

    def norm(part: str, value: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(value, (WIDTH,), s[f"{name}.{part}.weight"], s[f"{name}.{part}.bias"])

    q, k, v = functional.linear(
        norm("ln_1", x), s[f"{name}.attn.in_proj_weight"], s[f"{name}.attn.in_proj_bias"]
    ).chunk(3, dim=-1)
    seen = []
    for a, b, c in zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1), strict=True):
        seen.append((a @ b.T / a.shape[1] ** 0.5 + mask).softmax(-1) @ c)
    x = x + functional.linear(torch.cat(seen, -1), s[f"{name}.attn.out_proj.weight"], s[f"{name}.attn.out_proj.bias"])
    return x + four_times(s, f"{name}.mlp", norm("ln_2", x))


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(1.702 * x)


def four_times(s: State, name: str, x: torch.Tensor) -> torch.Tensor:
    inside = quick_gelu(functional.linear(x, s[f"{name}.c_fc.weight"], s[f"{name}.c_fc.bias"]))
    return functional.linear(inside, s[f"{name}.c_proj.weight"], s[f"{name}.c_proj.bias"])


def graph(s: State, name: str, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    kept = x
    if f"{name}.residual.weight" in s:
        kept = functional.conv1d(x.T[None], s[f"{name}.residual.weight"], s[f"{name}.residual.bias"], padding=2)[0].T
    return quick_gelu(edges @ (x @ s[f"{name}.weight"]) + kept)


def as_published(
    s: State, snippets: torch.Tensor, words: list[list[int]], *, layers: int, window: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """VadCLIP's two outputs for one video of at most LENGTH snippets, from its equations: logits [T] and class logits [T, 1 + C].

    words: tokens of each name, begin and end among them.
    """
    count = len(snippets)
    x = torch.cat([snippets, torch.zeros(LENGTH - count, WIDTH)]) + s["frame_position_embeddings.weight"]
    mask = torch.full((LENGTH, LENGTH), -torch.inf)
    for first in range(0, LENGTH, window):
        mask[first : first + window, first : first + window] = 0
    for layer in range(layers):
        x = block(s, f"temporal.resblocks.{layer}", x, mask, heads=1)
    alike = torch.zeros(LENGTH, LENGTH)
    for i in range(count):
        row = torch.stack([functional.cosine_similarity(x[i], x[j], dim=0) for j in range(count)])
        alike[i, :count] = torch.where(row > 0.7, row, 0.0).softmax(0)
    near = torch.tensor([[2.718281828 ** (-abs(i - j) / 2.718281828) for j in range(LENGTH)] for i in range(LENGTH)])
    branches = [graph(s, "gc2", graph(s, "gc1", x, alike), alike), graph(s, "gc4", graph(s, "gc3", x, near), near)]
    x = functional.linear(torch.cat(branches, -1), s["linear.weight"], s["linear.bias"])
    logits = functional.linear(x + four_times(s, "mlp2", x), s["classifier.weight"], s["classifier.bias"])[:, 0]
    texts = []
    for name in words:
        learnt, token = s["text_prompt_embeddings.weight"], s["clipmodel.token_embedding.weight"]
        sentence = learnt.clone()
        end = len(name) - 1
        sentence[0], sentence[11 : 10 + end] = token[name[0]], token[torch.tensor(name[1:-1])]
        sentence[10 + end + 10] = token[name[-1]]
        y = sentence + s["clipmodel.positional_embedding"]
        later = torch.full((CONTEXT, CONTEXT), -torch.inf).triu(1)
        for layer in range(2):
            y = block(s, f"clipmodel.transformer.resblocks.{layer}", y, later, heads=1)
        y = functional.layer_norm(y, (WIDTH,), s["clipmodel.ln_final.weight"], s["clipmodel.ln_final.bias"])
        texts.append(y[10 + end + 10] @ s["clipmodel.text_projection"])
    seen = logits @ x
    told = torch.stack(texts) + seen / seen.norm()
    told = told + four_times(s, "mlp1", told)
    classes = functional.normalize(x, dim=-1) @ functional.normalize(told, dim=-1).T / 0.07
    return logits[:count], classes[:count]


@pytest.mark.parametrize(("layers", "window", "count"), [(2, 8, LENGTH), (2, 8, 13), (1, 64, 20)])
def test_imported_weights_give_the_published_outputs(layers: int, window: int, count: int) -> None:
    state = state_of(layers)
    head: Any = vadclip(state, LABELS, "any@1").eval()
    snippets = torch.randn(count, WIDTH)
    tokens = head.names(sentences(LABELS), None)
    words = [row[: int(row.argmax()) + 1].tolist() for row in tokens]
    expected = as_published(state, snippets, words, layers=layers, window=window)
    with torch.inference_mode():
        ours = head(snippets[None], None, tokens)
    torch.testing.assert_close(ours.logits[0], expected[0], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(ours.classes[0], expected[1], atol=1e-3, rtol=1e-3)


def test_a_file_becomes_a_scorer(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "model_state_dict": state_of(2)}, tmp_path / "model_ucf.pth")
    result = CliRunner().invoke(
        app, ["import", "vadclip", str(tmp_path / "model_ucf.pth"), "-o", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    scorer = load_folder(str(tmp_path / "out"), None, lambda texts: None)  # type: ignore[arg-type, return-value]
    assert isinstance(scorer.head, VadClipHead)
    assert len(scorer.labels) == 13
    logits, classes = scorer.run(torch.randn(100, WIDTH).numpy())
    assert logits.shape == (100,)
    assert classes is not None
    assert classes.shape == (100, 14)


def test_other_keys_are_listed(tmp_path: Path) -> None:
    state = state_of(2)
    state["head.extra"] = state.pop("linear.bias")
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=r"missing linear.bias; unexpected head.extra"):
        run("vadclip", tmp_path / "odd.pth", tmp_path, labels="ucf-crime", encoder="x")
    state = state_of(2) | {"classifier.weight": torch.zeros(3, WIDTH)}
    with pytest.raises(InputError, match=r"classifier.weight is \[3, 64\], expected \[1, 64\]"):
        vadclip(state, LABELS, "x")


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_is_refused_unopened(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "bomb.pth").write_bytes(pickle.dumps(Bomb(mark), protocol=2))
    with pytest.raises(InputError, match="not a plain state dict"):
        read_state(tmp_path / "bomb.pth")
    with pytest.raises(WeightsError, match="vlad import vadclip"):
        load_folder(str(tmp_path / "bomb.pth"), None, lambda texts: None)  # type: ignore[arg-type, return-value]
    assert not mark.exists()
    with pytest.raises(InputError, match="cannot be read"):
        read_state(tmp_path / "absent.pth")
    with pytest.raises(SettingsError, match="choose one of vadclip"):
        run("i3d", tmp_path / "bomb.pth", tmp_path, labels="", encoder="")
