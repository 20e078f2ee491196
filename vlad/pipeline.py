"""The straight line: a clip's path goes in, an Analysis comes out.

Holds the loaded models and alone knows the order of the rooms. Knows no terminal, no page and no truth.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from vlad.config import Settings, make_settings
from vlad.errors import InputError, SettingsError
from vlad.prompting import load_prompt
from vlad.segments import find_segments
from vlad.types import Analysis, Encoder, Explainer, Explanation, Features, Scorer, ScoreTrack, Segment, Snippet, Video
from vlad.video import Clip, frames_at, open_video

if TYPE_CHECKING:
    from vlad.cache import FeatureCache
    from vlad.explainers.engine import Engine
    from vlad.explainers.explain import Chat

PACKAGES = ("vlad", "torch", "open_clip_torch", "transformers", "av", "numpy")
THUMBNAIL = 240  # pixels of the short side
ENTER, LEAVE = 0.5, 0.4  # score at which a segment opens, and the share of it down to which it extends
Progress = Callable[[str, float, float | None], None]


class SizedEncoder(Encoder, Protocol):
    """An encoder that says how large (pixels, short side) it wants its frames, and embeds sentences too."""

    @property
    def size(self) -> int: ...
    def embed_text(self, texts: list[str]) -> npt.NDArray[np.float32]: ...


class Analyzer:
    """Loaded models, ready for many clips. Each model is loaded when first needed, unless one is handed in.

    encoder, scorer, explainer: anything that keeps the Protocols of `vlad.types` (a plain function will do).
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        encoder: SizedEncoder | None = None,
        scorer: Scorer | None = None,
        explainer: Explainer | None = None,
    ) -> None:
        self.settings = settings or make_settings()
        self._encoder, self._scorer, self._explainer = encoder, scorer, explainer

    def __call__(
        self,
        path: str | os.PathLike[str],
        *,
        on_progress: Progress | None = None,
        on_text: Callable[[int, str], None] | None = None,
    ) -> Analysis:
        """Analyse one clip.

        on_progress(stage, done, total or None): stage "features" counts seconds of the clip, "explanations" segments.
        on_text(index, piece): the words of explanation `index` as they come.
        Raises a VladError of one line for whatever a clip, a setting or missing weights can cause.
        """
        report = on_progress or (lambda stage, done, total: None)
        features, video, warnings = self.features(path, on_progress=report)
        found = self.flagged(features, video, warnings)
        if not self.settings.explain:
            return found
        explanations = self.explain(video, found.track, found.segments, on_progress=report, on_text=on_text)
        told = {"explainer": explanations[0].model, "prompt": explanations[0].prompt} if explanations else {}
        return replace(found, explanations=explanations, made_by={**found.made_by, **told})

    def flagged(self, features: Features, video: Video, warnings: Sequence[str] = ()) -> Analysis:
        """The analysis of a clip's features without explanations: scores first, words later."""
        track, s = self.score(features), self.settings
        enter, leave = self._thresholds()
        segments = find_segments(
            track, smooth_seconds=s.smooth_seconds, enter=enter, leave=leave,
            merge_gap=s.merge_gap, min_length=s.min_length,
        )  # fmt: skip
        return Analysis(video, track, segments, (), self._made_by(features, warnings))

    def features(
        self, path: str | os.PathLike[str], *, on_progress: Progress | None = None
    ) -> tuple[Features, Video, list[str]]:
        """The first half of the line: a clip's features, facts and warnings, from the cache if they are there."""
        report = on_progress or (lambda stage, done, total: None)
        encoder = self.encoder
        key = fingerprint(encoder.name, self.settings)
        cache = self._open_cache()
        with open_video(path, self.settings, size=encoder.size) as clip:
            found = cache.get(clip.sha256, key) if cache else None
            if found:
                features, video = found[0], replace(found[1], path=os.fspath(path))
                warnings = [f"{len(video.gaps)} gaps could not be decoded"] if video.gaps else []
            else:
                features = encoder(_told(clip, report))
                video, warnings = clip.video, list(clip.warnings)
                if cache:
                    cache.put(video.sha256, key, features, video)
        report("features", video.duration, video.duration)
        return features, video, warnings

    def _open_cache(self) -> FeatureCache | None:
        if self.settings.cache is None:
            return None
        from vlad.cache import FeatureCache

        return FeatureCache(self.settings.cache)

    @property
    def encoder(self) -> SizedEncoder:
        """The encoder, loaded if it was not."""
        if self._encoder is None:
            from vlad.encoder import load_encoder

            self._encoder = load_encoder(self.settings)
        return self._encoder

    def score(self, features: Features) -> ScoreTrack:
        """The timeline of features. Raises MismatchError for those of another encoder."""
        return self.scorer(features)

    @property
    def scorer(self) -> Scorer:
        """The scorer, loaded if it was not."""
        if self._scorer is None:
            from vlad.scorers import load_scorer

            self._scorer = load_scorer(self.settings, self.encoder)
        return self._scorer

    def _thresholds(self) -> tuple[float, float]:
        """The settings' own, else those the scorer was calibrated to, else .5 and .2."""
        s, calibrated = self.settings, getattr(self._scorer, "enter", None)
        enter = s.enter if s.enter is not None else calibrated if calibrated is not None else ENTER
        return enter, min(s.leave, enter) if s.leave is not None else LEAVE * enter

    def explain(
        self,
        video: Video,
        track: ScoreTrack,
        segments: Sequence[Segment],
        *,
        on_progress: Progress | None = None,
        on_text: Callable[[int, str], None] | None = None,
        values: Mapping[Segment, Mapping[str, str]] | None = None,
    ) -> tuple[Explanation, ...]:
        """One explanation for each of `segments`, or for those with the highest peaks where there are too many.

        values: more that a template may ask for, by segment.
        """
        report = on_progress or (lambda stage, done, total: None)
        chosen = sorted(segments, key=lambda s: -s.peak)[: self.settings.max_explanations]
        chosen.sort(key=lambda s: s.start)
        if not chosen:
            return ()
        explainer = self.explainer
        report("explanations", 0, len(chosen))

        def heard(index: int, piece: str) -> None:
            report("explanations", index, len(chosen))
            if on_text:
                on_text(index, piece)

        values = self._with_examples(video, chosen, values)
        # A plain function need not know of values.
        told = {"values": [values.get(s, {}) for s in chosen]} if values else {}
        explanations = tuple(explainer(video, track, chosen, on_text=heard, **told))
        report("explanations", len(chosen), len(chosen))
        return explanations

    def _with_examples(
        self, video: Video, segments: Sequence[Segment], values: Mapping[Segment, Mapping[str, str]] | None
    ) -> Mapping[Segment, Mapping[str, str]] | None:
        """Values with the nearest confirmed descriptions, where the settings name a bank of them. Raises InputError, MismatchError."""
        parts = getattr(self.encoder, "parts", (0, 0)) if self.settings.examples else (0, 0)
        if self.settings.examples is None or not parts[0]:
            return values
        from vlad.explainers.examples import load_bank, told

        bank = load_bank(self.settings.examples, self.encoder.name)
        found = told(bank, self.features(video.path)[0], segments, parts[0])
        return {s: {**(values or {}).get(s, {}), **found[s]} for s in segments}

    @property
    def explainer(self) -> Explainer:
        """The explainer, loaded if it was not."""
        if self._explainer is None:
            from vlad.explainers import load_explainer

            self._explainer = load_explainer(self.settings)
        return self._explainer

    def engine(self) -> Engine:
        """The language model behind the explainer, for summaries and questions. Raises SettingsError where a plain function explains."""
        engine: Engine | None = getattr(self.explainer, "engine", None)
        if engine is None:
            raise SettingsError("this explainer has no language model to ask")
        return engine

    def explain_again(
        self,
        analysis: Analysis,
        *,
        segments: Sequence[Segment] | None = None,
        on_progress: Progress | None = None,
        on_text: Callable[[int, str], None] | None = None,
    ) -> Analysis:
        """The same analysis with other words for its segments, or for some of them; its scores stay as they are. Raises InputError for another clip."""
        check_clip(analysis)
        wanted = analysis.segments if segments is None else tuple(segments)
        said = {e.segment: {"said": e.text} for e in analysis.explanations}
        new = self.explain(
            analysis.video, analysis.track, wanted, on_progress=on_progress, on_text=on_text, values=said
        )
        fresh = {e.segment: e for e in new}
        kept = {e.segment: e for e in analysis.explanations} | fresh
        ordered = tuple(kept[s] for s in analysis.segments if s in kept)
        told = {"explainer": new[0].model, "prompt": new[0].prompt} if new else {}
        return replace(analysis, explanations=ordered, made_by={**analysis.made_by, **told})

    def summarise(self, analysis: Analysis) -> Analysis:
        """The analysis with a summary by the template `summarise`, from what was said of its segments."""
        from vlad.explainers.explain import summarise

        prompt = load_prompt("summarise", self.settings.prompts)
        return replace(analysis, summary=summarise(self.engine(), prompt, analysis, self.settings))

    def chat(self, analysis: Analysis, segment: Segment, *, turns: Sequence[tuple[str, str]] = ()) -> Chat:
        """Questions about a segment, by the template `chat`. Raises InputError for another clip."""
        from vlad.explainers.explain import Chat

        check_clip(analysis)
        return Chat(
            self.engine(), load_prompt("chat", self.settings.prompts), self.settings, analysis, segment, turns=turns
        )

    def _made_by(self, features: Features, warnings: Sequence[str]) -> dict[str, Any]:
        return {
            "versions": versions(),
            "encoder": features.encoder,
            "scorer": str(getattr(self._scorer, "name", self.settings.scorer)),
            "explainer": "",
            "prompt": "",
            "settings": self.settings.model_dump(mode="json", exclude={"cache"})
            | dict(zip(("enter", "leave"), self._thresholds(), strict=True)),
            "warnings": list(warnings),
        }


def check_clip(analysis: Analysis) -> None:
    """Raise InputError unless the clip is where the analysis says, and is the one that was analysed."""
    path = analysis.video.path
    try:
        with open(path, "rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == analysis.video.sha256
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name where the clip is now with --clip") from None
    if not same:
        raise InputError(f"{path}: not the clip that was analysed; name that one with --clip")


def fingerprint(encoder: str, settings: Settings) -> str:
    """Whatever decides the features besides the bytes of the clip. encoder: its `name@fingerprint`."""
    names = ("reader", "snippet_frames", "frames_per_snippet", "max_seconds", "precision")
    facts = json.dumps({name: getattr(settings, name) for name in names}, sort_keys=True)
    return f"{encoder}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"


def _told(clip: Clip, report: Progress) -> Iterator[Snippet]:
    for snippet in clip:
        yield snippet
        report("features", snippet.end, clip.duration_hint)


def versions() -> dict[str, str]:
    """Installed version of each package that decides a result; 'absent' where one is not installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def analyze(path: str | os.PathLike[str], **settings: Any) -> Analysis:
    """Analyse one clip with `make_settings(**settings)`; for many clips make one `Analyzer` and call it."""
    return Analyzer(make_settings(**settings))(path)


def save(
    analysis: Analysis, folder: str | os.PathLike[str], *, settings: Settings | None = None
) -> tuple[Path, Path, Path]:
    """Write NAME.json, NAME.csv and NAME.html into `folder` and return their paths.

    The page shows the frames the model saw; if the clip is no longer readable it is written without pictures.
    Raises OutputError where the folder cannot be written.
    """
    from vlad.report import save as save_report

    return save_report(analysis, Path(folder), frames=_pictures(analysis, settings or make_settings()))


def _pictures(analysis: Analysis, settings: Settings) -> dict[float, npt.NDArray[np.uint8]]:
    shown = {time for explanation in analysis.explanations for time in explanation.times}
    times = sorted(shown | {segment.peak_time for segment in analysis.segments})
    if not times:
        return {}
    try:
        return dict(zip(times, frames_at(analysis.video.path, times, settings, size=THUMBNAIL), strict=True))
    except InputError:
        return {}
