"""The server's own loaded models: words for search, explanations and answers while somebody waits. One at a time, loaded when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from threading import Lock

import numpy as np
import numpy.typing as npt

from vlad.config import Settings
from vlad.errors import InputError
from vlad.explainers.explain import PromptedExplainer
from vlad.explainers.preview import Counter, Preview, preview
from vlad.library import Library
from vlad.library.findings import segment_of
from vlad.library.tables import SegmentRow, Video
from vlad.pipeline import Analyzer
from vlad.prompting import Prompt, Templates
from vlad.types import Analysis, Explanation
from vlad.types import Video as VideoFacts
from vlad.video import sha256_file

from .limits import one_of, refusal
from .search import EVERYDAY

NANO = "nano"


class Models:
    """settings: of the server. Templates follow their files."""

    def __init__(self, settings: Settings, analyzer: Analyzer | None = None) -> None:
        self.settings, self.analyzer = settings, analyzer or Analyzer(settings)
        self.templates = Templates(settings.prompts)
        self._everyday: npt.NDArray[np.float32] | None = None
        self._count: Counter | None = None
        self._lock, self._loading = Lock(), Lock()

    @property
    def least(self) -> float:
        """Cosine below which words match no moment well; 0 for an encoder that was not calibrated."""
        return float(getattr(self.analyzer.encoder, "least_likeness", 0.0))

    def _turn(self) -> AbstractContextManager[None]:
        """The models, for one at a time. Raises HTTPException 503 where others keep them for longer than a moment."""
        return one_of(self._lock, refusal(503, "the model answers somebody else; try again in a moment", 5))

    def words(self, words: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Words, and EVERYDAY beside them, as unit vectors [D] and [N, D] in the space of pictures."""
        with self._turn():
            if self._everyday is None:
                self._everyday = self.analyzer.encoder.embed_text(list(EVERYDAY))
            return self.analyzer.encoder.embed_text([words])[0], self._everyday

    def explain(self, library: Library, video: Video, row: SegmentRow, prompt: Prompt) -> Explanation:
        """Other words for a segment, by a template. Raises VladError."""
        said = {"said": str((row.explanation or {}).get("text", ""))}
        facts = facts_of_video(library, video, leaves=bool(self.settings.server))
        with self._turn():
            explainer = PromptedExplainer(self.analyzer.engine(), prompt, self.settings)
            (found,) = explainer(facts, library.track(video.id), [segment_of(row)], values=[said])
        return found

    def chat(
        self, library: Library, video: Video, row: SegmentRow, question: str, turns: Sequence[tuple[str, str]],
        on_piece: Callable[[str], None] | None = None,
    ) -> str:  # fmt: skip
        """An answer to a question about a segment; on_piece gets its words as they come. Raises VladError."""
        analysis = analysis_of(library, video, row, leaves=bool(self.settings.server))
        with self._turn():
            return self.analyzer.chat(analysis, segment_of(row), turns=turns).ask(question, on_piece)

    def preview(self, library: Library, video: Video, row: SegmentRow, prompt: Prompt) -> Preview:
        """What the model would get for a segment by a template; no model is asked. Raises VladError."""
        return preview(
            self.settings, analysis_of(library, video, row), segment_of(row), prompt=prompt, counter=self._counter()
        )

    def _counter(self) -> Counter | None:
        if self.settings.server:
            return None
        with one_of(self._loading, refusal(503, "the model's words are being loaded; try again in a moment", 5)):
            self._count = self._count or Counter(self.settings)
            return self._count


def analysis_of(library: Library, video: Video, row: SegmentRow, *, leaves: bool = False) -> Analysis:
    """A clip's analysis with one segment of it and what was said of that. leaves: see facts_of_video. Raises InputError before it was analysed."""
    segment = segment_of(row)
    said = row.explanation or {}
    told = Explanation(
        segment, said.get("verdict", "unclear"), str(said.get("text", "")), dict(said.get("fields") or {}),
        times=tuple(said.get("times", ())),
    )  # fmt: skip
    return Analysis(facts_of_video(library, video, leaves=leaves), library.track(video.id), (segment,), (told,))


def facts_of_video(library: Library, video: Video, *, leaves: bool = False) -> VideoFacts:
    """A clip's facts with where it lies. leaves: its pictures go to another machine, so that it is the covered one where people are covered.

    Raises InputError before it was analysed, or covered.
    """
    if not video.facts:
        raise InputError("video: not analysed yet")
    facts = VideoFacts(**{**video.facts, "gaps": tuple((a, b) for a, b in video.facts["gaps"])})
    path = library.shown(video.id) if leaves else library.clip(video.id)
    return replace(facts, path=str(path), sha256=facts.sha256 if path == library.clip(video.id) else sha256_file(path))


def cannot(settings: Settings) -> dict[str, str]:
    """What the models of these settings are not fit for, a sentence each to be read before anybody tries; '' where they are.

    The embedded default measures, and was taught on photos and rendered scenes: what people do it hardly knows.
    """
    small = not settings.server and settings.explainer == NANO
    words = {
        "chat": "The built-in model answers from what was measured alone: how many, how fast, how close, which colours, where and when.",
        "explain": "The built-in model tells what was measured; it names what happens only where it is sure, and may still be wrong.",
    }
    seen = settings.encoder == NANO
    search = "With the built-in model words find scenes and things (people, cars, fire, a shop), hardly what people do; the presets clip-b16 and clip-l14 know more."
    return {
        "chat": words["chat"] if small else "",
        "explain": words["explain"] if small else "",
        "search": search if seen else "",
    }
