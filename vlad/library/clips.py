"""Clips and where they lie: uploads in pieces, files by id, retention.

In: bytes of people who may upload. Out: clips with a job each. Files lie in the library's folder, by id; nothing outside it is read or written.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import func, or_, select

from vlad.clock import checked, from_name, plausible, zone_of
from vlad.errors import ConflictError, InputError, LimitError, MissingError, OutputError

from . import asking, audit
from .asking import check_camera, everything
from .changes import tell
from .database import Database, called
from .jobs import ask
from .people import People
from .tables import AnalysisRow, CoverRow, Job, RulesRow, SegmentRow, Upload, User, Video

FREE = 2 << 30  # bytes of disk that are never used up
LARGEST = 4 << 30  # bytes of one clip
SILENT = 3600.0  # seconds after which no room is kept for an upload of which nothing came, and it is forgotten where no byte did
OPEN = 200  # unfinished uploads of one person

STRAY = re.compile(r"[0-9a-f]{32}(\.|$)")  # what this room calls its files
COVERED = re.compile(r"([0-9a-f]{32})\.c(\d+)\.")  # and what is covered in them, or a sheet of that, by version


def known(video_id: str) -> str:
    """The id, which is a part of a path. Raises MissingError for what is none."""
    if len(video_id) != 32 or not all(c in "0123456789abcdef" for c in video_id):
        raise MissingError("video: no such id")
    return video_id


def _named(name: str) -> str:
    """A file's name as it is kept."""
    return called(name)[:500] or "clip"


class Clips:
    """Clips of a library, and those on their way into it."""

    def __init__(self, database: Database, people: People) -> None:
        self.database, self.people = database, people

    def begin_upload(self, user: User, name: str, size: int, camera: str = "") -> Upload:
        """A place for a clip that comes in pieces. Raises LimitError where it is too large or the disk too full."""
        if not 0 < size <= LARGEST:
            raise LimitError(f"{name}: {size} bytes; a clip has 1 to {LARGEST} bytes")
        if camera:  # else it is named once the clip is whole
            check_camera(called(camera)[:200])
        with everything(), self.database.read() as session:
            under_way = list(session.scalars(select(Upload)))
            kept = session.scalar(select(func.sum(Video.size)).where(Video.removed.is_(None))) or 0
        coming = {u.id: u.size - u.received if self._is_coming(u) else 0 for u in under_way}
        announced = sum(coming.values()) + sum(u.received for u in under_way)
        quota = self.people.options().get("quota_gib")
        if quota is not None and kept + announced + size > quota * 2**30:
            raise LimitError(f"{name}: the library may hold {quota:g} GiB, and does; remove clips, or raise its quota")
        disk = shutil.disk_usage(self.database.folder).free
        free, own = disk - sum(coming.values()), sum(coming[u.id] for u in under_way if u.user_id == user.id)
        if free - size < FREE:
            raise LimitError(
                f"{name}: the disk has {free >> 20} MiB left; {FREE >> 20} MiB stay free. Remove clips, or shorten retention"
            )
        if own and own + size > (disk - FREE) / 2:
            raise LimitError(
                f"{name}: {own >> 20} MiB of yours are on their way, which is half of what is free; finish or drop some"
            )
        if len(self.uploads(user)) >= OPEN:
            raise LimitError(f"{name}: {OPEN} uploads of yours are not whole yet; finish or drop some")
        upload = Upload(user_id=user.id, name=_named(name), size=size, camera=called(camera)[:200])
        with self.database.write() as session:
            session.add(upload)
            session.flush()
            try:
                self.part(upload.id).touch()
            except OSError as error:
                raise OutputError(f"{upload.name}: cannot be written ({error.strerror})") from None
        return upload

    def _is_coming(self, upload: Upload) -> bool:
        """Whether room is kept for the rest of an upload: bytes of it came of late. It can be gone on with later, too, if there is room then."""
        try:
            return time.time() - self.part(upload.id).stat().st_mtime < SILENT
        except OSError:
            return False

    def part(self, upload_id: str) -> Path:
        """Where the bytes of an upload lie until all are here."""
        return self.database.folder / "uploads" / upload_id

    def append(self, user: User, upload_id: str, offset: int, data: bytes) -> int:
        """Add a piece at the byte where the file ends; how many bytes are there now. Raises InputError for another offset or too much."""
        with self.database.write() as session:
            upload = session.get(Upload, upload_id)
            if upload is None or upload.user_id != user.id:
                raise MissingError("upload: there is none of that id")
            if offset != upload.received:
                raise ConflictError(f"upload: {upload.received} bytes are here, not {offset}; go on from there")
            if upload.received + len(data) > upload.size:
                raise InputError(f"upload: more than the {upload.size} bytes that were announced")
            try:
                with open(self.part(upload_id), "r+b") as file:
                    file.seek(offset)
                    file.write(data)
                    file.truncate()
            except FileNotFoundError:
                raise MissingError("upload: what was here of it is gone; begin again") from None
            except OSError as error:
                raise OutputError(
                    f"upload: cannot be written ({error.strerror}); try again once there is room"
                ) from None
            upload.received += len(data)
            return upload.received

    def finish_upload(
        self, user: User, upload_id: str, settings: dict[str, Any] | None = None, *, recorded: float | None = None,
        zone: str = "", camera: str = "",
    ) -> tuple[Video, Job]:  # fmt: skip
        """A whole upload becomes a clip of the same id with a job in the queue; asked twice, the same clip.

        recorded: when its first frame was taken (s since 1970); where nobody says, its name may. zone: of its clock. camera: '' for the upload's.
        Raises InputError where bytes are missing, or the zone or the time is none.
        """
        zone_of(zone)
        if recorded is not None:
            checked(recorded)
        self._send(user, upload_id)
        with self.database.write() as session:
            upload, there = session.get(Upload, upload_id), session.get(Video, upload_id)
            if there is not None and there.user_id == user.id:  # the first answer was lost on its way
                return there, session.scalars(select(Job).where(Job.video_id == there.id).order_by(Job.created)).one()
            if upload is None or upload.user_id != user.id:
                raise MissingError("upload: there is none of that id")
            if upload.received != upload.size:
                raise ConflictError(f"upload: {upload.received} of {upload.size} bytes are here; send the rest")
            video = Video(id=upload.id, user_id=user.id, name=upload.name, size=upload.size, zone=zone)
            video.camera = called(camera)[:200] or upload.camera
            check_camera(video.camera)
            video.recorded = from_name(video.name, zone) if recorded is None else recorded
            video.recorded_by = "typed" if recorded is not None else "name" if video.recorded is not None else ""
            session.add(video)
            session.flush()
            here = self.database.shelf.path(f"clips/{video.id}")
            try:
                if self.part(upload_id).exists():  # else it was moved before, and the database then went away
                    os.replace(self.part(upload_id), here)
                elif not here.exists():
                    raise MissingError("upload: what was here of it is gone; begin again")
            except OSError as error:
                raise OutputError(f"{video.name}: cannot be kept ({error.strerror})") from None
            job = Job(video_id=video.id, settings=settings or {})
            session.add(job)
            session.delete(upload)
            session.flush()
            audit.append(session, user.name, "uploaded", video.id, name=video.name, size=video.size)
            tell(session, "video", video.id, video=video.id, by=user.name)
        return video, job

    def _send(self, user: User, upload_id: str) -> None:
        """A whole upload into the storage, where there is one, before anybody hears of it; nobody waits for the database meanwhile."""
        if not self.database.shelf.storage:
            return
        with self.database.read() as session:
            upload = session.get(Upload, upload_id)
        if upload is not None and upload.user_id == user.id and upload.received == upload.size:
            for here in (self.part(upload_id), self.database.shelf.path(f"clips/{upload_id}")):
                if here.exists():
                    self.database.shelf.put_from(here, f"clips/{upload_id}")
                    return

    def uploads(self, user: User) -> list[Upload]:
        """A user's uploads that are not whole yet, newest first."""
        with self.database.read() as session:
            rows = select(Upload).where(Upload.user_id == user.id)
            return list(session.scalars(rows.order_by(Upload.created.desc())))

    def drop_upload(self, user: User, upload_id: str) -> None:
        """Give up an upload of one's own. Raises MissingError."""
        with self.database.write() as session:
            upload = session.get(Upload, upload_id)
            if upload is None or upload.user_id != user.id:
                raise MissingError("upload: there is none of that id")
            session.delete(upload)
        self.part(upload_id).unlink(missing_ok=True)

    def edit(self, user: User, video_id: str, changes: Mapping[str, Any]) -> None:
        """Mend what is known of a clip. changes: some of name, camera, recorded (s since 1970, None: not known) and zone. Raises InputError.

        Where the file name told the time, another zone reads that same clock time anew.
        """
        unknown = set(changes) - {"name", "camera", "recorded", "zone"}
        if unknown:
            raise InputError(f"clip: {', '.join(sorted(unknown))} cannot be changed")
        if "zone" in changes:
            zone_of(changes["zone"])
        if changes.get("recorded") is not None:
            checked(changes["recorded"])
        if "camera" in changes:
            check_camera(called(changes["camera"]).strip())
        name = called(changes.get("name", "x")).strip()
        if not name or len(name) > 500:
            raise InputError("name: expected 1 to 500 letters")
        with self.database.write() as session:
            video = session.get(Video, video_id)
            if video is None or video.removed is not None:
                raise MissingError("video: no such id")
            before = {k: getattr(video, k) for k in changes}
            original = video.name
            for key, value in changes.items():
                setattr(video, key, called(value).strip() if isinstance(value, str) else value)
            if "recorded" in changes:
                video.recorded_by = "typed"  # also that nobody knows: then no metadata speaks up again
            elif "zone" in changes and video.recorded_by == "name":
                video.recorded = from_name(original, video.zone)
            if changes.keys() & {"camera", "recorded", "zone"}:  # other rules, or another time of day
                ruled = select(AnalysisRow.id).where(AnalysisRow.video_id == video_id, AnalysisRow.rules.is_not(None))
                own = select(RulesRow.id).where(RulesRow.camera == video.camera)
                if session.scalar(ruled) or (session.scalar(own) and video.duration):
                    ask(session, video_id, "rules", user.name)
            audit.append(session, user.name, "clip changed", video_id, before=before, after=dict(changes))
            tell(session, "video", video_id, video=video_id, by=user.name)

    def taken(self, video_id: str, stamp: float) -> None:
        """When the container says that a clip was recorded (s since 1970): counts where it is plausible and nobody told better."""
        with self.database.write() as session:
            video = session.get(Video, video_id)
            if video is not None and not video.recorded_by and plausible(stamp) and stamp <= video.created:
                video.recorded, video.recorded_by = stamp, "metadata"
                tell(session, "video", video_id, video=video_id)

    def clip(self, video_id: str) -> Path:
        """Where a clip lies. Raises InputError for what is no id, OutputError while a storage brings it."""
        return self.found("clips", video_id)

    def found(self, part: str, video_id: str, suffix: str = "") -> Path:
        """Where a file of a clip lies, brought here where only the storage has it. Raises MissingError for what is no id, OutputError."""
        who = asking.now()
        name = f"{part}/{known(video_id)}{suffix}"
        return self.database.shelf.found(name, who.patience if who.user else None)  # a worker waits

    def by_name(self, words: str) -> str:
        """An error's words with each clip's own name instead of where it lies here, and no other path of the library."""
        folder = re.escape(str(self.database.folder))
        places = rf"{folder}/clips/([0-9a-f]{{32}})"

        def name(found: re.Match[str]) -> str:
            with self.database.read() as session:
                called = session.scalar(select(Video.name).where(Video.id == found[1]))
            return "".join(c for c in called if c.isprintable()) if called else "the clip"

        return re.sub(folder, "", re.sub(places, name, words))

    def embeddings(self, video_id: str) -> Path:
        """Where the embeddings of a clip's snippets lie, if there are any. Raises InputError for what is no id."""
        return self.found("embeddings", video_id, ".npy")

    def features(self, video_id: str) -> Path:
        """The folder of what was computed of a clip, to be taken up again by another analysis. Raises InputError for what is no id."""
        return self.database.shelf.path(f"features/{known(video_id)}")

    def clip_named(self, camera: str, name: str, size: int) -> str:
        """The clip of a camera that came under a name, with so many bytes; '' where there is none."""
        rows = select(Video.id).where(Video.camera == camera, Video.name == _named(name), Video.size == size, Video.removed.is_(None))  # fmt: skip
        with self.database.read() as session:
            return session.scalars(rows.limit(1)).first() or ""

    def videos(self) -> list[Video]:
        """Every clip that was not removed, newest first."""
        with self.database.read() as session:
            return list(session.scalars(select(Video).where(Video.removed.is_(None)).order_by(Video.created.desc())))

    def remove(self, user: User, video_id: str) -> None:
        """Remove a clip and every picture made of it; what was decided of it stays. Raises InputError where a segment of it was exported."""
        with self.database.write() as session:
            video = session.get(Video, video_id)
            if video is None or video.removed is not None:
                raise MissingError("video: no such id")
            exported = (
                select(func.count())
                .select_from(SegmentRow)
                .where(SegmentRow.video_id == video_id, SegmentRow.exported.is_not(None))
            )
            if session.scalar(exported):
                raise ConflictError(f"{video.name}: part of it is evidence that was exported; it is kept")
            video.removed = time.time()
            for job in session.scalars(
                select(Job).where(Job.video_id == video_id, Job.status.in_(("queued", "running")))
            ):
                job.status, job.ended, job.error = "cancelled", time.time(), "its clip was removed"
                tell(session, "job", job.id, video=video_id, by=user.name)
            audit.append(session, user.name, "removed", video_id, name=video.name)
            tell(session, "video", video_id, video=video_id, by=user.name)
            cover = session.scalar(select(CoverRow.version).where(CoverRow.video_id == video_id))
        own = ["clips/{}", "sheets/{}.jpg", "sheets/{}.json", "embeddings/{}.npy", "features/{}"]
        if cover is not None:
            own += [f"covered/{{}}.c{cover}.mp4", f"sheets/{{}}.c{cover}.jpg", f"sheets/{{}}.c{cover}.json"]
        for name in own:
            with suppress(OSError, OutputError):  # what cannot be removed now is a stray, which the next sweep takes
                self.database.shelf.remove(name.format(video_id))

    def sweep(self) -> tuple[int, int]:
        """Remove files that no clip that is here and no upload under way owns; how many went, and how many could not be removed.

        Covered files of an older version too, in which somebody may be seen who is not to be: SILENT after they were written, since a new one is there before its row.
        """
        gone = left = 0
        shelf = self.database.shelf
        parts = ("clips", "sheets", "covered", "embeddings", "features", "uploads")
        names = [name for part in parts for name in shelf.names(part)]
        with (
            self.database.write() as session
        ):  # after them, and alone among writers: whatever was there by now has its row
            live = set(session.scalars(select(Video.id).where(Video.removed.is_(None))))
            coming = set(session.scalars(select(Upload.id)))
            covers = {(i, str(version)) for i, version in session.execute(select(CoverRow.video_id, CoverRow.version))}
        for name in names:
            part, _, own = name.partition("/")
            kept = coming if part == "uploads" else live | coming if part == "clips" else live
            old = COVERED.match(own)
            if not STRAY.match(own) or (own[:32] in kept and (old is None or old.groups() in covers)):
                continue
            try:
                if own[:32] in kept and shelf.since(name) < SILENT:
                    continue
                shelf.remove(name)
                gone += 1
            except (OSError, OutputError):
                left += 1
        return gone, left

    def forget_uploads(self, days: float) -> None:
        """Remove what came of uploads that began `days` ago and never ended, and those of which nothing came within an hour."""
        with self.database.write() as session:
            silent = (Upload.received == 0) & (Upload.created < time.time() - min(days * 86_400, SILENT))
            old = select(Upload).where(or_(Upload.created < time.time() - days * 86_400, silent))
            for upload in session.scalars(old):
                self.part(upload.id).unlink(missing_ok=True)
                session.delete(upload)

    def retire(self, days: float) -> int:
        """Remove clips older than `days`, but for those of which something was exported; how many."""
        with self.database.read() as session:
            old = select(Video.id).where(Video.removed.is_(None), Video.created < time.time() - days * 86_400)
            kept = select(SegmentRow.video_id).where(SegmentRow.exported.is_not(None))
            ids = list(session.scalars(old.where(Video.id.not_in(kept))))
        for video_id in ids:
            self.remove(User(id="", name="retention", role="admin"), video_id)
        return len(ids)
