"""What the library holds and how it is doing, for Prometheus, read when it is asked for."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from vlad.library import Library
from vlad.library.tables import Job, SegmentRow, VerdictRow, Video


class Told(Collector):
    """Counts of one library. behind: what goes on behind the server, see Background.state; {} where nothing does."""

    def __init__(self, library: Library, behind: Callable[[], dict[str, Any]] = dict) -> None:
        self.library, self.behind = library, behind

    def describe(self) -> Iterable[Metric]:
        """Nothing is read before somebody asks."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Clips, jobs, segments and verdicts; workers, loops and disk first, which are told while the database is away too."""
        yield from self._behind()
        with self.library.read() as session:
            jobs = dict(session.execute(select(Job.status, func.count()).group_by(Job.status)).all())
            for status in ("queued", "running", "failed"):
                yield GaugeMetricFamily(f"vlad_jobs_{status}", f"Jobs that are {status}", value=jobs.get(status, 0))
            oldest = session.scalar(select(func.min(Job.created)).where(Job.status == "queued"))
            age = time.time() - oldest if oldest else 0.0
            yield GaugeMetricFamily("vlad_job_oldest_seconds", "How long the oldest job has waited", value=age)
            done = select(func.count(), func.sum(Job.ended - Job.started)).where(Job.status == "done")
            count, seconds = session.execute(done).one()
            yield SummaryMetricFamily(
                "vlad_job_seconds", "How long jobs took", count_value=count, sum_value=seconds or 0.0
            )
            clips = select(func.count(), func.sum(Video.size)).where(Video.removed.is_(None))
            videos, size = session.execute(clips).one()
            yield GaugeMetricFamily("vlad_videos", "Clips", value=videos)
            yield GaugeMetricFamily("vlad_bytes", "Bytes of clips", value=size or 0)
            live = select(func.count()).select_from(SegmentRow).where(SegmentRow.gone.is_(None))
            waiting = session.scalar(live.where(SegmentRow.status == "open")) or 0
            yield GaugeMetricFamily("vlad_segments_open", "Segments nobody decided on", value=waiting)
            given = GaugeMetricFamily("vlad_verdicts", "Verdicts that stand", labels=["verdict"])
            standing = select(VerdictRow.verdict, func.count()).where(VerdictRow.undone.is_(None))
            counts = dict(session.execute(standing.group_by(VerdictRow.verdict)).all())
            for verdict in ("confirmed", "dismissed"):
                given.add_metric([verdict], counts.get(verdict, 0))
            yield given

    def _behind(self) -> Iterable[Metric]:
        behind = self.behind()
        free = shutil.disk_usage(self.library.folder).free
        yield GaugeMetricFamily("vlad_disk_free_bytes", "Bytes that the disk of the library has left", value=free)
        if not behind:
            return
        yield GaugeMetricFamily("vlad_workers", "Workers that are alive", value=behind["workers"])
        yield GaugeMetricFamily("vlad_strays", "Files that could not be removed", value=behind["strays"])
        failed = GaugeMetricFamily("vlad_loop_failures", "Turns in a row that failed", labels=["loop"])
        ago = GaugeMetricFamily("vlad_loop_age_seconds", "Since a turn went well", labels=["loop"])
        for name, loop in behind["loops"].items():
            failed.add_metric([name], loop["failed"] + (not loop["alive"]))
            if loop["ago"] is not None:
                ago.add_metric([name], loop["ago"])
        yield failed
        yield ago
