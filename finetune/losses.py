"""What each head is trained to: one function a kind, all of them in LOSSES.

In: a head's output on a batch of bags, each with its video's classes. Out: a scalar. The first half of a batch is normal videos, the
second anomalous ones; losses of MIXED take them in any order. Those of published heads are as their authors train them: tests hold them
against the papers' equations, written out. Knows no file and no optimiser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from vlad.scorers.head import Output

from .recipe import ScorerRecipe


@dataclass(frozen=True)
class Batch:
    """values float32 [B, T, width], mask bool [B, T], classes float32 [B, C]: 1 where a video is of a class, no 1 for a normal one.

    crops: how many rows, side by side, are crops of one video. clicks: bool [B, T], the snippets in which somebody saw an anomaly.
    """

    values: torch.Tensor
    mask: torch.Tensor
    classes: torch.Tensor
    crops: int = 1
    clicks: torch.Tensor | None = None

    @property
    def truth(self) -> torch.Tensor:
        """1 for an anomalous video: float32 [2N]."""
        return self.classes.any(dim=1).float()


def top(by: torch.Tensor, mask: torch.Tensor, *, one_in: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """The T // one_in + 1 highest of each bag: places [B, K], highest first, and their weights [B, K], which sum to one a bag."""
    counts = mask.sum(1) // one_in + 1
    places = by.masked_fill(~mask, -torch.inf).topk(int(counts.max()), dim=1).indices
    inside = torch.arange(places.shape[1], device=by.device)[None] < counts[:, None]
    return places, inside / counts[:, None]


def top_mean(x: torch.Tensor, mask: torch.Tensor, *, by: torch.Tensor | None = None, one_in: int = 16) -> torch.Tensor:
    """Mean of x [B, T] or [B, T, D] over the T // one_in + 1 snippets that are highest in `by`, else in x itself: [B] or [B, D]."""
    places, weight = top(x if by is None else by, mask, one_in=one_in)
    if x.dim() == 2:
        return (x.gather(1, places) * weight).sum(1)
    return (x.gather(1, places[..., None].expand(-1, -1, x.shape[2])) * weight[..., None]).sum(1)


def top_each(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The same for each column of x [B, T, C] by itself: [B, C]."""
    return torch.stack([top_mean(column, mask) for column in x.unbind(-1)], dim=1)


def bag_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy of the mean score of a bag's highest snippets, the form of VadCLIP and UR-DMU."""
    scores = top_mean(logits.sigmoid(), batch.mask).clamp(1e-6, 1 - 1e-6)
    return functional.binary_cross_entropy(scores, batch.truth)


def calm(scores: torch.Tensor, batch: Batch, recipe: ScorerRecipe) -> torch.Tensor:
    """Smoothness and sparsity of Sultani et al. 2018, of all bags that are given."""
    mask = batch.mask[-len(scores) :]
    steps = (scores.diff(dim=1).square() * mask[:, 1:]).sum(1)
    return (recipe.smooth * steps + recipe.sparse * (scores * mask).sum(1)).mean()


def mil(out: Output, batch: Batch, recipe: ScorerRecipe) -> torch.Tensor:
    """Cross-entropy of the highest snippets' mean logit, smoothness, sparsity, and the class of those snippets."""
    bags = top_mean(out.logits, batch.mask)
    loss = functional.binary_cross_entropy_with_logits(bags, batch.truth) + calm(out.logits.sigmoid(), batch, recipe)
    if out.classes is None:
        return loss
    found = top_mean(out.classes, batch.mask, by=out.logits).log_softmax(-1)
    share = batch.classes / batch.classes.sum(1, keepdim=True).clamp(min=1)
    return loss - recipe.named * (share * found).sum(1).mean()


def sultani(out: Output, batch: Batch, recipe: ScorerRecipe) -> torch.Tensor:
    """Sultani et al. 2018, eqs. 6 and 7: the highest snippet of each anomalous bag above that of each normal one by 1.

    Over all pairs: summed over anomalous bags, a mean over normal ones; smoothness and sparsity summed over anomalous bags, as published.
    """
    highest = out.logits.sigmoid().masked_fill(~batch.mask, 0).amax(1)
    normal, anomalous = highest.chunk(2)
    ranking = (1 - anomalous[:, None] + normal[None]).relu().sum(0).mean()
    scores = out.logits.sigmoid().chunk(2)[1]
    return torch.as_tensor(ranking + len(scores) * calm(scores, batch, recipe))


def rtfm(out: Output, batch: Batch, recipe: ScorerRecipe) -> torch.Tensor:
    """Tian et al. 2021, eqs. 2 to 5: scores of the snippets with the longest features, and these features: long in anomalous bags, short in normal ones.

    A video's crops choose the same snippets, by their mean length; in training a share of them, out.extra["kept"], cannot be chosen. Published
    smoothness and sparsity treat the scores of all anomalous bags as one sequence.
    """
    crops, features = batch.crops, out.extra["features"]
    mask, truth = batch.mask[::crops], batch.truth[::crops]

    def together(x: torch.Tensor) -> torch.Tensor:
        return x.view(-1, crops, *x.shape[1:])

    scores = together(out.logits.sigmoid()).mean(1)
    length = together(features.norm(dim=-1)).mean(1) * out.extra["kept"][::crops]
    places, weight = top(length, mask, one_in=11)  # 3 of 32
    chosen = ((scores.gather(1, places)) * weight).sum(1).clamp(1e-6, 1 - 1e-6)
    picked = together(features).gather(2, places[:, None, :, None].expand(-1, crops, -1, features.shape[2]))
    magnitude = (picked * weight[:, None, :, None]).sum(2).norm(dim=-1)  # [2N, crops]
    normal, anomalous = magnitude.chunk(2)
    longer = ((recipe.margin - anomalous).abs() + normal).square().mean()
    sequence = (scores * mask).chunk(2)[1].flatten()
    even = recipe.smooth * sequence.diff().square().sum() + recipe.sparse * sequence.norm()
    return torch.as_tensor(functional.binary_cross_entropy(chosen, truth) + recipe.magnitude * longer + even)


def ur_dmu(out: Output, batch: Batch, recipe: ScorerRecipe) -> torch.Tensor:
    """Zhou et al. 2023, eqs. 4 to 12: bags, what each memory says of each kind, a triplet between them, and the normal memory's distribution."""
    e, (normal, anomalous) = out.extra, batch.mask.chunk(2)
    fit_normal, fit_anomalous, embedded = (e[k].chunk(2) for k in ("fit_normal", "fit_anomalous", "embedded"))
    ones = torch.ones(len(normal), device=normal.device)

    def near(value: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return functional.binary_cross_entropy(value.clamp(1e-6, 1 - 1e-6), wanted)

    inside = normal.float()
    memories = (
        near(top_mean(fit_anomalous[1], anomalous), ones) + near(top_mean(1 - fit_normal[1], anomalous), ones)
        + near(fit_normal[0][normal], inside[normal]) + near(fit_anomalous[0][normal], 0 * inside[normal])
    )  # fmt: skip
    anchor = top_mean(embedded[0], normal, by=fit_normal[0])
    positive = top_mean(embedded[1], anomalous, by=fit_normal[1])
    negative = top_mean(embedded[1], anomalous, by=fit_anomalous[1])
    unit = [functional.normalize(x, dim=-1) for x in (anchor, positive, negative)]
    triplet = functional.triplet_margin_loss(unit[0], unit[1], unit[2])
    mu, variance = e["mu"].chunk(2)[0], e["log_variance"].chunk(2)[0]
    divergence = (
        (-0.5 * (1 + variance - mu.square() - variance.exp()) * normal[..., None]).sum(1).mean()
    )  # over time, as published
    said_normal = top_mean(e["drawn"].chunk(2)[0], normal, by=fit_normal[0]).norm(dim=-1)
    said_anomalous = top_mean(e["mu_anomalous"].chunk(2)[1], anomalous, by=fit_anomalous[1]).norm(dim=-1)
    distance = (recipe.margin - said_anomalous + said_normal).relu().mean()
    rest = 0.1 * memories + 0.1 * triplet + 1e-3 * divergence + 1e-4 * distance
    return torch.as_tensor(bag_loss(out.logits, batch) + rest)


def vadclip(out: Output, batch: Batch, recipe: ScorerRecipe) -> torch.Tensor:
    """Wu et al. 2024, eqs. 6 to 10: bags by both branches, and texts of classes apart from that of normality."""
    assert out.classes is not None
    found = top_each(out.classes, batch.mask).log_softmax(-1)
    wanted = torch.cat([1 - batch.truth[:, None], batch.classes], dim=1)
    aligned = -(wanted / wanted.sum(1, keepdim=True) * found).sum(1).mean()
    texts = functional.normalize(out.extra["names"], dim=-1)
    return bag_loss(out.logits, batch) + aligned + recipe.apart * (texts[1:] @ texts[0]).abs().mean()


def tpwng(out: Output, batch: Batch, recipe: ScorerRecipe) -> torch.Tensor:
    """The classifier on pseudo labels from texts; the texts by ranking bags and by parting a class from normality."""
    assert out.classes is not None
    fit, mask, truth = out.extra["fit"], batch.mask, batch.truth
    share = batch.classes / batch.classes.sum(1, keepdim=True).clamp(min=1)
    of_class = (fit[..., 1:] * share[:, None]).sum(-1)
    pseudo = pseudo_labels(of_class.detach(), fit[..., 0].detach(), mask, guidance=recipe.guidance, least=recipe.least)
    labels = pseudo * truth[:, None]
    loss = functional.binary_cross_entropy_with_logits(out.logits[mask], labels[mask])
    found = top_each(out.classes, mask).log_softmax(-1)
    wanted = torch.cat([1 - truth[:, None], batch.classes], dim=1)
    aligned = -(wanted / wanted.sum(1, keepdim=True) * found).sum(1).mean()
    kinds = truth.bool()
    apart = functional.cosine_similarity(of_class[kinds] * mask[kinds], fit[kinds, :, 0] * mask[kinds], dim=1).mean()
    return loss + aligned + bag_loss(out.logits, batch) + 0.1 * apart + calm(out.logits.sigmoid(), batch, recipe)


def pseudo_labels(
    of_class: torch.Tensor, normal: torch.Tensor, mask: torch.Tensor, *, guidance: float, least: float
) -> torch.Tensor:
    """1 for a snippet that fits its video's class, weighed with `guidance` against not fitting normality, above `least`: float [B, T].

    Both fits are stretched to [0, 1] within the video, as the paper does for training labels only.
    """

    def stretched(x: torch.Tensor) -> torch.Tensor:
        low = x.masked_fill(~mask, torch.inf).amin(1, keepdim=True)
        high = x.masked_fill(~mask, -torch.inf).amax(1, keepdim=True)
        return (x - low) / (high - low).clamp(min=1e-6)

    return ((guidance * stretched(of_class) + (1 - guidance) * (1 - stretched(normal))) > least).float() * mask


def hl_net(out: Output, batch: Batch, recipe: ScorerRecipe) -> torch.Tensor:
    """Wu et al. 2020, eqs. 10 to 13: both branches' bags by their mean logit, and the causal one after the offline one.

    The published distillation has only the half of the cross-entropy that raises scores; a bag's mean, then the mean over bags.
    """
    offline, online = out.extra["offline"], out.extra["online"]
    taught = -offline.sigmoid().detach() * functional.logsigmoid(online) * batch.mask
    bags = sum(
        functional.binary_cross_entropy_with_logits(top_mean(branch, batch.mask), batch.truth)
        for branch in (offline, online)
    )
    return torch.as_tensor(bags + recipe.distil * (taught.sum(1) / batch.mask.sum(1)).mean())


def pel4vad(out: Output, batch: Batch, recipe: ScorerRecipe) -> torch.Tensor:
    """Pu et al. 2024, eqs. 8 to 12: bags (of a normal one the highest snippet alone), and what is seen drawn to the words of its class.

    A video's foreground is its snippets weighed by exp(10 score) - 1, an anomalous one's background by exp(10 (1 - score)) - 1; the words of
    normal footage belong to the background. A video of several classes counts as its first, as published. recipe.named weighs the second part.
    """
    scores, truth = out.logits.sigmoid(), batch.truth.bool()
    inside = scores * batch.mask
    highest = torch.where(truth, top_mean(inside, batch.mask), inside.amax(1)).clamp(1e-6, 1 - 1e-6)
    loss = functional.binary_cross_entropy(highest, batch.truth)
    if "names" not in out.extra:
        return loss
    spoken, names = out.extra["spoken"], out.extra["names"]

    def seen(weight: torch.Tensor) -> torch.Tensor:
        share = functional.normalize(((10 * weight).exp() - 1) * batch.mask, p=1, dim=1)
        return (share[..., None] * spoken).sum(1)

    kinds = torch.where(truth, batch.classes.argmax(1) + 1, 0)
    videos = torch.cat([seen(scores), seen(1 - scores)[truth]])
    kinds = torch.cat([kinds, torch.zeros_like(kinds[truth])])
    alike = functional.normalize(videos, dim=1) @ functional.normalize(names[kinds], dim=1).T
    found = (out.extra["scale"] * alike).log_softmax(1)
    wanted = (10.0 * (kinds[:, None] == kinds[None])).softmax(1)
    return loss + recipe.named * functional.kl_div(found, wanted, reduction="batchmean")


def bn_wvad(out: Output, batch: Batch, recipe: ScorerRecipe) -> torch.Tensor:
    """Zhou et al. 2024, eqs. 5 to 9: normal scores short, and each batch norm's mean nearer to normal snippets than to anomalous ones by 1.

    Of anomalous bags the fifth of each bag's snippets that is farthest off, and the two fifths of all of them; of normal bags as many, the farthest.
    """
    loss = out.extra["certain"].chunk(2)[0].norm(dim=1).mean()
    for i, weight in enumerate((5.0, 20.0)):
        features, distance = (out.extra[f"{name}_{i}"].chunk(2) for name in ("features", "distance"))
        bags, count = distance[1].shape
        chosen = torch.zeros_like(distance[1], dtype=torch.bool)
        chosen.scatter_(1, distance[1].topk(int(0.2 * count), dim=1).indices, True)
        chosen.view(-1)[distance[1].flatten().topk(int(0.4 * bags * count)).indices] = True
        negative = features[1][chosen]
        each = min(count, len(negative) // bags + 1)
        far = distance[0].topk(each, dim=1).indices[..., None].expand(-1, -1, features[0].shape[2])
        positive = features[0].gather(1, far).transpose(0, 1).flatten(0, 1)[: len(negative)]
        mean, variance = out.extra[f"mean_{i}"], out.extra[f"variance_{i}"]

        def away(x: torch.Tensor, mean: torch.Tensor = mean, variance: torch.Tensor = variance) -> torch.Tensor:
            return ((x - mean).square() / variance).sum(1).clamp(min=1e-12).sqrt()

        if len(negative):
            loss = loss + weight * (1 + away(positive) - away(negative[: len(positive)])).clamp(min=0).mean()
    return torch.as_tensor(loss)


def normality(out: Output, batch: Batch, recipe: ScorerRecipe) -> torch.Tensor:
    """The error of the guesses at hidden snippets of normal bags."""
    wanted = out.extra["hidden"] & batch.mask & ~batch.truth.bool()[:, None]
    return (out.extra["errors"] * wanted).sum() / wanted.sum().clamp(min=1)


def mined(scores: torch.Tensor, clicks: torch.Tensor, alpha: float) -> torch.Tensor:
    """Clicks of one bag and the snippets around each, up to the next click, whose scores stay at `alpha` of its own or above: bool [T].

    Zhang et al. 2024 (GlanceVAD), anomaly kernel mining; gaussian_kernel_mining of its code.
    """
    found = clicks.clone()
    places = clicks.nonzero()[:, 0].tolist()
    bounds = [-1, *places, len(scores)]
    for before, at, after in zip(bounds, places, bounds[2:], strict=False):
        near = scores >= alpha * scores[at]
        found[at:after] |= near[at:after].cummin(0).values
        found[before + 1 : at + 1] |= near[before + 1 : at + 1].flip(0).cummin(0).values.flip(0)
    return found


def splatted(kernels: torch.Tensor, sigma: float) -> torch.Tensor:
    """A bag's labels in [0, 1] from its kernels bool [T]: at each snippet the highest of the Gaussians around them, whose deviation is `sigma` of half
    the bag; each, and what comes of them, stretched to [0, 1]. GlanceVAD, temporal Gaussian splatting.
    """

    def stretched(x: torch.Tensor) -> torch.Tensor:
        low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
        return (x - low) / (high - low).clamp(min=1e-6)

    place = torch.linspace(-1, 1, len(kernels), device=kernels.device)
    bells = (-(place[None] - place[kernels][:, None]).square() / (2 * sigma**2)).exp()
    return stretched(stretched(bells).amax(0)) if len(kernels) > 1 else kernels.float()


def glance(scores: torch.Tensor, batch: Batch, recipe: ScorerRecipe, *, mine: bool) -> torch.Tensor:
    """Cross-entropy of the scores [B, T] of clicked videos and what their clicks say of each snippet (GlanceVAD's loss of anomalous videos), a mean over snippets.

    mine: whether what scores like a click counts as one; not before the scores mean something.
    """
    assert batch.clicks is not None
    parts = []
    for own, clicks, inside in zip(scores, batch.clicks, batch.mask, strict=True):
        if clicks.any():
            found, at = own[inside], clicks[inside]
            kernels = mined(found.detach(), at, recipe.alpha) if mine else at
            parts.append(functional.binary_cross_entropy(found.clamp(1e-6, 1 - 1e-6), splatted(kernels, recipe.sigma), reduction="none"))  # fmt: skip
    return torch.cat(parts).mean()


MIXED = (
    "mil",
    "vadclip",
    "tpwng",
    "hl-net",
    "pel4vad",
    "causal",
    "normality",
)  # batches of these need not be half normal, half anomalous
LOSSES: dict[str, Callable[[Output, Batch, ScorerRecipe], torch.Tensor]] = {
    "mil": mil, "sultani": sultani, "rtfm": rtfm, "ur-dmu": ur_dmu, "vadclip": vadclip, "tpwng": tpwng, "hl-net": hl_net,
    "pel4vad": pel4vad, "bn-wvad": bn_wvad, "causal": mil, "normality": normality,
}  # fmt: skip
