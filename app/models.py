"""The server's own loaded models: words for search, explanations and answers while somebody waits. One at a time, loaded when first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Lock

import numpy as np
import numpy.typing as npt

from vlad.config import Settings
from vlad.errors import InputError
from vlad.explainers.explain import PromptedExplainer
from vlad.library import Library
from vlad.library.store import segment_of
from vlad.library.tables import SegmentRow, Video
from vlad.pipeline import Analyzer
from vlad.prompting import Templates
from vlad.types import Analysis, Explanation
from vlad.types import Video as VideoFacts


class Models:
    """settings: of the server. Templates follow their files."""

    def __init__(self, settings: Settings, analyzer: Analyzer | None = None) -> None:
        self.settings, self.analyzer = settings, analyzer or Analyzer(settings)
        self.templates = Templates(settings.prompts)
        self._lock = Lock()

    def words(self, words: str) -> npt.NDArray[np.float32]:
        """Words as a unit vector in the space of pictures."""
        with self._lock:
            vector: npt.NDArray[np.float32] = self.analyzer.encoder.embed_text([words])[0]
            return vector

    def explain(self, library: Library, video: Video, row: SegmentRow, prompt: str) -> Explanation:
        """Other words for a segment, by a template. Raises VladError."""
        template = self.templates(prompt)
        said = {"said": str((row.explanation or {}).get("text", ""))}
        facts = facts_of_video(library, video)
        with self._lock:
            explainer = PromptedExplainer(self.analyzer.engine(), template, self.settings)
            (found,) = explainer(facts, library.track(video.id), [segment_of(row)], values=[said])
        return found

    def chat(
        self, library: Library, video: Video, row: SegmentRow, question: str, turns: Sequence[tuple[str, str]]
    ) -> str:
        """An answer to a question about a segment. Raises VladError."""
        segment = segment_of(row)
        said = Explanation(segment, "unclear", str((row.explanation or {}).get("text", "")))
        analysis = Analysis(facts_of_video(library, video), library.track(video.id), (segment,), (said,))
        with self._lock:
            return self.analyzer.chat(analysis, segment, turns=turns).ask(question)


def facts_of_video(library: Library, video: Video) -> VideoFacts:
    """A clip's facts with where it lies. Raises InputError before it was analysed."""
    if not video.facts:
        raise InputError("video: not analysed yet")
    facts = {**video.facts, "gaps": tuple((a, b) for a, b in video.facts["gaps"])}
    return replace(VideoFacts(**facts), path=str(library.clip(video.id)))
