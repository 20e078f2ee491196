"""General questions with sure answers, to see what tuning forgets: a tuned model that explains clips may no longer name a red circle.

In: a count and a seed. Out: pictures with a question and the word of the right answer. Knows no model and no clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

COLOURS = {
    "red": (210, 40, 40), "blue": (50, 70, 200), "green": (40, 160, 60), "yellow": (230, 210, 50), "black": (20, 20, 20),
    "white": (240, 240, 240),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle")
NUMBERS = ("one", "two", "three", "four")
SIZE = 224


@dataclass(frozen=True)
class Question:
    """picture uint8 RGB [224, 224, 3]; the words that are right, lower case; what else might have been said."""

    picture: npt.NDArray[np.uint8]
    text: str
    right: frozenset[str]
    others: frozenset[str]

    def marked(self, answer: str) -> bool:
        """Whether an answer names what is right, and nothing else that it might have been."""
        said = set(answer.lower().replace(".", " ").replace(",", " ").split())
        return bool(said & self.right) and not said & self.others


def draw(picture: npt.NDArray[np.uint8], shape: str, x: int, y: int, size: int, colour: tuple[int, int, int]) -> None:
    """One filled shape around (x, y)."""
    if shape == "circle":
        cv2.circle(picture, (x, y), size, colour, -1, cv2.LINE_AA)
    elif shape == "square":
        cv2.rectangle(picture, (x - size, y - size), (x + size, y + size), colour, -1)
    else:
        corners = np.array([[x, y - size], [x - size, y + size], [x + size, y + size]])
        cv2.fillPoly(picture, [corners], colour, cv2.LINE_AA)


def questions(count: int, seed: int = 0) -> list[Question]:
    """`count` questions about colour, shape, number and place, in turn; the same on every machine."""
    rng = np.random.default_rng([seed, 71])
    return [_question(k % 4, rng) for k in range(count)]


def _question(kind: int, rng: np.random.Generator) -> Question:
    tone = int(rng.integers(110, 170))
    picture = np.full((SIZE, SIZE, 3), tone, np.uint8)
    colour, shape = str(rng.choice(list(COLOURS))), str(rng.choice(SHAPES))
    size = int(rng.integers(18, 30))
    if kind == 2:
        number = int(rng.integers(1, 5))
        for k in range(number):
            draw(picture, shape, 28 + 55 * k, int(rng.integers(50, 170)), 20, COLOURS[colour])
        right = {NUMBERS[number - 1], str(number)}
        every = {*NUMBERS, *map(str, range(1, 5))}
        return Question(picture, f"How many {shape}s are there?", frozenset(right), frozenset(every - right))
    left = bool(rng.integers(2))
    draw(picture, shape, 60 if left else 164, int(rng.integers(60, 160)), size, COLOURS[colour])
    if kind == 0:
        return Question(
            picture, f"What colour is the {shape}?", frozenset({colour}), frozenset(set(COLOURS) - {colour})
        )
    if kind == 1:
        return Question(picture, f"Which shape is {colour}?", frozenset({shape}), frozenset(set(SHAPES) - {shape}))
    side, other = ("left", "right") if left else ("right", "left")
    return Question(picture, f"On which side is the {shape}?", frozenset({side}), frozenset({other}))
