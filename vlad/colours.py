"""Pixels to names of colours: of tops, trousers and vehicles, and of the light.

In: pictures and boxes. Out: words, with how sure they are; '' where the pixels do not agree, the picture is grey or the box is small. No
learning: CIELAB (CIE 1976) and fixed borders between names. A garment's colour is told twice, by the patch where it should be, and by what GrabCut
(Rother et al. 2004) takes for the person there, under a balanced light; it is named where both agree. Where the empty scene is known, the person
is what differs from it, and that alone tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vlad.types import Fact

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
PIXELS = 24  # height of a box below which no colour is named
DULL = 13.0  # chroma below which a thing is black, grey or white
GREY = 5.0  # mean chroma of a picture without colours, such as an infrared one
DARK = 28.0  # lightness of a dark scene
AGREE = 0.6  # share of a patch's pixels that must bear one name
SURELY = 0.55  # the same of the pixels that GrabCut takes for the person
GAIN = 1.35  # by how much a channel may be raised or lowered to balance the light
NORM = 6  # of the shades-of-grey balance (Finlayson and Trezzi 2004)
TALL = 96  # height to which a person is scaled before GrabCut
SHADE = 26.0  # lightness below which a garment is called dark
CUT = 0.985  # share of the picture's height at which a box is cut off: whose trousers are not seen
UPRIGHT = (1.9, 5.0)  # height over width of a box in which somebody stands,
BENT = 1.2  # and the least where one's own pixels are known
ROWS = {"top": (0.22, 0.42), "trousers": (0.58, 0.78)}  # of a box, where a garment is looked for
COLUMNS = {"top": (0.33, 0.67), "trousers": (0.4, 0.6)}
REGIONS = {"top": (0.2, 0.45), "trousers": (0.55, 0.8)}  # the same of the person's own pixels
STANDS_OUT = 8.0  # distance in CIELAB from the empty scene from which a pixel is something else
SHADOW = 0.6  # share of the scene's lightness that a shadow leaves
LIGHT = 110.0  # median of a picture's brightest channel to which a dark one is raised,
RAISED = 3.0  # at most by this factor
VIVID = 10.0  # chroma of a picture's most coloured hundredth, below which a camera shows no colours
HUES = (
    (15, "pink"),
    (50, "red"),
    (72, "orange"),
    (105, "yellow"),
    (170, "green"),
    (307, "blue"),
    (330, "purple"),
    (360, "pink"),
)


def lab_of(picture: Picture) -> Floats:
    """CIELAB float32 [H, W, 3]: lightness 0..100, a and b about -100..100."""
    found: Floats = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return found


def name_of(lightness: float, a: float, b: float) -> str:
    """The name of one colour."""
    chroma = float(np.hypot(a, b))
    if lightness < 10 or (lightness < 32 and chroma < 9) or (lightness < 20 and chroma < 14):
        return "black"
    if chroma < DULL:
        return "white" if lightness > 72 else "grey" if lightness > 38 else "dark grey"
    hue = float(np.degrees(np.arctan2(b, a))) % 360
    word = next(name for most, name in HUES if hue <= most)
    if word == "pink" and lightness < 45:
        return "red"
    if word in ("orange", "yellow", "red") and lightness < 50 and chroma < 38:
        return "brown"
    if word in ("orange", "yellow") and chroma < 28:
        return "beige"
    return word


def patch_name(patch: Picture) -> tuple[str, float]:
    """The name of most pixels of a patch and their share; ('', 0) where they do not agree."""
    lab = lab_of(cv2.resize(patch, (12, 12), interpolation=cv2.INTER_AREA)).reshape(-1, 3)
    votes = Counter(name_of(*map(float, row)) for row in lab)
    if votes["dark grey"] and votes["black"]:  # one cloth in folds
        most, least = sorted(("dark grey", "black"), key=lambda word: -votes[word])
        votes[most] += votes.pop(least)
    word, count = votes.most_common(1)[0]
    if count < AGREE * len(lab) or _skin(np.median(lab, axis=0)):
        return "", 0.0
    return word.removeprefix("dark "), count / len(lab)


def _skin(lab: Floats) -> bool:
    """Whether a colour may be bare skin: it is never called a cloth's."""
    hue, chroma = float(np.degrees(np.arctan2(lab[2], lab[1]))), float(np.hypot(lab[1], lab[2]))
    return 30 <= float(lab[0]) <= 88 and 20 <= hue <= 78 and 10 <= chroma <= 38


def cut(
    picture: npt.NDArray[Any], box: Floats, rows: tuple[float, float], columns: tuple[float, float]
) -> npt.NDArray[Any]:
    """A part of a box (shares of the picture) between shares of its height and width."""
    height, width = picture.shape[:2]
    x, y, w, h = (float(v) for v in box)
    top, low = int((y + rows[0] * h) * height), int(np.ceil((y + rows[1] * h) * height))
    left, right = int((x + columns[0] * w) * width), int(np.ceil((x + columns[1] * w) * width))
    return picture[max(top, 0) : low, max(left, 0) : right]


def coloured(picture: Picture) -> bool:
    """Whether a picture has colours at all: an infrared camera's has none."""
    small = lab_of(cv2.resize(picture, (48, 36), interpolation=cv2.INTER_AREA))
    return float(np.hypot(small[..., 1], small[..., 2]).mean()) >= GREY


def raised(picture: Picture) -> Picture:
    """A picture taken in the dark as light as one by day: how a colour is called depends on its light."""
    found: Picture = np.clip(
        picture * np.clip(LIGHT / max(float(np.median(picture.max(2))), 1), 1, RAISED), 0, 255
    ).astype(np.uint8)
    return found


def empty_scene(pictures: Sequence[Picture]) -> Picture | None:
    """What a camera that stands still sees while nobody is there: the median of pictures far apart; None where they show no colours."""
    if not pictures:
        return None
    lab = lab_of(raised(pictures[len(pictures) // 2]))
    if float(np.percentile(np.hypot(lab[..., 1], lab[..., 2]), 99)) < VIVID:
        return None
    scene: Picture = np.median(np.stack(pictures), axis=0).astype(np.uint8)
    return scene


def standing_out(picture: Picture, scene: Picture) -> Mask:
    """Which pixels are not the empty scene, shadows left out: bool [H, W]."""
    own, empty = (cv2.GaussianBlur(lab_of(p), (0, 0), 1.0) for p in (picture, scene))
    apart = own - empty
    chroma = np.hypot(apart[..., 1], apart[..., 2])
    far = np.sqrt(apart[..., 0] ** 2 + 2 * chroma**2)
    mask = far > max(STANDS_OUT, 4 * float(np.median(far)))
    mask &= ~(
        (chroma < max(4.0, 3 * float(np.median(chroma)))) & (apart[..., 0] < 0) & (own[..., 0] > SHADOW * empty[..., 0])
    )
    small = np.ones((3, 3), np.uint8)
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, small)
    return np.asarray(cv2.morphologyEx(closed, cv2.MORPH_OPEN, small), bool)


def _agreed(votes: Sequence[tuple[str, float]]) -> tuple[str, float]:
    """The name that most patches bear, and how sure: the share of them times that of their pixels."""
    named = [v for v in votes if v[0]]
    if not named:
        return "", 0.0
    word, count = Counter(w for w, _ in named).most_common(1)[0]
    share = count / len(votes)
    return (word, share * float(np.mean([s for w, s in named if w == word]))) if share > 0.5 else ("", 0.0)


def _large(boxes: Sequence[tuple[Picture, Floats]]) -> list[tuple[Picture, Floats]]:
    """Boxes of at least PIXELS in pictures that have colours."""
    return [(p, b) for p, b in boxes if float(b[3]) * p.shape[0] >= PIXELS and coloured(p)]


def balanced(picture: Picture) -> Picture:
    """A picture under white light, as far as its bright parts tell of it."""
    small = cv2.resize(picture, (64, 48), interpolation=cv2.INTER_AREA).astype(np.float32).reshape(-1, 3)
    light = (small**NORM).mean(0) ** (1 / NORM)
    gain = np.clip(light.mean() / np.maximum(light, 1), 1 / GAIN, GAIN)
    found: Picture = np.clip(picture * gain, 0, 255).astype(np.uint8)
    return found


def figure_of(picture: Picture, box: Floats, mask: Mask) -> tuple[Floats, Mask] | None:
    """Of a box the rows in which something stands out, in CIELAB [H, W, 3], and which of their pixels do; None where hardly any does.

    mask: of the whole picture, by `standing_out`.
    """
    own = cut(mask, box, (0, 1), (0, 1))
    rows = np.flatnonzero(own.sum(1) >= 2)
    if len(rows) < 0.7 * PIXELS:
        return None
    part = slice(rows[0], rows[-1] + 1)
    return lab_of(cut(raised(picture), box, (0, 1), (0, 1))[part]), own[part]


def person_of(picture: Picture, box: Floats) -> tuple[Floats, Mask]:
    """A box scaled to TALL rows, in CIELAB [TALL, W, 3], and which of its pixels are the person: bool [TALL, W], none where GrabCut fails."""
    around = np.array([box[0] - 0.15 * box[2], box[1] - 0.05 * box[3], 1.3 * box[2], 1.1 * box[3]])
    crop = cut(picture, np.clip(around, 0, 1).astype(np.float32), (0, 1), (0, 1))
    height, width = picture.shape[:2]
    left, top = max(0, int(around[0] * width)), max(0, int(around[1] * height))
    scale = TALL / (float(box[3]) * height)
    size = (max(8, round(crop.shape[1] * scale)), max(8, round(crop.shape[0] * scale)))
    crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    x, y = round((float(box[0]) * width - left) * scale), round((float(box[1]) * height - top) * scale)
    x, y, w = max(x, 0), max(y, 0), max(4, round(float(box[2]) * width * scale))
    mask = np.full(crop.shape[:2], cv2.GC_BGD, np.uint8)
    mask[y : y + TALL, x : x + w] = cv2.GC_PR_BGD
    mask[y + round(0.05 * TALL) : y + round(0.95 * TALL), x + round(0.2 * w) : x + round(0.8 * w)] = cv2.GC_PR_FGD
    mask[y + round(0.25 * TALL) : y + round(0.7 * TALL), x + round(0.42 * w) : x + round(0.58 * w)] = cv2.GC_FGD
    try:
        cv2.grabCut(crop, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # too few pixels of either kind
        mask[:] = cv2.GC_BGD
    inside = (slice(y, y + TALL), slice(x, x + w))
    return lab_of(crop)[inside], np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))[inside]


def _garment(lab: Floats, person: Mask, rows: tuple[float, float], called: Callable[[str], str]) -> str:
    """The name of most of a person's pixels between shares of the height, skin left out; '' where they do not agree."""
    part = (
        slice(round(rows[0] * len(lab)), round(rows[1] * len(lab))),
        slice(lab.shape[1] // 5, lab.shape[1] * 4 // 5),
    )
    own, pixels = person[part].ravel(), lab[part].reshape(-1, 3)
    if own.sum() < 20 or own.mean() < 0.3:
        return ""
    pixels = pixels[own][:: max(1, int(own.sum()) // 300)]
    skin = np.array([_skin(p) for p in pixels])
    if skin.mean() > 0.5:
        return ""
    names = [name_of(*map(float, p)) for p in pixels[~skin]]
    if (pixels[~skin, 0] < SHADE).mean() >= SURELY and called("dark grey") == "dark":
        return "dark"
    word, count = Counter(called(name) for name in names).most_common(1)[0]
    return word if count >= SURELY * len(names) else ""


def _cloth(word: str) -> str:
    """What a garment's colour is called: nobody tells black from dark blue or dark grey in a small box."""
    return "dark" if word in ("black", "dark grey") else word


def _flat(word: str) -> str:
    """The same of a cloth whose every pixel is known to be its own: black in folds is black."""
    return "black" if word == "dark grey" else word


def garments_of(
    boxes: Sequence[tuple[Picture, Floats]], masks: Sequence[Mask] | None = None
) -> dict[str, tuple[str, float]]:
    """The colours of a person's top and trousers from one's boxes in some pictures, and how sure; ('', 0) where none is.

    masks: what stands out of the empty scene, one a box, where that is known. Named only where the box has the shape of one who stands: of
    others the top is not where it is looked for.
    """
    votes = _by_agreement(boxes) if masks is None else _by_standing_out(boxes, masks)
    return {name: _agreed(own) for name, own in votes.items()}


def _by_standing_out(
    boxes: Sequence[tuple[Picture, Floats]], masks: Sequence[Mask]
) -> dict[str, list[tuple[str, float]]]:
    votes: dict[str, list[tuple[str, float]]] = {name: [] for name in ROWS}
    for (picture, box), mask in zip(boxes, masks, strict=True):
        figure = figure_of(picture, box, mask) if _shape(picture, box) >= BENT else None
        if figure is None:
            continue
        for name in votes:
            seen = name == "top" or float(box[1] + box[3]) <= CUT
            word = _garment(*figure, REGIONS[name], _flat) if seen else ""
            votes[name].append((word, 1.0 if word else 0.0))
    return votes


def _by_agreement(boxes: Sequence[tuple[Picture, Floats]]) -> dict[str, list[tuple[str, float]]]:
    votes: dict[str, list[tuple[str, float]]] = {name: [] for name in ROWS}
    for picture, box in [(p, b) for p, b in _large(boxes) if UPRIGHT[0] <= _shape(p, b) <= UPRIGHT[1]]:
        patches = {name: cut(picture, box, rows, COLUMNS[name]) for name, rows in ROWS.items()}
        told = {name: patch_name(p) for name, p in patches.items() if p.size}
        if float(box[1] + box[3]) > CUT:
            told["trousers"] = ("", 0.0)
        person = person_of(balanced(picture), box) if any(word for word, _ in told.values()) else None
        for name, (word, share) in told.items():
            same = word and person is not None and _garment(*person, REGIONS[name], _cloth) == _cloth(word)
            votes[name].append((_cloth(word), share) if same else ("", 0.0))
    return votes


def _shape(picture: Picture, box: Floats) -> float:
    """Height over width of a box, in pixels."""
    found: float = float(box[3]) * picture.shape[0] / (float(box[2]) * picture.shape[1])
    return found


def worn(garments: Mapping[str, tuple[str, float]]) -> tuple[str, float]:
    """Garments in words, such as 'a red top and dark trousers', and how sure they are; ('', 0) for none."""
    (top, sure), (low, surer) = garments["top"], garments["trousers"]
    words = [f"a {top} top" if top else "", f"{low} trousers" if low else ""]
    said = " and ".join(w for w in words if w)
    return said.replace("a orange", "an orange"), min(s for s in (sure, surer) if s) if said else 0.0


def clothes_of(boxes: Sequence[tuple[Picture, Floats]], masks: Sequence[Mask] | None = None) -> tuple[str, float]:
    """What a person wears, as `garments_of` finds it, in words; and how sure."""
    return worn(garments_of(boxes, masks))


def vehicle_colour(boxes: Sequence[tuple[Picture, Floats]]) -> tuple[str, float]:
    """The colour of a vehicle's middle, and how sure."""
    patches = [cut(p, b, (0.35, 0.75), (0.2, 0.8)) for p, b in _large(boxes)]
    word, sure = _agreed([patch_name(p) for p in patches if p.size])
    return (f"{word} vehicle" if word else ""), sure


def light_of(pictures: Sequence[Picture]) -> list[Fact]:
    """Whether a scene is dark, and whether the camera shows colours."""
    if not pictures:
        return []
    lightness = float(np.median([lab_of(cv2.resize(p, (48, 36)))[..., 0].mean() for p in pictures]))
    grey = sum(not coloured(p) for p in pictures) > len(pictures) / 2
    found = [Fact("light", "in the dark", lightness, 0.8)] if lightness < DARK else []
    return [*found, Fact("grey", "the picture has no colours", 1.0, 0.9)] if grey else found
