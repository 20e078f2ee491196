"""Takes jobs one after another: decodes, scores, explains, and keeps what it finds after every step; checks newer rules; covers people.

    python -m vlad.app.worker     (JSON on standard input: library, place, copies, settings, name, server; a URL may hold a password, which no list of processes shows)

In: the library's queue. Out: analyses in the library; scores before explanations, each explanation as it is written. What becomes of a clip that
ends this process is told in `library.jobs`. A worker whose server is gone gives its clip back and ends. Knows no page.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlad.again import Outfit, alike, outfits
from vlad.anonymise import anonymise
from vlad.background import Background
from vlad.config import Settings, make_settings
from vlad.elsewhere import Spans, looked_elsewhere
from vlad.errors import ConflictError, InputError, StorageError, VladError
from vlad.explainers.explain import PromptedExplainer
from vlad.library import Library
from vlad.library.tables import Job, Video
from vlad.movement import learn, packed
from vlad.pipeline import Analyzer
from vlad.prompting import Templates
from vlad.types import Features, Track
from vlad.video import Cover, covered, created

from . import sheets
from .ruled import ruled, rules_of, tracks_of, walked

PULSE = 5.0  # seconds between two heartbeats
PAUSE = 0.5  # seconds before the queue is looked at again
ORPHAN = 20.0  # seconds that a worker without a server has to end
HITS = 200  # of an outfit that are kept
LOOK = 10.0  # seconds between two looks for jobs of dead workers
log = logging.getLogger("vlad.worker")


class Stopped(Exception):
    """The job was cancelled, or is another worker's by now."""


class Pulse:
    """Beats for a job while it is worked on, also through long steps; `check` raises Stopped once it is no longer ours."""

    def __init__(self, library: Library, job: Job, name: str) -> None:
        self.library, self.job, self.name = library, job, name
        self.state: tuple[str, float, float | None] = ("decoding", 0.0, None)
        self.ours, self.over = True, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.told = 0.0

    def __enter__(self) -> Pulse:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.thread.join()

    def _run(self) -> None:
        while not self.over.wait(PULSE):
            self._beat()

    def _beat(self) -> None:
        stage, done, total = self.state
        try:
            self.ours = self.library.beat(self.job.id, self.name, stage=stage, done=done, total=total)
        except Exception as error:  # a database that is away for a moment ends no analysis
            log.warning("heartbeat: %s", error)

    def tell(self, stage: str, done: float, total: float | None) -> None:
        """Where the job is; a person sees it within a second. Raises Stopped."""
        self.state = (stage, done, total)
        if stage != "decoding" or time.monotonic() - self.told > 1:  # decoding tells of every snippet
            self.told = time.monotonic()
            self._beat()
        if not self.ours:
            raise Stopped


def embeddings(features: Features, encoder: Any) -> npt.NDArray[np.float32] | None:
    """Unit image embeddings of a clip's snippets, for search; None without an encoder of words."""
    width = int(getattr(encoder, "parts", (0, 0))[0])
    if not width:
        return None
    found = features.values[:, :width]
    unit: npt.NDArray[np.float32] = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
    return unit


def _doubt(track: Track) -> dict[str, Any]:
    """A track that the detector was not sure of: from when to when (s), and its middle box (shares)."""
    box = [round(float(v), 4) for v in track.boxes[len(track.boxes) // 2]]
    return {
        "start": round(float(track.times[0]), 2),
        "end": round(float(track.times[-1]), 2),
        "score": round(track.score, 2),
        "box": box,
    }


class Worker:
    """One taker of jobs with its loaded models. name: of this process, unlike any other's."""

    def __init__(
        self, library: Library, settings: Settings, *, name: str = "", analyzer: Analyzer | None = None
    ) -> None:
        self.library, self.settings = library, settings
        self.name = name or f"{os.uname().nodename[:30]}-{os.getpid()}-{time.time_ns() % 10**6}"
        self.analyzer = analyzer or Analyzer(settings)
        self.templates = Templates(settings.prompts)

    def once(self) -> bool:
        """Take a job and end it, well or not; False where none waits. Raises StorageError where it waits again, since its files are away."""
        job = self.library.claim(self.name)
        if job is None:
            return False
        try:
            with Pulse(self.library, job, self.name) as pulse:
                {
                    "analysis": self._analyse,
                    "rules": self._check,
                    "cover": self._cover,
                    "movement": self._learn,
                    "again": self._seek,
                }[job.kind](job, pulse)
            self.library.finish(job.id, self.name)
        except Stopped:
            log.info("job %s was taken away", job.id)
        except StorageError:  # nothing but that is wrong: the job waits until it answers again
            self.library.release(self.name, lost=self.library.shelf.works())
            raise
        except VladError as error:
            self.library.fail(job.id, self.name, self.library.by_name(str(error)))
        except Exception as error:  # a bug costs its job and not the worker, or one clip would hold up all others
            log.exception("job %s", job.id)
            self.library.fail(job.id, self.name, f"internal error ({type(error).__name__}); see the server's log")
        return True

    def _analyse(self, job: Job, pulse: Pulse) -> None:
        path = self.library.clip(job.video_id)
        analyzer = self._with(job.settings)
        if analyzer.cache is not None:  # with the clip, so that nothing of it stays when it is removed
            analyzer.cache = self.library.features(job.video_id)
        features, video, warnings = analyzer.features(
            path, on_progress=lambda _, done, total: pulse.tell("decoding", done, total)
        )
        pulse.tell("scoring", 0, None)
        self._date(job.video_id)
        analyzer.zones = rules_of(self.library, self._video(job.video_id).camera)
        analysis = analyzer.flagged(features, video, warnings)
        checked = ruled(
            self.library, self._video(job.video_id), analysis.track, analysis.tracks, video.width / video.height, lambda t: analyzer.segments(t),
            lambda _: analyzer.looked_elsewhere(video),
        )  # fmt: skip
        analysis = replace(analysis, segments=checked[1]) if checked else analysis
        rules = checked[0] if checked else None
        ids = self.library.keep(job.video_id, analysis, embeddings(features, analyzer.encoder), features.encoder, rules)
        self._look(job.video_id, video.duration)
        if not analyzer.settings.explain:
            return
        order = sorted(range(len(ids)), key=lambda i: -analysis.segments[i].peak)[: analyzer.settings.max_explanations]
        for number, i in enumerate(order):
            pulse.tell("explaining", number, len(order))
            if isinstance(analyzer.explainer, PromptedExplainer):  # an edit counts from the next segment on
                analyzer.explainer.prompt = self.templates(self.settings.prompt)
            shown = self._leaving(job, pulse) if analyzer.settings.server else ""
            (said,) = analyzer.explain(video, analysis.track, [analysis.segments[i]], shown=shown)
            self.library.explained(ids[i], said)

    def _leaving(self, job: Job, pulse: Pulse) -> str:
        """The file of which pictures go to another machine: covered first where people are covered by now."""
        if self.library.privacy().on:
            self._cover(job, pulse)
        return str(self.library.shown(job.video_id))

    def _check(self, job: Job, pulse: Pulse) -> None:
        """The camera's newest rules on what was found in a clip before: as they were found then, without decoding it, but for a few pictures where they have a background."""
        pulse.tell("checking", 0, None)
        video, row, track = (
            self._video(job.video_id),
            self.library.analysis(job.video_id),
            self.library.track(job.video_id),
        )
        tracks, facts = tracks_of(self.library.tracks(job.video_id)), video.facts or {}
        segments = self._as_before(row.made_by).segments

        def elsewhere(before: Background) -> Spans:
            """Where nobody looked before, a few pictures are."""
            return looked_elsewhere(before, self.library.clip(video.id), float(track.edges[-1]), self.settings)

        found = ruled(self.library, video, track, tracks, facts["width"] / facts["height"], segments, elsewhere)
        rules, spans = found or (None, segments(track))
        self.library.checked(job.video_id, spans, rules, row.created)

    def _learn(self, job: Job, pulse: Pulse) -> None:
        """A camera's usual paths, by what was found in its clips; none is decoded."""
        clips = job.settings["clips"]
        found = []
        for number, video_id in enumerate(clips):
            pulse.tell("learning", number, len(clips))
            one = walked(self.library, video_id)
            if one is not None:
                found.append(one)
        self.library.put_paths(job.settings["camera"], packed(learn(found)), job.video_id)

    def _seek(self, job: Job, pulse: Pulse) -> None:
        """Who looks like somebody, in the clips that the job names; what cannot be read any more is passed over."""
        asked, clips = self.library.wanted(job.settings["sought"]), job.settings["clips"]
        if "track" in asked:
            tracks, path = tracks_of(self.library.tracks(job.video_id)), self.library.clip(job.video_id)
            known = outfits(
                path, tracks, self._video(job.video_id).duration or 0.0, self.settings, only=[asked["track"]]
            )
            wanted = known.get(asked["track"], Outfit("person"))
        else:
            wanted = Outfit(asked["kind"], {part: (colour, 1.0) for part, colour in asked["colours"].items()})
        if not wanted.colours:
            raise InputError("no colour of a top, trousers or a vehicle can be told there: name colours instead")
        hits = []
        for number, video_id in enumerate(clips):
            pulse.tell("looking", number, len(clips))
            try:
                tracks, video = tracks_of(self.library.tracks(video_id)), self._video(video_id)
                found = alike(wanted, str(self.library.clip(video_id)), tracks, video.duration or 0.0, self.settings)
            except (InputError, KeyError):  # removed meanwhile
                continue
            hits += [
                {"video": video_id, "track": h.track, "start": h.start, "end": h.end, "sure": round(h.sure, 3), "kind": h.outfit.kind,
                 "colours": {part: colour for part, (colour, _) in h.outfit.colours.items()}}
                for h in found if (video_id, h.track) != (job.video_id, asked.get("track"))
            ]  # fmt: skip
        self.library.found_again(job.settings["sought"], sorted(hits, key=lambda h: -float(h["sure"]))[:HITS])

    def _as_before(self, made_by: dict[str, Any]) -> Analyzer:
        """An analyzer that finds segments as an analysis did."""
        before = made_by.get("settings", {})
        names = ("enter", "leave", "smooth_seconds", "merge_gap", "min_length")
        return Analyzer(self.settings.model_copy(update={n: before[n] for n in names if before.get(n) is not None}))

    def _cover(self, job: Job, pulse: Pulse) -> None:
        """The file of a clip in which people are covered, by what was found before where that is of the same kind, and by what people drew."""
        wish = self.library.privacy()
        row, places, marks = self.library.cover(job.video_id)
        if not wish.on or (
            row and (row.what, row.how, row.stale) == (wish.what, wish.how, False) and self._is_there(job)
        ):
            return
        pulse.tell("covering", 0, None)
        drawn = [[m.start, m.end, *m.box] for m in marks if m.box]
        path, settings = self.library.clip(job.video_id), self.settings
        known = row is not None and row.what == wish.what
        if row is not None and known:
            doubtful, clip = row.doubtful, b""
        else:
            done = anonymise(path, settings, what=wish.what, how=wish.how)  # type: ignore[arg-type]  # not none
            places, doubtful, clip = (
                [[c.start, c.end, *c.box] for c in done.places],
                [_doubt(t) for t in done.doubtful],
                done.clip,
            )
        if drawn or not clip:
            wanted = [Cover(r[0], r[1], (r[2], r[3], r[4], r[5])) for r in [*places, *drawn]]
            clip = covered(path, self._video(job.video_id).duration or 0.0, wanted, wish.how, settings)
        self.library.keep_cover(job.video_id, wish, places, doubtful, clip, marks, anew=not known)
        self._look(job.video_id, self._video(job.video_id).duration or 0.0)

    def _is_there(self, job: Job) -> bool:
        try:
            return self.library.shown(job.video_id).is_file()
        except VladError:
            return False

    def _video(self, video_id: str) -> Video:
        return self.library.listed([video_id])[video_id].video

    def _date(self, video_id: str) -> None:
        """When the clip was recorded, by its container; without it the analysis stands."""
        try:
            stamp = created(self.library.clip(video_id), self.settings)
            if stamp is not None:
                self.library.taken(video_id, stamp)
        except (VladError, OSError) as error:
            log.warning("time of %s: %s", video_id, error)

    def _look(self, video_id: str, duration: float) -> None:
        """Small pictures of a clip, which the page shows beside the scores; without them the analysis stands."""
        try:
            path, spans = self.library.shown(video_id), self.library.spans_of(video_id)
            sheets.make(path, duration, spans, self.settings, self.library.sheet(video_id, path))
            self.library.put_sheet(video_id, path)
            self.library.announce("video", video_id, video_id)
        except ConflictError:  # people in it are covered first
            pass
        except (VladError, OSError) as error:
            log.warning("pictures of %s: %s", video_id, error)

    def _with(self, changes: dict[str, Any]) -> Analyzer:
        """The analyzer under a job's own settings, with the same loaded models."""
        enter = self.library.options().get("enter")
        changes = ({} if enter is None else {"enter": enter}) | changes
        settings, own = self.settings.model_copy(update=changes), self.analyzer
        if settings == self.settings:
            return own
        return Analyzer(
            settings, encoder=own.encoder, scorer=own.scorer, explainer=own.explainer if settings.explain else None
        )

    def run(self, stop: threading.Event) -> None:
        """Take jobs until told to stop; while there are none, look now and then for those of dead workers."""
        looked = 0.0
        while not stop.is_set():
            try:
                if self.once():
                    continue
                if time.monotonic() - looked > LOOK:
                    looked = time.monotonic()
                    self.library.revive()
            except VladError as error:
                log.warning("%s", error)
            except Exception:  # a queue that cannot be read is looked at again
                log.exception("queue")
            stop.wait(PAUSE)


def main() -> int:
    """One worker process; ends after its job on SIGTERM, and when the process that started it is gone."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of a kernel that it lacks, at every start
    told = json.load(sys.stdin)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server's own Ctrl-C tells its workers
    worker = Worker(
        Library(told["library"], told["place"], Path(told["copies"])),
        make_settings(**told.get("settings", {})),
        name=told.get("name", ""),
    )
    threading.Thread(target=_outlive, args=(worker, told.get("server", os.getppid()), stop), daemon=True).start()
    worker.run(stop)
    return 0


def _outlive(worker: Worker, server: int, stop: threading.Event) -> None:
    """End where the server is gone: at the next step of what is under way, which waits for another worker, or a while later in the middle of a step."""
    while os.getppid() == server:
        time.sleep(1.0)
    stop.set()
    end = time.monotonic() + ORPHAN
    while time.monotonic() < end:
        try:
            worker.library.release(worker.name)  # a heartbeat then says that it is no longer ours
            time.sleep(1.0)
        except Exception as error:
            log.warning("release: %s", error)
            time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
