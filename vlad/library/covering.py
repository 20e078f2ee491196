"""Who is covered in what leaves the library: an option for all of it, a covered file of each clip, what people say of doubtful moments, and who may see originals.

In: an admin's word, places that a worker found, boxes that people drew. Out: the one file of a clip that may be shown (`shown`), or why there is none yet: while
people are to be covered, nothing is shown of a clip whose covered file is not there. The original stays as it is.
"""

from __future__ import annotations

import json
import secrets
import time
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import Session

from vlad.errors import ConflictError, InputError, MissingError, OutputError

from . import audit
from .changes import tell
from .clips import Clips, known
from .database import Database
from .jobs import ask
from .tables import AnalysisRow, CoverMark, CoverRow, Job, Option, User, Video

WHAT, HOW = ("none", "faces", "people"), ("mosaic", "blur", "silhouette")


@dataclass(frozen=True)
class Privacy:
    """what: none, faces or people; how they are covered: mosaic, blur or silhouette."""

    what: str = "none"
    how: str = "mosaic"

    @property
    def on(self) -> bool:
        """Whether anything is covered."""
        return self.what != "none"


@dataclass(frozen=True)
class Covered:
    """How far a clip is. state: ready, waiting or failed; why it failed; version: a number of the covered file's own, 0 before the first; doubtful: moments nobody looked at yet."""

    state: str
    why: str = ""
    version: int = 0
    doubtful: int = 0


class Covering:
    """Covered clips, and the option under which they are what is shown."""

    def __init__(self, database: Database, clips: Clips) -> None:
        self.database, self.clips = database, clips

    def privacy(self) -> Privacy:
        """Who is covered, and how."""
        with self.database.read() as session:
            return privacy_in(session)

    def set_privacy(self, user: User, what: str, how: str) -> int:
        """Cover from now on, or stop; how many clips are to be covered first. Raises InputError."""
        if what not in WHAT or how not in HOW:
            raise InputError(f"cover: expected one of {', '.join(WHAT)}, and one of {', '.join(HOW)}")
        with self.database.write() as session:
            session.merge(Option(name="cover", words=what))
            session.merge(Option(name="cover_how", words=how))
            audit.append(session, user.name, "covering set", "", cover=what, how=how)
            ids = list(
                session.scalars(_lacking(session).order_by(Video.created))
            )  # the newest clip is the first to be covered
            for video_id in ids:
                ask(session, video_id, "cover", user.name)
            for video_id in session.scalars(select(CoverRow.video_id).join(Video).where(Video.removed.is_(None))):
                tell(session, "video", video_id, video=video_id, by=user.name)  # pages that show it take the other file
            return len(ids)

    def shown(self, video_id: str, what: str = "") -> Path:
        """The file of a clip that may be shown. what: who has to be covered by now, '' for whoever is.

        Raises ConflictError while people in it are still to be covered, or where others are than `what` says.
        """
        with self.database.read() as session:
            wish = privacy_in(session)
            row = session.scalars(select(CoverRow).where(CoverRow.video_id == video_id)).first()
        if what not in ("", wish.what):
            raise ConflictError("who is covered was changed since this was begun; begin it again")
        if not wish.on:
            return self.clips.clip(video_id)
        if row is None or not _fits(row, wish):
            raise ConflictError(f"{wish.what} in this clip are still being covered; nothing of it is shown before")
        path = self.clips.found("covered", video_id, f".c{row.version}.mp4")
        if not path.is_file():  # somebody took it away
            with self.database.write() as session:
                ask(session, video_id, "cover")
            raise ConflictError(f"{wish.what} in this clip are being covered again; nothing of it is shown before")
        return path

    def _sheet(self, video_id: str, of: Path | None) -> str:
        """What a sheet of what may be shown of a clip is called after its id: pictures of another version of it lie elsewhere. Raises as `shown`."""
        path = of or self.shown(video_id)
        return path.name.removeprefix(known(video_id)).removesuffix(".mp4")

    def sheet(self, video_id: str, of: Path | None = None) -> Path:
        """Where thumbnails of what may be shown of a clip lie, if there are any. of: that file, where they are being made of it: it may be another by now. Raises as `shown`."""
        called = self._sheet(video_id, of)
        self.clips.found("sheets", video_id, f"{called}.json")  # its facts lie beside it
        return self.clips.found("sheets", video_id, f"{called}.jpg")

    def put_sheet(self, video_id: str, of: Path | None = None) -> None:
        """A sheet that was made is there for other machines too. of: as for `sheet`. Raises as `shown`, OutputError."""
        called = self._sheet(video_id, of)
        for suffix in (".jpg", ".json"):
            self.database.shelf.put(f"sheets/{known(video_id)}{called}{suffix}")

    def covered_of(self, video_ids: Sequence[str]) -> dict[str, Covered]:
        """How far clips are, by id; {} where nobody is covered."""
        with self.database.read() as session:
            wish = privacy_in(session)
            if not wish.on:
                return {}
            rows = {r.video_id: r for r in session.scalars(select(CoverRow).where(CoverRow.video_id.in_(video_ids)))}
            newest = select(Job).where(Job.video_id.in_(video_ids), Job.kind == "cover").order_by(Job.created)
            jobs = {j.video_id: j for j in session.scalars(newest)}
            said = marks_in(session, video_ids)
        found = {}
        for i in video_ids:
            row, job = rows.get(i), jobs.get(i)
            version = row.version if row else 0
            if row is not None and _fits(row, wish):
                found[i] = Covered("ready", "", version, len(unsettled(row, said.get(i, ()))))
            elif job is not None and job.status in ("failed", "cancelled"):
                found[i] = Covered("failed", job.error or "it was cancelled", version)
            else:
                found[i] = Covered("waiting", "", version)
        return found

    def cover(self, video_id: str) -> tuple[CoverRow | None, list[list[float]], list[CoverMark]]:
        """What is known of a clip's covers: its row, the places that were found, and what people said and did not take back."""
        with self.database.read() as session:
            row = session.scalars(select(CoverRow).where(CoverRow.video_id == video_id)).first()
            kept = session.scalar(select(CoverRow.places).where(CoverRow.video_id == video_id))
            return (
                row,
                json.loads(zlib.decompress(kept)) if kept else [],
                marks_in(session, [video_id]).get(video_id, []),
            )

    def keep_cover(
        self, video_id: str, made: Privacy, places: Sequence[Sequence[float]], doubtful: list[dict[str, Any]], clip: bytes,
        marks: Sequence[CoverMark], *, anew: bool = True,
    ) -> None:  # fmt: skip
        """A covered file and what it covers. made: as it was wished when it was begun; marks: what it heeds; anew: somebody looked for people, else it is by what was found before.

        Raises MissingError, OutputError.
        """
        version, shelf = (
            secrets.randbits(31),
            self.database.shelf,
        )  # a name of its own: of two workers none overwrites the other's
        name = f"covered/{known(video_id)}.c{version}.mp4"
        try:
            shelf.path(name).parent.mkdir(exist_ok=True)
            shelf.path(name).write_bytes(clip)
        except OSError as error:
            shelf.path(name).unlink(missing_ok=True)
            raise OutputError(f"the covered clip cannot be kept ({error.strerror})") from None
        shelf.put(name)
        with self.database.write() as session:
            video = session.get(Video, video_id)
            row = session.scalars(select(CoverRow).where(CoverRow.video_id == video_id)).first()
            before = row.version if row else 0
            there = video is not None and video.removed is None
            if there:
                again = row is not None and row.what == "" and not anew  # asked for meanwhile, see cover_again
                row = row or CoverRow(video_id=video_id)
                row.what, row.how, row.version, row.created = "" if again else made.what, made.how, version, time.time()
                row.places, row.doubtful = zlib.compress(json.dumps([list(p) for p in places]).encode()), doubtful
                now = {m.id for m in marks_in(session, [video_id]).get(video_id, []) if m.box}
                row.stale = now != {m.id for m in marks if m.box}
                session.add(row)
                if row.stale or again or made != privacy_in(session):
                    ask(session, video_id, "cover")
                tell(session, "video", video_id, video=video_id)
        old = before if there else version
        for gone in (
            f"covered/{video_id}.c{old}.mp4",
            f"sheets/{video_id}.c{old}.jpg",
            f"sheets/{video_id}.c{old}.json",
        ):
            with suppress(OSError, OutputError):  # a stray, which the sweep takes with its clip
                shelf.remove(gone)
        if not there:  # removed meanwhile
            raise MissingError("video: no such id")

    def cover_again(self, user: User, video_id: str) -> None:
        """Look for people in a clip anew."""
        with self.database.write() as session:
            if session.get(Video, video_id) is None:
                raise MissingError("video: no such id")
            row = session.scalars(select(CoverRow).where(CoverRow.video_id == video_id)).first()
            if row is not None:
                row.what = ""  # what was found counts no more
            ask(session, video_id, "cover", user.name)
            audit.append(session, user.name, "covered again", video_id)

    def mark_cover(self, user: User, video_id: str, start: float, end: float, box: Sequence[float] | None) -> CoverMark:
        """A person's word on a moment: box x, y, width, height (shares of the picture) is to be covered from start to end (s), None: it is fine as it is.

        Until it is covered nothing of the clip is shown. Raises InputError.
        """
        if box is not None and not (
            len(box) == 4 and all(0 <= v <= 1 for v in box) and min(box[2:]) > 0 and box[0] + box[2] <= 1.001 and box[1] + box[3] <= 1.001
        ):  # fmt: skip
            raise InputError("box: expected x, y, width and height within the picture, as shares of it")
        with self.database.write() as session:
            video = session.get(Video, video_id)
            if video is None or video.removed is not None:
                raise MissingError("video: no such id")
            if not 0 <= start < end <= (video.duration or 0.0) + 0.5:
                raise InputError("span: expected a start before its end, within the clip")
            mark = CoverMark(video_id=video_id, start=start, end=end, box=list(box) if box else None, by=user.name)
            session.add(mark)
            session.flush()
            self._heed(session, mark, user)
            said = {"start": start, "end": end, **({"box": list(box)} if box else {})}
            audit.append(session, user.name, "cover drawn" if box else "cover is fine", video_id, **said)
            return mark

    def undo_cover(self, user: User, video_id: str, mark_id: str) -> None:
        """Take a word on a clip back. Raises MissingError."""
        with self.database.write() as session:
            mark = session.get(CoverMark, mark_id)
            if mark is None or mark.undone is not None or mark.video_id != video_id:
                raise MissingError("mark: no such id")
            mark.undone = time.time()
            session.flush()
            self._heed(session, mark, user)
            audit.append(session, user.name, "cover taken back", video_id, start=mark.start, end=mark.end)

    def _heed(self, session: Session, mark: CoverMark, user: User) -> None:
        if mark.box is not None:
            row = session.scalars(select(CoverRow).where(CoverRow.video_id == mark.video_id)).first()
            if row is not None:
                row.stale = True
            ask(session, mark.video_id, "cover", user.name)
        tell(session, "video", mark.video_id, video=mark.video_id, by=user.name)

    def doubtful(self) -> list[tuple[Video, list[dict[str, Any]]]]:
        """Clips with moments of doubtful covers at which nobody looked yet, the newest first."""
        with self.database.read() as session:
            wish = privacy_in(session)
            rows = select(CoverRow, Video).join(Video, Video.id == CoverRow.video_id).where(Video.removed.is_(None))
            found = [
                (row, video) for row, video in session.execute(rows.order_by(Video.created.desc())) if _fits(row, wish)
            ]
            said = marks_in(session, [v.id for _, v in found])
        left = ((v, unsettled(r, said.get(v.id, ()))) for r, v in found)
        return [(v, open_ones) for v, open_ones in left if open_ones]


def privacy_in(session: Session) -> Privacy:
    """Who is covered, within a session."""
    words = {o.name: o.words for o in session.scalars(select(Option).where(Option.name.in_(("cover", "cover_how"))))}
    return Privacy(words.get("cover") or "none", words.get("cover_how") or "mosaic")


def want(session: Session, video_id: str) -> None:
    """A clip was analysed: cover it where people are covered, and it is not."""
    if session.scalar(_lacking(session).where(Video.id == video_id)) is not None:
        ask(session, video_id, "cover")


def marks_in(session: Session, video_ids: Sequence[str]) -> dict[str, list[CoverMark]]:
    """What people said of clips and did not take back, in order."""
    rows = select(CoverMark).where(CoverMark.video_id.in_(video_ids), CoverMark.undone.is_(None))
    found: dict[str, list[CoverMark]] = {}
    for mark in session.scalars(rows.order_by(CoverMark.created)):
        found.setdefault(mark.video_id, []).append(mark)
    return found


def unsettled(row: CoverRow, marks: Iterable[CoverMark]) -> list[dict[str, Any]]:
    """Doubtful moments of which nobody said anything: a word settles those that it overlaps."""
    said = list(marks)
    return [d for d in row.doubtful if not any(m.start <= d["end"] and d["start"] <= m.end for m in said)]


def _fits(row: CoverRow, wish: Privacy) -> bool:
    return (row.what, row.how) == (wish.what, wish.how) and not row.stale


def _lacking(session: Session) -> Any:
    """Ids of analysed clips whose covered file is not as it is wished; of none where nobody is covered."""
    wish = privacy_in(session)
    if not wish.on:
        return select(Video.id).where(Video.id.is_(None))
    right: ColumnElement[bool] = (
        exists().where(
            CoverRow.video_id == Video.id, CoverRow.what == wish.what, CoverRow.how == wish.how, CoverRow.stale.is_(False)
        )
    )  # fmt: skip
    there = exists().where(AnalysisRow.video_id == Video.id)
    return select(Video.id).where(Video.removed.is_(None), there, or_(~right))
