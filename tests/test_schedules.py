"""Heads are trained as their authors do: rows, steps and rates of the recipes; losses and gradients against the papers' equations, written out bag by bag."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional
from vlad.finetune.bags import Bag, Draws, batch_of, rows_of, shortened
from vlad.finetune.losses import LOSSES, Batch, glance, mined, splatted
from vlad.finetune.recipe import ScorerRecipe, load_head_recipe
from vlad.finetune.scorer import optimiser_of, rate_of

from vlad.errors import InputError, SettingsError
from vlad.scorers import HEADS
from vlad.scorers.head import HeadConfig, Output
from vlad.scorers.ur_dmu import GlobalLocal

T = torch.Tensor
LENGTHS = (32, 20, 32, 17)  # two normal bags, two anomalous ones
SNIPPETS = 32


def bags(normal: int, anomalous: int, crops: int = 10) -> list[Bag]:
    def load(crop: int) -> np.ndarray:  # type: ignore[type-arg]
        return np.full((40, 4), crop, np.float32)

    return [Bag(str(i), ("fighting",) if i < anomalous else (), load, crops) for i in range(normal + anomalous)]


def published(recipe: str, head: str, *changes: str) -> ScorerRecipe:
    return load_head_recipe(recipe, ["data.features=x", f"head={head}", *changes]).scorer


@pytest.mark.parametrize(
    ("name", "head", "normal", "anomalous", "each", "steps"),
    [
        ("ucf-crime", "vadclip", 800, 810, 125, 1250), ("xd-violence", "vadclip", 2049, 1905, 412, 4120),
        ("ucf-crime", "ur-dmu", 800, 810, 125, 3000), ("ucf-crime", "rtfm", 800, 810, 25, 15000),
        ("ucf-crime", "sultani", 800, 810, 26, 20000),
    ],
)  # fmt: skip
def test_a_recipe_takes_the_published_rows_and_steps(
    name: str, head: str, normal: int, anomalous: int, each: int, steps: int
) -> None:
    """R1: they were a tenth, since rows were videos, not their crops."""
    draws = Draws(bags(normal, anomalous), published(name, head), head)
    assert (draws.each, draws.steps) == (each, steps)
    held_out = Draws(bags(normal - 80, anomalous - 80), published(name, head), head)
    assert held_out.steps == steps  # what is held out for selection costs no step


def test_hl_net_on_xd_takes_fifty_passes_of_five_crops() -> None:
    draws = Draws(bags(2049, 1905, crops=5), published("xd-violence", "hl-net"), "hl-net")
    assert (draws.each, draws.steps, draws.epochs) == (155, 7750, 50)


def test_a_pass_meets_each_row_once_and_the_short_schedule_is_a_name() -> None:
    draws = Draws(
        bags(12, 9, crops=3), published("ucf-crime", "vadclip", "scorer.batch=4", "scorer.steps=0"), "vadclip"
    )
    seen = [(b.name, crops) for step in draws.batches(0, np.random.default_rng(0)) for b, crops in step]
    assert len(seen) == len(set(seen)) == 2 * 4 * (27 // 4)
    first = next(draws.batches(1, np.random.default_rng(1)))
    assert [bool(b.classes) for b, _ in first] == [False] * 4 + [True] * 4
    short = published("ucf-crime", "vadclip", "schedule=short")
    assert (short.rows, short.draw, short.decay, short.steps) == ("videos", "chance", "cosine", 0)
    mixed = Draws(bags(12, 9, crops=3), published("xd-violence", "vadclip", "scorer.batch=4"), "vadclip")
    some = [bool(b.classes) for b, _ in next(mixed.batches(0, np.random.default_rng(0)))]
    assert len(some) == 4


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(SettingsError, match="sultani compares normal halves"):
        Draws(bags(4, 4), published("ucf-crime", "sultani", "scorer.bags=mixed"), "sultani")
    with pytest.raises(InputError, match=r"\[2, 10\] crops"):
        rows_of([*bags(2, 2), *bags(2, 2, crops=2)], "whole")
    with pytest.raises(SettingsError) as told:
        load_head_recipe("ucf-crime", ["data.features=x", "schedule=long", "scorer.rows=clips", "scorer.colour=red"])
    assert all(word in str(told.value) for word in ("schedule", "scorer.rows", "scorer.colour"))


def test_rates_fall_at_the_published_steps() -> None:
    vadclip, rtfm = published("ucf-crime", "vadclip"), published("ucf-crime", "rtfm")
    rates = [vadclip.lr * rate_of(vadclip, step, 1250) for step in (0, 499, 500, 999, 1000, 1249)]
    assert rates == pytest.approx([2e-5, 2e-5, 2e-6, 2e-6, 2e-7, 2e-7])
    assert {rate_of(rtfm, step, 15000) for step in (0, 7000, 14999)} == {1.0}


def test_the_causal_branch_of_hl_net_learns_at_half_the_rate() -> None:
    head = HEADS["hl-net"](HeadConfig("hl-net", "x", 12, 0, ()))
    groups = optimiser_of(head, published("xd-violence", "hl-net")).param_groups
    assert [g["share"] for g in groups] == [1.0, 0.5]
    slow = {id(p) for p in groups[1]["params"]}
    names = {n for n, p in head.named_parameters() if id(p) in slow}
    assert names == {n for n, _ in head.named_parameters() if "approximator" in n}


def test_longer_videos_are_averaged_or_picked_from() -> None:
    values = np.arange(10, dtype=np.float32)[:, None]
    assert shortened(values, 4, "pick")[:, 0].tolist() == [0, 3, 6, 9]
    assert shortened(values, 5, "repeat")[:, 0].tolist() == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert len(shortened(values, 20, "pick")) == 10
    assert len(shortened(values, 20, "repeat")) == 20


# losses, bag by bag


def inside(lengths: tuple[int, ...] = LENGTHS) -> T:
    return torch.arange(SNIPPETS)[None] < torch.tensor(lengths)[:, None]


def drawn(*shape: int, seed: int = 0) -> T:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def highest(scores: T, count: int) -> T:
    return scores.sort(descending=True).values[:count]


def alike(ours: T, theirs: T, *leaves: T) -> None:
    torch.testing.assert_close(ours, theirs)
    a, b = (torch.autograd.grad(loss, leaves, retain_graph=True) for loss in (ours, theirs))
    assert any(g.abs().max() > 0 for g in a)
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def classes() -> T:
    return torch.tensor([[0.0, 0], [0, 0], [1, 0], [1, 1]])


def batch(crops: int = 1) -> Batch:
    mask = inside().repeat_interleave(crops, 0)
    return Batch(torch.zeros(len(mask), SNIPPETS, 3), mask, classes().repeat_interleave(crops, 0), crops)


def test_the_loss_of_sultani() -> None:
    recipe, logits = published("ucf-crime", "sultani"), drawn(4, SNIPPETS)
    scores, total = logits.sigmoid(), torch.zeros(())
    for i in (0, 1):
        for j in (2, 3):
            gap = 1 - scores[j, : LENGTHS[j]].max() + scores[i, : LENGTHS[i]].max()
            total = total + gap.clamp(min=0) / 2  # a mean over normal bags of a sum over anomalous ones
    for j in (2, 3):
        s = scores[j, : LENGTHS[j]]
        total = total + 8e-5 * ((s[1:] - s[:-1]) ** 2).sum() + 8e-5 * s.sum()
    alike(LOSSES["sultani"](Output(logits, None), batch(), recipe), total, logits)


def test_the_loss_of_hl_net() -> None:
    """R11: it was a mean of sigmoids, and both halves of the cross-entropy."""
    recipe, offline, online = published("xd-violence", "hl-net"), drawn(4, SNIPPETS), drawn(4, SNIPPETS, seed=1)
    truth, total = (0.0, 0.0, 1.0, 1.0), torch.zeros(())
    for i, n in enumerate(LENGTHS):
        for branch in (offline, online):
            p = torch.sigmoid(highest(branch[i, :n], n // 16 + 1).mean())
            total = total - (torch.log(p) if truth[i] else torch.log(1 - p)) / 4
        taught = -torch.sigmoid(offline[i, :n]).detach() * torch.log(torch.sigmoid(online[i, :n]))
        total = total + 5 * taught.mean() / 4
    out = Output(offline, None, {"offline": offline, "online": online})
    alike(LOSSES["hl-net"](out, batch(), recipe), total, offline, online)


def test_the_loss_of_rtfm_over_crops() -> None:
    """R11: which snippets may be chosen is dropped out; scores of all anomalous bags are one sequence."""
    recipe, crops = published("ucf-crime", "rtfm"), 2
    logits, features = drawn(8, SNIPPETS), drawn(8, SNIPPETS, 5, seed=1)
    kept = (torch.arange(8 * SNIPPETS).view(8, SNIPPETS) % 3 > 0).float() / 0.3
    full = Batch(
        torch.zeros(8, SNIPPETS, 5), torch.ones(8, SNIPPETS, dtype=torch.bool), classes().repeat_interleave(2, 0), 2
    )
    scores = torch.stack([logits[2 * v : 2 * v + 2].sigmoid().mean(0) for v in range(4)])
    chosen = []
    for v in range(4):
        length = torch.stack([features[2 * v + c].norm(dim=1) for c in range(crops)]).mean(0) * kept[2 * v]
        chosen.append(length.topk(3).indices)
    total = torch.zeros(())
    for v, truth in enumerate((0, 0, 1, 1)):
        p = scores[v, chosen[v]].mean()
        total = total - (torch.log(p) if truth else torch.log(1 - p)) / 4
    for c in range(crops):
        for v in range(2):
            normal, anomalous = (features[2 * k + c, chosen[k]].mean(0).norm() for k in (v, v + 2))
            total = total + 1e-4 * ((100 - anomalous).abs() + normal) ** 2 / 4
    sequence = scores[2:].flatten()
    total = total + 8e-4 * ((sequence[1:] - sequence[:-1]) ** 2).sum() + 8e-3 * sequence.norm()
    out = Output(logits, None, {"features": features, "kept": kept})
    alike(LOSSES["rtfm"](out, full, recipe), total, logits, features)


def test_dropout_forbids_snippets_of_rtfm_in_training_only() -> None:
    head = HEADS["rtfm"](HeadConfig("rtfm", "x", 6, 0, ()))
    kept = head(torch.randn(2, 400, 6), None, None).extra["kept"]
    assert 0.6 < float((kept == 0).float().mean()) < 0.8
    head.eval()
    assert head(torch.randn(2, 9, 6), None, None).extra["kept"].eq(1).all()


def test_the_loss_of_ur_dmu() -> None:
    """R11: the divergence is summed over time, not over features."""
    recipe = published("ucf-crime", "ur-dmu")
    wide = {
        k: drawn(4, SNIPPETS, 6, seed=i)
        for i, k in enumerate(("embedded", "mu", "drawn", "log_variance", "mu_anomalous"))
    }
    fits = {k: drawn(4, SNIPPETS, seed=i) for i, k in enumerate(("fit_normal", "fit_anomalous"), 9)}
    logits = drawn(4, SNIPPETS, seed=20)
    fit = {k: v.sigmoid() for k, v in fits.items()}
    full = Batch(torch.zeros(4, SNIPPETS, 6), torch.ones(4, SNIPPETS, dtype=torch.bool), classes())
    k = SNIPPETS // 16 + 1
    total = torch.zeros(())
    for i, truth in enumerate((0, 0, 1, 1)):
        p = highest(logits[i].sigmoid(), k).mean()
        total = total - (torch.log(p) if truth else torch.log(1 - p)) / 4
    for j in (2, 3):
        total = total - 0.1 * torch.log(highest(fit["fit_anomalous"][j], k).mean()) / 2
        total = total - 0.1 * torch.log(highest(1 - fit["fit_normal"][j], k).mean()) / 2
    total = total - 0.1 * torch.log(fit["fit_normal"][:2]).mean() - 0.1 * torch.log(1 - fit["fit_anomalous"][:2]).mean()

    def at(name: str, i: int, by: str) -> T:
        return wide[name][i, fit[by][i].topk(k).indices].mean(0)

    for n, a in ((0, 2), (1, 3)):
        anchor, positive, negative = (
            x / x.norm() for x in (at("embedded", n, "fit_normal"), at("embedded", a, "fit_normal"), at("embedded", a, "fit_anomalous"))
        )  # fmt: skip
        near, far = ((anchor - x + 1e-6).norm() for x in (positive, negative))
        total = total + 0.1 * (1 + near - far).clamp(min=0) / 2
        gap = 100 - at("mu_anomalous", a, "fit_anomalous").norm() + at("drawn", n, "fit_normal").norm()
        total = total + 1e-4 * gap.clamp(min=0) / 2
    mu, variance = wide["mu"][:2], wide["log_variance"][:2]
    total = total + 1e-3 * (-0.5 * (1 + variance - mu**2 - variance.exp())).sum(1).mean()
    out = Output(logits, None, {**wide, **fit})
    alike(LOSSES["ur-dmu"](out, full, recipe), total, logits, *wide.values(), *fits.values())


@pytest.mark.parametrize(("name", "weight"), [("ucf-crime", 0.1), ("xd-violence", 1e-4)])
def test_the_loss_of_vadclip(name: str, weight: float) -> None:
    logits, found, texts = drawn(4, SNIPPETS), drawn(4, SNIPPETS, 3, seed=1), drawn(3, 6, seed=2)
    total = torch.zeros(())
    for i, n in enumerate(LENGTHS):
        k = n // 16 + 1
        p = highest(logits[i, :n].sigmoid(), k).mean()
        total = total - (torch.log(p) if classes()[i].any() else torch.log(1 - p)) / 4
        bag = torch.stack([highest(found[i, :n, c], k).mean() for c in range(3)]).log_softmax(0)
        wanted = torch.cat([(~classes()[i].any()).float()[None], classes()[i]])
        total = total - (wanted / wanted.sum() * bag).sum() / 4
    unit = [t / t.norm() for t in texts]
    total = total + weight * sum((unit[0] @ u).abs() for u in unit[1:]) / 2
    out = Output(logits, found, {"names": texts})
    alike(LOSSES["vadclip"](out, batch(), published(name, "vadclip")), total, logits, found, texts)


def test_distance_attention_of_ur_dmu_divides_columns() -> None:
    """R11: rows were divided; near the ends, where the sums differ, scores moved by .002."""
    torch.manual_seed(0)
    layer, x = GlobalLocal(dropout=0.0).eval(), torch.randn(1, 7, 512)
    query, key, value, local = (
        p.reshape(7, 4, 128).transpose(0, 1) for p in layer.qkvt(layer.norm(x))[0].chunk(4, dim=-1)
    )
    near = torch.tensor([[np.exp(-abs(i - j) / np.e) for j in range(7)] for i in range(7)], dtype=torch.float32)
    near = torch.stack([near[:, j] / near[:, j].sum() for j in range(7)], dim=1)
    heads = [
        torch.cat([(q @ k.T / 128**0.5).softmax(-1) @ v, near @ t], -1)
        for q, k, v, t in zip(query, key, value, local, strict=True)
    ]
    seen = torch.cat(heads, -1)[None]
    y = x + layer.out(seen)
    torch.testing.assert_close(layer(x, None), y + layer.feed(y), atol=1e-5, rtol=1e-5)


def test_whole_videos_bring_all_their_crops_side_by_side() -> None:
    config = HeadConfig("rtfm", "x", 4, 0, ("fighting",))
    found = batch_of(
        rows_of(bags(1, 1, crops=3), "whole"),
        config,
        published("ucf-crime", "rtfm"),
        np.random.default_rng(0),
        torch.device("cpu"),
    )
    assert found.crops == 3
    assert found.values[:, 0, 0].tolist() == [0, 1, 2, 0, 1, 2]
    assert found.truth.tolist() == [1, 1, 1, 0, 0, 0]


def test_normal_bags_alone_are_drawn_from_the_memory_of_ur_dmu() -> None:
    torch.manual_seed(0)
    head = HEADS["ur-dmu"](HeadConfig("ur-dmu", "x", 8, 0, (), options={"dropout": 0.0}))
    out = head(torch.randn(4, 6, 8), None, None).extra
    assert (out["drawn"][:2] != out["mu"][:2]).any()
    torch.testing.assert_close(out["drawn"][2:], out["mu"][2:])


def test_the_loss_of_pel4vad() -> None:
    recipe, logits, spoken, texts = (
        published("ucf-crime", "pel4vad"),
        drawn(4, SNIPPETS),
        drawn(4, SNIPPETS, 6, seed=1),
        drawn(3, 6, seed=2),
    )
    scale, total = torch.tensor(5.0, requires_grad=True), torch.zeros(())
    rows: list[tuple[T, int]] = []
    background: list[tuple[T, int]] = []
    for i, n in enumerate(LENGTHS):
        s, normal = logits[i, :n].sigmoid(), not classes()[i].any()
        p = s.max() if normal else highest(s, n // 16 + 1).mean()
        total = total - (torch.log(1 - p) if normal else torch.log(p)) / 4
        for weight, kept in ((s, rows), (1 - s, background)):
            share = torch.exp(10 * weight) - 1
            video = ((share / share.sum())[:, None] * spoken[i, :n]).sum(0)
            if kept is rows:
                rows.append((video, 0 if normal else int(classes()[i].argmax()) + 1))
            elif not normal:
                background.append((video, 0))
    rows += background
    for video, kind in rows:
        near = torch.stack([scale * functional.cosine_similarity(video, texts[k], dim=0) for _, k in rows])
        wanted = torch.tensor([10.0 if k == kind else 0.0 for _, k in rows]).softmax(0)
        total = total + (wanted * (wanted.log() - near.log_softmax(0))).sum() / len(rows)
    out = Output(logits, None, {"spoken": spoken, "names": texts, "scale": scale})
    alike(LOSSES["pel4vad"](out, batch(), recipe), total, logits, spoken, texts, scale)


@pytest.mark.slow
def test_pel4vad_takes_a_cosine_of_sixty_passes() -> None:
    recipe = published("ucf-crime", "pel4vad")
    draws = Draws(bags(800, 810), recipe, "pel4vad")
    assert (draws.each, draws.epochs, recipe.bags) == (126, 50, "mixed")
    assert rate_of(recipe, 125, draws.steps, 126) == 1.0
    assert rate_of(recipe, 30 * 126, draws.steps, 126) == pytest.approx(0.5)
    assert load_head_recipe("xd-violence", ["data.features=x", "head=pel4vad"]).options["steps"] == 3


def test_the_loss_of_bn_wvad() -> None:
    torch.manual_seed(0)
    head = HEADS["bn-wvad"](HeadConfig("bn-wvad", "x", 8, 0, ()))
    out = head(torch.randn(4, SNIPPETS, 8), None, None)
    e, total = out.extra, torch.zeros(())
    for i in (0, 1):
        total = total + e["certain"][i].norm() / 2
    for i, weight in ((0, 5.0), (1, 20.0)):
        features, mean, variance = e[f"features_{i}"], e[f"mean_{i}"], e[f"variance_{i}"]
        away = [[(((f - mean) ** 2) / variance).sum().sqrt() for f in bag] for bag in features]
        chosen: set[tuple[int, int]] = set()
        flat = sorted(((away[b][t].item(), b, t) for b in (2, 3) for t in range(SNIPPETS)), reverse=True)
        chosen |= {(b, t) for _, b, t in flat[: int(0.4 * 2 * SNIPPETS)]}
        for b in (2, 3):
            chosen |= {(k, t) for _, k, t in [f for f in flat if f[1] == b][: int(0.2 * SNIPPETS)]}
        negative = [away[b][t] for b, t in sorted(chosen)]
        each = len(negative) // 2 + 1
        ranked = [sorted(range(SNIPPETS), key=lambda t, b=b: -away[b][t].item())[:each] for b in (0, 1)]  # type: ignore[misc]
        positive = [away[b][ranked[b][k]] for k in range(each) for b in (0, 1)][: len(negative)]
        gaps = [(1 + p - n).clamp(min=0) for p, n in zip(positive, negative, strict=True)]
        total = total + weight * torch.stack(gaps).mean()
    leaves = [p for p in head.parameters() if p.requires_grad][:4]
    alike(LOSSES["bn-wvad"](out, batch(), published("ucf-crime", "bn-wvad")), total, *leaves)


def test_bn_wvad_scores_by_distance_times_certainty_and_learns_a_scenes_normal() -> None:
    torch.manual_seed(0)
    head = HEADS["bn-wvad"](HeadConfig("bn-wvad", "x", 8, 0, ()))
    scene = torch.randn(200, 8) + 3
    for _ in range(20):
        head(torch.randn(4, SNIPPETS, 8), None, None)
    head.eval()
    head.requires_grad_(False)
    out = head(scene[None], None, None)
    both = out.extra["distance_0"] + out.extra["distance_1"]
    torch.testing.assert_close(out.logits.exp(), both * out.extra["certain"])
    head.relearn(scene)
    near = head(scene[None], None, None).extra
    mean = float((near["distance_0"] + near["distance_1"]).mean())
    assert mean == pytest.approx(32**0.5 + 16**0.5, rel=0.1)  # of a point from the middle of its own cloud
    assert mean < 0.8 * float(both.mean())


def test_clicks_are_mined_and_splatted_as_glancevad_does() -> None:
    """Zhang et al. 2024, kernel mining and splatting, written out snippet by snippet."""
    scores = torch.tensor([0.1, 0.8, 0.9, 0.85, 0.2, 0.9, 0.4, 0.5, 0.46, 0.3])
    clicks = torch.zeros(10, dtype=torch.bool)
    clicks[[2, 7]] = True
    found = mined(scores, clicks, 0.9)
    assert found.nonzero()[:, 0].tolist() == [2, 3, 7, 8]  # .8 is below .81, snippet 5 not joined to any click
    labels = splatted(found, 0.1)
    bells = np.array(
        [[np.exp(-((2 * t / 9 - 2 * k / 9) ** 2) / (2 * 0.1**2)) for t in range(10)] for k in (2, 3, 7, 8)]
    )
    bells = (bells - bells.min(1, keepdims=True)) / np.ptp(bells, axis=1, keepdims=True)
    wanted = bells.max(0)
    wanted = (wanted - wanted.min()) / np.ptp(wanted)
    torch.testing.assert_close(labels, torch.tensor(wanted, dtype=torch.float32), atol=1e-5, rtol=1e-4)


def test_the_loss_of_clicks() -> None:
    recipe, logits = published("ucf-crime", "ur-dmu"), drawn(4, SNIPPETS)
    clicks = torch.zeros(4, SNIPPETS, dtype=torch.bool)
    clicks[2, 1] = clicks[3, 0] = True
    own = replace(batch(), clicks=clicks)
    total, count = torch.zeros(()), 0
    for i in (2, 3):
        length = int(own.mask[i].sum())
        y = splatted(clicks[i, :length], recipe.sigma)
        p = logits[i, :length].sigmoid()
        total = total - (y * torch.log(p) + (1 - y) * torch.log(1 - p)).sum()
        count += length
    alike(glance(logits.sigmoid(), own, recipe, mine=False), total / count, logits)


def test_a_click_stays_where_it_was_when_a_bag_is_shortened() -> None:
    values = np.arange(40, dtype=np.float32)[:, None].repeat(4, 1)
    bag = Bag("a", ("fighting",), lambda crop: values, clicks=(31,))
    config, recipe = HeadConfig("ur-dmu", "x", 4, 0, ("fighting",)), published("ucf-crime", "ur-dmu")
    found = batch_of(
        [(bag, (0,))], config, recipe.model_copy(update={"length": 10}), np.random.default_rng(0), torch.device("cpu")
    )
    assert found.clicks is not None
    at = int(found.clicks[0].nonzero()[0, 0])
    assert abs(float(found.values[0, at, 0]) - 31) < 2.5
