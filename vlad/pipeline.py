"""The straight line: a clip's path goes in, an Analysis comes out.

Holds the loaded models and alone knows the order of the rooms. Knows no terminal, no page and no truth.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from vlad.activity import VERSION as ACTIVITY
from vlad.config import Settings, make_settings
from vlad.elsewhere import Spans, looked_elsewhere
from vlad.elsewhere import words as elsewhere
from vlad.errors import InputError, SettingsError
from vlad.prompting import load_prompt
from vlad.segments import find_segments
from vlad.tracks import follow
from vlad.types import (
    Analysis,
    Encoder,
    Explainer,
    Explanation,
    Fact,
    Features,
    Scorer,
    ScoreTrack,
    Segment,
    Sighting,
    Snippet,
    Track,
    Video,
)
from vlad.video import Clip, frames_at, identify, open_video

if TYPE_CHECKING:
    from vlad.cache import FeatureCache
    from vlad.depth import Depth
    from vlad.explainers.engine import Engine
    from vlad.explainers.explain import Chat
    from vlad.objects import Detector
    from vlad.rules import Held, Rules

PACKAGES = ("vlad", "torch", "open_clip_torch", "transformers", "av", "numpy")
THUMBNAIL = 240  # pixels of the short side
PICTURES = 5  # of a segment from which colours are measured,
FIGURES = 9  # more where each is only what stands out of the empty scene
EMPTY, AROUND = (
    15,
    60.0,
)  # pictures of which the empty scene is made, and seconds before and after a segment from which they are
CLOSER = 8.0  # seconds of a segment that are looked at more closely
ENTER, LEAVE = 0.5, 0.4  # score at which a segment opens, and the share of it down to which it extends
Progress = Callable[[str, float, float | None], None]


class SizedEncoder(Encoder, Protocol):
    """An encoder that says how large (pixels, short side) it wants its frames, and embeds sentences too."""

    @property
    def size(self) -> int: ...
    def embed_text(self, texts: list[str]) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True)
class Watched:
    """The first half of the line: what a clip is, its features, what was seen in it, and what went wrong on the way."""

    features: Features
    video: Video
    sightings: tuple[Sighting, ...] = ()
    warnings: tuple[str, ...] = ()


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
        self.cache = self.settings.cache  # of features; a server keeps each clip's beside it
        self._encoder, self._scorer, self._explainer = encoder, scorer, explainer
        self._detector: Detector | None = None
        self._depth: Depth | None = None
        self._last: tuple[str, Watched] | None = None  # of the clip that was watched last: words come after scores
        self._closer: dict[tuple[str, float, float], tuple[Sighting, ...]] = {}
        self._elsewhere: tuple[str, Spans] | None = None  # of the clip and the background that were compared last
        self.zones: Rules | None = None  # whose zones, lines and metres facts tell of, where the settings name no rules
        self._speaking = threading.Lock()  # of all twins: a language model answers one at a time

    def share(self) -> None:
        """Load every model, so that twins of this Analyzer may each take a clip in a thread of their own; their frames go through the encoder together."""
        getattr(self.encoder, "share", lambda: None)()
        _ = self.scorer, self.settings.objects and self.detector, self.settings.explain and self.explainer

    def twin(self) -> Analyzer:
        """Another Analyzer with the same models, for another thread. Call `share` first."""
        other = copy.copy(self)
        other._last, other._closer, other._elsewhere = None, {}, None
        return other

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
        with self._speaking:
            explanations = self.explain(video, found.track, found.segments, on_progress=report, on_text=on_text)
        told = {"explainer": explanations[0].model, "prompt": explanations[0].prompt} if explanations else {}
        return replace(found, explanations=explanations, made_by={**found.made_by, **told})

    def flagged(self, features: Features, video: Video, warnings: Sequence[str] = ()) -> Analysis:
        """The analysis of a clip's features without explanations: scores first, words later."""
        track, s = self.score(features), self.settings
        if s.rules:
            from vlad.rules import applied

            track = applied(self._rules(), self.held(video), track)
            warnings = [*warnings, *(elsewhere(*span) for span in self.looked_elsewhere(video))]
        segments = self.segments(track)
        tracks = self.tracks(video, segments)
        return Analysis(video, track, segments, (), self._made_by(features, warnings), tracks=tracks)

    def segments(self, track: ScoreTrack) -> tuple[Segment, ...]:
        """The spans of a timeline worth a look, by the settings, or else the scorer's own threshold."""
        s, (enter, leave) = self.settings, self.thresholds
        return find_segments(
            track, smooth_seconds=s.smooth_seconds, enter=enter, leave=leave,
            merge_gap=s.merge_gap, min_length=s.min_length,
        )  # fmt: skip

    def features(
        self, path: str | os.PathLike[str], *, on_progress: Progress | None = None
    ) -> tuple[Features, Video, list[str]]:
        """A clip's features, facts and warnings, from the cache if they are there."""
        found = self.watch(path, on_progress=on_progress)
        return found.features, found.video, list(found.warnings)

    def watch(self, path: str | os.PathLike[str], *, on_progress: Progress | None = None) -> Watched:
        """The first half of the line: a clip's features and what was seen in it, from the cache if they are there."""
        report = on_progress or (lambda stage, done, total: None)
        encoder = self.encoder
        gated = self.gated
        key = fingerprint(encoder.name, self.settings, gated=gated)
        cache = self._open_cache()
        digest = identify(path, self.settings, lambda done, total: report("reading", done, total))
        kept = cache.get(digest, key) if cache else None
        if self._last and self._last[0] == digest + key:
            found = replace(self._last[1], video=replace(self._last[1].video, path=os.fspath(path)))
        elif kept:
            video = replace(kept[1], path=os.fspath(path))
            gaps = (f"{len(video.gaps)} gaps could not be decoded",) if video.gaps else ()
            found = Watched(kept[0], video, kept[2], kept[3] or gaps)
        else:
            with open_video(path, self.settings, size=encoder.size, sha256=digest, gated=gated) as clip:
                found = self._watch(clip, report)
            if cache:
                cache.put(digest, key, found.features, found.video, found.sightings, found.warnings)
        self._last = digest + key, found
        report("features", found.video.duration, found.video.duration)
        return found

    @property
    def gated(self) -> bool:
        """Whether nobody looks where nothing moves: never for who learnt what is normal, or how fast, from every moment."""
        settings = self.settings
        return settings.gating and not settings.speeds and self._head() != "normality"

    def _head(self) -> str:
        """The kind of the scorer's head, by its folder where it is not loaded yet."""
        if self._scorer is not None:
            return str(getattr(self._scorer, "name", ""))
        try:
            return str(json.loads((Path(self.settings.scorer_weights) / "head.json").read_text())["kind"])
        except (OSError, ValueError, KeyError, TypeError):  # nano's own, or one whose loading will say what is wrong
            return self.settings.scorer

    def _watch(self, clip: Clip, report: Progress) -> Watched:
        """Decode a clip once for both the encoder and the detector."""
        snippets = _told(clip, report)
        if not self.settings.objects:
            features = self.encoder(snippets)
            return Watched(features, clip.video, (), tuple(clip.warnings))
        from vlad.objects import Watch

        watch = Watch(snippets, self.detector, rate=self.settings.objects_rate)
        features = self.encoder(watch)
        return Watched(features, clip.video, tuple(watch.sightings), tuple(clip.warnings))

    @property
    def detector(self) -> Detector:
        """What sees people and things, loaded if it was not."""
        if self._detector is None:
            from vlad.objects import load_detector

            self._detector = load_detector(self.settings)
        return self._detector

    def tracks(self, video: Video, segments: Sequence[Segment] = ()) -> tuple[Track, ...]:
        """People and things that were followed through a clip, with a closer look at the flagged `segments`; () where none are looked for."""
        if not self.settings.objects:
            return ()
        if self._last is None or not self._last[0].startswith(video.sha256):
            self.watch(video.path)
        assert self._last is not None
        seen = {_moment(s): s for s in self._last[1].sightings}
        for segment in segments[: self.settings.max_explanations]:
            seen |= {_moment(s): s for s in self._look_closer(video, segment)}
        return follow(seen[time] for time in sorted(seen))

    def _rules(self) -> Rules:
        """The settings' rules. Raises InputError that names every fault."""
        from vlad.rules import read

        assert self.settings.rules is not None
        return read(self.settings.rules)

    def _places(self) -> Rules | None:
        """The settings' rules, or those of the camera that a library knows."""
        return self._rules() if self.settings.rules else self.zones

    def held(self, video: Video) -> list[Held]:
        """When each of the settings' rules holds in a clip, by its tracks and the time in its name; none without rules."""
        if not self.settings.rules:
            return []
        from vlad.clock import from_name
        from vlad.rules import held

        began = from_name(Path(video.path).name)
        here = datetime.now(UTC).astimezone().tzinfo
        clock = (began, here) if began is not None and here is not None else None
        return held(
            self._rules(), self.tracks(video), video.duration, aspect=video.width / video.height, clock=clock,
            paused=self._moved(video),
        )  # fmt: skip

    def _moved(self, video: Video) -> list[tuple[float, float]]:
        """Spans (s) in which the camera was moved, by the rules' background: what they say of places does not hold then."""
        return [(start, end) for state, start, end in self.looked_elsewhere(video) if state == "moved"]

    def looked_elsewhere(self, video: Video) -> Spans:
        """Spans (state, start, end; s) in which the camera was `moved`, or its picture is `unlike` the rules' background; () where rules name none."""
        rules = self._places()
        before = rules.background if rules else None
        if before is None:
            return ()
        key = video.sha256 + before.text()
        if self._elsewhere is None or self._elsewhere[0] != key:
            self._elsewhere = key, looked_elsewhere(before, video.path, video.duration, self.settings)
        return self._elsewhere[1]

    def _look_closer(self, video: Video, segment: Segment) -> tuple[Sighting, ...]:
        """More looks at a segment, around its peak where it is long."""
        rate = self.settings.objects_closer
        key = (video.sha256, segment.start, segment.end)
        if rate <= self.settings.objects_rate:
            return ()
        if key not in self._closer:
            start = max(segment.start, min(segment.peak_time - CLOSER / 2, segment.end - CLOSER))
            times = np.arange(start, min(start + CLOSER, segment.end), 1 / rate) + 0.5 / rate
            times = times[times < video.duration]
            try:
                frames = (
                    frames_at(video.path, times.tolist(), self.settings, size=self.encoder.size) if len(times) else []
                )
            except InputError:  # the clip is gone: what was seen on the way stays
                frames = []
            boxes = self.detector(frames)
            self._closer = {key: tuple(map(Sighting, times[: len(boxes)].tolist(), boxes))} | (
                self._closer if len(self._closer) < 64 else {}
            )
        return self._closer[key]

    def _open_cache(self) -> FeatureCache | None:
        if self.cache is None:
            return None
        from vlad.cache import FeatureCache

        return FeatureCache(self.cache)

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

    @property
    def thresholds(self) -> tuple[float, float]:
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
        shown: str = "",
    ) -> tuple[Explanation, ...]:
        """One explanation for each of `segments`, or for those with the highest peaks where there are too many.

        values: more that a template may ask for, by segment. shown: the file whose pictures the explainer gets, such as the clip with people covered; '' for the clip.
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
        facts = self._facts(video, chosen)
        if facts:
            from vlad.explainers.grounded import told as counted

            # colours, place and light come into a grounded explanation from the facts themselves
            words = counted if self._grounds() else lambda own: "; ".join(f.text for f in own)
            values = {s: {"facts": words(facts[s]), **(values or {}).get(s, {})} for s in chosen}
        # A plain function need not know of values.
        told = {"values": [values.get(s, {}) for s in chosen]} if values else {}
        seen = replace(video, path=shown) if shown else video
        explanations = tuple(explainer(seen, track, chosen, on_text=heard, **told))
        report("explanations", len(chosen), len(chosen))
        told_by = self._grounded(video, track, explanations, facts) if self._grounds() else explanations
        rules = self.held(video)
        return tuple(_with_rules(e, rules) for e in told_by) if rules else told_by

    def _grounds(self) -> bool:
        """Whether words are rendered from facts: always nano's, others' where the settings say so."""
        if self.settings.grounded is not None:
            return self.settings.grounded
        engine = getattr(self.explainer, "engine", None)
        return engine is not None and not self.settings.server and str(engine.name).split("+")[0].strip() == "nano"

    def facts(self, video: Video, segment: Segment) -> tuple[Fact, ...]:
        """What was measured of a segment; () where nobody looks for objects."""
        return self._facts(video, [segment]).get(segment, ())

    def _facts(self, video: Video, segments: Sequence[Segment]) -> dict[Segment, tuple[Fact, ...]]:
        """Facts of each segment; none where objects are not looked for, or an explainer is a plain function that reads no words."""
        if not self.settings.objects or getattr(self.explainer, "engine", None) is None:
            return {}
        from vlad.colours import empty_scene
        from vlad.explainers.grounded import FAMILIAR
        from vlad.facts import facts_of
        from vlad.relations import facts_of_relations
        from vlad.rules import facts_of_rules

        rules, moved = self._places(), self._moved(video)
        tracks, size = self.tracks(video, segments), self.encoder.size
        features = self.watch(video.path).features
        familiar = self._familiar(features)
        drawn = [familiar is not None and self._likeness(features, s, familiar) >= FAMILIAR for s in segments]
        shown = [_spread(s.start, s.end, FIGURES if d else PICTURES) for s, d in zip(segments, drawn, strict=True)]
        calm = [_spread(max(0.0, s.start - AROUND), min(video.duration, s.end + AROUND), EMPTY if d else 0)
                for s, d in zip(segments, drawn, strict=True)]  # fmt: skip
        every = [t for own in (*shown, *calm) for t in own]
        frames = dict(zip(every, frames_at(video.path, every, self.settings, size=size), strict=True))
        found = {}
        for segment, own, around in zip(segments, shown, calm, strict=True):
            span, aspect = (segment.start, segment.end), video.width / video.height
            found[segment] = (
                *facts_of(
                    tracks, span, aspect=aspect, pictures={t: frames[t] for t in own},
                    scene=empty_scene([frames[t] for t in around]),
                ),
                *facts_of_relations(tracks, span, aspect=aspect),
                *(facts_of_rules(rules, tracks, span, aspect=aspect) if rules and not any(a < span[1] and span[0] < b for a, b in moved) else []),
                *self._near_and_far(tracks, own[len(own) // 2], frames),
            )  # fmt: skip
        return found

    def _near_and_far(
        self, tracks: Sequence[Track], time: float, frames: Mapping[float, npt.NDArray[np.uint8]]
    ) -> list[Fact]:
        """Who is near and who far in the picture at `time`, where the settings name a depth model."""
        if not self.settings.depth:
            return []
        from vlad.depth import load_depth, near_and_far

        if self._depth is None:
            self._depth = load_depth(self.settings)
        return near_and_far(tracks, time, self._depth([frames[time]])[0])

    def _familiar(self, features: Features) -> npt.NDArray[np.float32] | None:
        """How much each snippet looks like the rendered world, in [0, 1]: float32 [T]; None where the scorer cannot tell."""
        of = getattr(self.scorer, "familiar", None)
        found: npt.NDArray[np.float32] | None = of(features) if of else None
        return found

    @staticmethod
    def _likeness(features: Features, segment: Segment, familiar: npt.NDArray[np.float32]) -> float:
        """The mean of `familiar` over a segment."""
        return float(familiar[_inside(features, segment)].mean())

    def _grounded(
        self, video: Video, track: ScoreTrack, said: Sequence[Explanation], facts: Mapping[Segment, tuple[Fact, ...]]
    ) -> tuple[Explanation, ...]:
        """Explanations whose fields and sentences rest on facts."""
        from vlad.explainers.grounded import Known, ground

        features = self.watch(video.path).features
        familiar = self._familiar(features)
        enter = self.thresholds[0]
        found = []
        looks = self._looks(video, [] if familiar is None else [e.segment for e in said], features, familiar)
        for explanation in said:
            segment = explanation.segment
            inside, share = _inside(features, segment), 0.0
            if track.classes is not None and segment.label in track.labels:
                weight = track.scores[inside] + 1e-6
                share = float((track.classes[inside, track.labels.index(segment.label)] * weight).sum() / weight.sum())
            like = None if familiar is None else self._likeness(features, segment, familiar)
            known = Known(facts.get(segment, ()), share, like, enter, looks.get(segment, ""))
            found.append(ground(explanation, known, track.labels))
        return tuple(found)

    def _looks(
        self, video: Video, segments: Sequence[Segment], features: Features, familiar: npt.NDArray[np.float32] | None
    ) -> dict[Segment, str]:
        """What the picture at the peak of real segments looks like, in words that the eye itself finds to match it; of others nothing."""
        from vlad.explainers.captioner import guess, load_captioner, seen_words
        from vlad.explainers.grounded import FAMILIAR

        least = float(getattr(self.encoder, "least_likeness", 0.0))
        real = [s for s in segments if familiar is not None and self._at(features, s.peak_time, familiar) < FAMILIAR]
        if not real or not least:
            return {}
        pictures = frames_at(video.path, [s.peak_time for s in real], self.settings, size=self.encoder.size)
        told = load_captioner()(pictures, [seen_words(boxes) for boxes in self.detector(pictures)])
        encoder: Any = self.encoder
        found = {}
        for segment, picture, (caption, _) in zip(real, pictures, told, strict=True):
            image = encoder.tower(encoder.pixels(picture[None]))[0].float().cpu().numpy()[0]
            if float(encoder.embed_text([caption])[0] @ image) >= least:
                found[segment] = guess(caption)
        return found

    @staticmethod
    def _at(features: Features, time: float, values: npt.NDArray[np.float32]) -> float:
        """The value of the snippet at a time (s)."""
        return float(values[min(max(int(np.searchsorted(features.edges, time, side="right")) - 1, 0), len(values) - 1)])

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
        from vlad.explainers.explain import notes_of, summarise

        prompt = load_prompt("summarise", self.settings.prompts)
        if self._grounds():  # nano invents what it summarises
            return replace(analysis, summary=notes_of(prompt, analysis, self.engine().name))
        return replace(analysis, summary=summarise(self.engine(), prompt, analysis, self.settings))

    def chat(self, analysis: Analysis, segment: Segment, *, turns: Sequence[tuple[str, str]] = ()) -> Chat:
        """Questions about a segment, by the template `chat`. Raises InputError for another clip."""
        from vlad.explainers.explain import Chat

        check_clip(analysis)
        facts = self.facts(analysis.video, segment) if self._grounds() else None
        return Chat(
            self.engine(),
            load_prompt("chat", self.settings.prompts),
            self.settings,
            analysis,
            segment,
            turns=turns,
            facts=facts,
        )

    def _made_by(self, features: Features, warnings: Sequence[str]) -> dict[str, Any]:
        return {
            "versions": versions(),
            "encoder": features.encoder,
            "scorer": str(getattr(self._scorer, "name", self.settings.scorer)),
            "explainer": "",
            "prompt": "",
            "settings": self.settings.model_dump(mode="json", exclude={"cache"})
            | dict(zip(("enter", "leave"), self.thresholds, strict=True)),
            "warnings": list(warnings),
        }


def _with_rules(explanation: Explanation, rules: Sequence[Held]) -> Explanation:
    """With a note for each rule that held in its segment."""
    span = explanation.segment
    names = dict.fromkeys(h.rule for h in rules if h.start < span.end and h.end > span.start)
    return replace(explanation, notes=(*explanation.notes, *(f"rule: {name}" for name in names)))


def _moment(seen: Sighting) -> float:
    """The millisecond of a look: two looks within one are one, since an analysis is written in milliseconds and its times rise."""
    return float(np.round(seen.time, 3))


def _inside(features: Features, segment: Segment) -> npt.NDArray[np.bool_]:
    """Which snippets a segment touches: bool [T]."""
    return (features.edges[1:] > segment.start) & (features.edges[:-1] < segment.end)


def _spread(start: float, end: float, count: int) -> list[float]:
    """`count` times (s) inside a span, evenly."""
    return [float(t) for t in np.linspace(start, end, count + 2)[1:-1]]


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


def fingerprint(encoder: str, settings: Settings, *, gated: bool = False) -> str:
    """Whatever decides the features besides the bytes of the clip. encoder: its `name@fingerprint`. gated: nobody looked where nothing moved."""
    names = ("snippet_frames", "frames_per_snippet", "max_seconds", "precision", "objects", "objects_rate",
             "object_score", "object_classes")  # fmt: skip
    told = {"reader": "pyav"} | {name: getattr(settings, name) for name in names}  # there was a second reader once
    told |= {"gated": ACTIVITY} if gated else {}
    facts = json.dumps(told, sort_keys=True)
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
    analysis: Analysis, folder: str | os.PathLike[str], *, settings: Settings | None = None, adopted: str = ""
) -> tuple[Path, Path, Path]:
    """Write NAME.json, NAME.csv and NAME.html into `folder` and return their paths.

    The page shows the frames the model saw; if the clip is no longer readable it is written without pictures. Of the model's words it
    shows none, unless `adopted` names who stands by them.
    Raises OutputError where the folder cannot be written.
    """
    from vlad.report import save as save_report

    return save_report(analysis, Path(folder), frames=_pictures(analysis, settings or make_settings()), adopted=adopted)


def illustrated(
    analyzer: Analyzer, path: str | os.PathLike[str], *, on_progress: Progress | None = None
) -> tuple[Analysis, dict[float, npt.NDArray[np.uint8]]]:
    """A clip's analysis, and the frames that its report shows, by time (s). Raises as `Analyzer` does."""
    analysis = analyzer(path, on_progress=on_progress)
    return analysis, _pictures(analysis, analyzer.settings)


def _pictures(analysis: Analysis, settings: Settings) -> dict[float, npt.NDArray[np.uint8]]:
    shown = {time for explanation in analysis.explanations for time in explanation.times}
    times = sorted(shown | {segment.peak_time for segment in analysis.segments})
    if not times:
        return {}
    try:
        return dict(zip(times, frames_at(analysis.video.path, times, settings, size=THUMBNAIL), strict=True))
    except InputError:
        return {}
