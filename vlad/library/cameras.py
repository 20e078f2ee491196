"""Cameras that are watched: where they are, how their alarms are raised, and the scores that they gave.

In: what admins say of a camera, what whoever watches it tells. Out: cameras, without what opens them; that is handed out by itself, to whoever connects (`camera_access`).
A user and a password in an address are taken out of it before anything is kept, and so is a query that may hold one: all but those that say which picture.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import numpy as np
import numpy.typing as npt
from sqlalchemy import delete, select
from sqlalchemy.orm import Session, undefer

from vlad.clock import zone_of
from vlad.errors import ConflictError, InputError, MissingError

from . import audit
from .asking import check_camera
from .changes import tell
from .database import Database, called, clean
from .tables import AlarmRow, AnalysisRow, CameraRow, Option, ScoreRow, SegmentRow, User, Video, new_id
from .vault import Vault

MOST = 500  # cameras
LONGEST = 2000  # letters of an address
SCHEMES = ("rtsp", "rtsps", "http", "https")
PLAIN = re.compile(  # of a query: what says which picture, and opens nothing
    r"(?:action|audio|camera|channel|codec|compression|date|format|fps|h|height|inst|mirror|mode|profile|quality|resolution|rotation|size|stream|streamprofile|subtype|transportmode|unicast"
    r"|video|videocodec|w|width)=[A-Za-z0-9_.-]{0,12}",
    re.I,
)
WATCHER, LEASE = "watcher", 20.0  # the option that names it; seconds
SCORES = 21  # days for which scores are kept
AROUND = 60.0  # seconds about a confirmed alarm that are not normal
FIELDS = {"name", "url", "sub_url", "user", "password", "on", "settings"}
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Access:
    """What opens a camera; printed nowhere. query, sub_query: of its addresses, '' where they are no secret."""

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    query: str = field(default="", repr=False)
    sub_query: str = field(default="", repr=False)


class Cameras:
    """The cameras of a library."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self.database, self.vault = database, vault

    def cameras(self) -> list[CameraRow]:
        """Those that were not removed, by name."""
        with self.database.read() as session:
            return list(session.scalars(select(CameraRow).where(CameraRow.closed.is_(None)).order_by(CameraRow.name)))

    def camera(self, camera_id: str) -> CameraRow:
        """One of them. Raises MissingError."""
        with self.database.read() as session:
            return _there(session, camera_id)

    def camera_named(self, name: str) -> CameraRow:
        """The same by its name. Raises MissingError, RightsError for somebody else's."""
        check_camera(name)
        with self.database.read() as session:
            row = session.scalars(select(CameraRow).where(CameraRow.name == name, CameraRow.closed.is_(None))).first()
        if row is None:
            raise MissingError(f"camera {called(name)[:200]!r}: no such id or name")
        return row

    def opened(self) -> dict[str, bool]:
        """By id, whether something is kept that opens a camera."""
        with self.database.read() as session:
            return {i: kept for i, kept in session.execute(select(CameraRow.id, CameraRow.secret != ""))}

    def save_camera(self, user: User, changes: Mapping[str, Any], camera_id: str = "", version: str | None = None) -> CameraRow:  # fmt: skip
        """A new camera, or changes of one: name, url, sub_url, user, password, on, settings. version: as this person saw it, see `version_of`. Raises InputError, ConflictError for a
        name that is taken, and where it was changed since.

        What opens it goes with its host: another host, and a password that is not told anew is forgotten.
        """
        unknown = set(changes) - FIELDS
        if unknown:
            raise InputError(f"camera: {', '.join(sorted(unknown))} cannot be changed")
        with self.database.write() as session:
            rows = list(session.scalars(select(CameraRow).options(undefer(CameraRow.secret))))
            if camera_id:
                row = next((r for r in rows if r.id == camera_id and r.closed is None), None)
                if row is None:
                    raise MissingError("camera: no such id")
                if changes.get("name", row.name) != row.name:
                    raise InputError("camera: keeps its name, which its clips and alarms have; add another one")
                before = _facts(row)
                if version is not None and version != version_of(row):
                    raise ConflictError("camera: somebody changed it meanwhile; open it again, and change what is left")
            else:
                row, before = _added(rows, called(str(changes.get("name", ""))).strip()), {}
            self._address(row, changes)
            row.on, row.closed = bool(changes.get("on", row.on)), None
            if "settings" in changes:
                row.settings = _settings(changes["settings"])
            session.add(row)
            session.flush()
            action = "camera changed" if before else "camera added"
            after = _facts(row)
            more = {"before": {k: v for k, v in before.items() if after[k] != v}} if before else {}
            opens = {"password": True} if {"user", "password"} & set(changes) else {}
            audit.append(session, user.name, action, row.id, camera=row.name, **more, **opens)
            tell(session, "camera", row.id, by=user.name)
            return row

    def _address(self, row: CameraRow, changes: Mapping[str, Any]) -> None:
        """Addresses, and what opens them apart."""
        if not {"url", "sub_url", "user", "password"} & set(changes) and row.url:
            return
        host, told = host_of(row), dict[str, Any]()
        for key, secret in (("url", "query"), ("sub_url", "sub_query")):
            url, user, password, query = apart(str(changes.get(key, getattr(row, key))))
            if url != getattr(row, key) or query:
                setattr(row, key, url)
                told[secret] = query
            told |= {"user": user, "password": password} if user or password else {}
        if not row.url:
            raise InputError("camera: expected an address, such as rtsp://192.168.1.20/stream")
        told |= {k: clean(str(changes[k]))[:500] for k in ("user", "password") if k in changes}
        kept = Access()
        if host_of(row) == host and not {"user", "password"} <= set(told):
            kept = _access(self.vault.open(row.id, host, row.secret))
        access = {**asdict(kept), **told}
        row.secret = self.vault.close(row.id, host_of(row), json.dumps(access) if any(access.values()) else "")

    def camera_access(self, camera_id: str) -> Access:
        """What opens a camera, for whoever connects to it. Raises MissingError, OutputError where the key is not here, InputError where its address was changed behind the library's back."""
        with self.database.read() as session:
            row = session.get(CameraRow, camera_id, options=[undefer(CameraRow.secret)])
        if row is None:
            raise MissingError("camera: no such id")
        return _access(self.vault.open(row.id, host_of(row), row.secret))

    def remove_camera(self, user: User, camera_id: str) -> None:
        """It is watched no more, and what opened it is forgotten; its alarms and clips stay. Raises MissingError."""
        with self.database.write() as session:
            row = _there(session, camera_id)
            row.closed, row.secret, row.on, row.state, row.calibration = time.time(), "", False, None, None
            audit.append(session, user.name, "camera removed", row.id, camera=row.name)
            tell(session, "camera", row.id, by=user.name)

    def mute_camera(self, user: User, camera_id: str, until: float, reason: str = "") -> CameraRow:
        """No alarm of it is raised until a time (s since 1970), 0 for at once again. Raises MissingError, InputError beyond 31 days."""
        if not (until == 0 or until <= time.time() + 31 * 86_400):
            raise InputError("mute: expected at most 31 days")
        with self.database.write() as session:
            row = _there(session, camera_id)
            row.muted_until = until
            detail = {"camera": row.name, "until": until, **({"reason": clean(reason)[:2000]} if reason else {})}
            audit.append(session, user.name, "camera muted" if until else "camera unmuted", row.id, **detail)
            tell(session, "camera", row.id, by=user.name)
            return row

    def watching(self, name: str) -> bool:
        """Whether who is named (up to 40 letters) is the one process that watches this library's cameras from now on: another's word holds for LEASE seconds, by the database's clock."""
        with self.database.write() as session:
            now, row = self.database.clock(session), session.get(Option, WATCHER)
            if row is not None and row.words not in (None, name) and now - LEASE < (row.value or 0) <= now + LEASE:
                return False
            session.merge(Option(name=WATCHER, value=now, words=name))
            return True

    def watched_no_more(self, name: str) -> None:
        """That process ends; another may begin at once."""
        with self.database.write() as session:
            row = session.get(Option, WATCHER)
            if row is not None and row.words == name:
                row.value = 0.0

    def tell_cameras(self, states: Mapping[str, dict[str, Any]]) -> None:
        """What those are like that are watched, by name; pages hear of it where more than numbers changed."""
        with self.database.write() as session:
            for row in session.scalars(select(CameraRow).where(CameraRow.name.in_(states), CameraRow.closed.is_(None))):
                before, row.state, row.told = row.state or {}, states[row.name], time.time()
                if before.get("state") != states[row.name].get("state"):
                    tell(session, "camera", row.id)

    def keep_scores(self, camera: str, edges: Floats, scores: npt.NDArray[np.float32], scorer: str = "") -> None:
        """Scores as they came: edges float64 [T, 2] (start and end, s since 1970), scores float32 [T] in [0, 1]; scorer: the name of whose they are."""
        if len(scores) == 0:
            return
        row = ScoreRow(
            camera=camera, scorer=scorer, start=float(edges[0, 0]), end=float(edges[-1, 1]),
            scores=np.asarray(scores, "<f4").tobytes(), edges=np.asarray(edges, "<f8").tobytes(),
        )  # fmt: skip
        with self.database.write() as session:
            session.add(row)

    def recent_scores(self, camera: str, since: float) -> tuple[Floats, Floats]:
        """Edges [T, 2] and scores [T] of a camera since a time, in order. Raises RightsError."""
        check_camera(camera)
        with self.database.read() as session:
            rows = list(
                session.scalars(
                    select(ScoreRow).where(ScoreRow.camera == camera, ScoreRow.end > since).order_by(ScoreRow.start)
                )
            )
        return _whole(rows)

    def normal_scores(self, camera: str) -> list[tuple[Floats, Floats]]:
        """Scores of a camera in which nobody confirmed anything: of each clip and each stretch of the stream, edges [T, 2] (s) and scores [T]; the oldest first.

        Of a clip none where a segment of it was confirmed; of the stream none within AROUND of a confirmed alarm. What nobody looked at counts as normal. Only those of the scorer
        that scored the newest clip, and of the one that scored the stream last: others' are no measure of what it will say.
        """
        check_camera(camera)
        confirmed = select(SegmentRow.video_id).where(SegmentRow.status == "confirmed", SegmentRow.gone.is_(None))
        clips = (
            select(AnalysisRow.scores, AnalysisRow.edges, AnalysisRow.made_by).join(Video, Video.id == AnalysisRow.video_id)
            .where(Video.camera == camera, Video.removed.is_(None), Video.id.not_in(confirmed)).order_by(Video.created)
        )  # fmt: skip
        hits = select(AlarmRow.start, AlarmRow.end).where(AlarmRow.camera == camera, AlarmRow.verdict == "confirmed")
        with self.database.read() as session:
            found = []
            analysed = [(*row[:2], (row[2].get("scorer"), row[2].get("encoder"))) for row in session.execute(clips)]
            for kept, cut, by in analysed:
                if by != analysed[-1][2]:
                    continue
                cuts = np.frombuffer(cut, "<f8")
                found.append((np.stack([cuts[:-1], cuts[1:]], 1), np.frombuffer(kept, "<f4").astype(np.float64)))
            rows = list(session.scalars(select(ScoreRow).where(ScoreRow.camera == camera).order_by(ScoreRow.start)))
            spans = [(a - AROUND, b + AROUND) for a, b in session.execute(hits)]
        edges, scores = _whole([r for r in rows if r.scorer == rows[-1].scorer])
        for start, end in spans:
            normal = (edges[:, 1] <= start) | (edges[:, 0] >= end)
            edges, scores = edges[normal], scores[normal]
        breaks = np.flatnonzero(edges[1:, 0] - edges[:-1, 1] > AROUND) + 1
        found += [(e, s) for e, s in zip(np.split(edges, breaks), np.split(scores, breaks), strict=True) if len(s)]
        return found

    def forget_scores(self, days: float = SCORES) -> int:
        """Remove scores older than that; how many rows."""
        with self.database.write() as session:
            done = session.execute(delete(ScoreRow).where(ScoreRow.end < time.time() - days * 86_400))
            return int(done.rowcount)  # type: ignore[attr-defined]

    def calibrate_camera(self, by: str, camera_id: str, facts: Mapping[str, Any]) -> CameraRow:
        """Hold a camera to a calibrated threshold: facts have enter, rate (false alarms an hour) and what else is to be told of it. A typed one stands back. Raises MissingError."""
        with self.database.write() as session:
            row = _there(session, camera_id)
            row.calibration = {**facts, "now": float(facts["enter"]), "at": time.time(), "verdicts": 0}
            row.settings = {k: v for k, v in row.settings.items() if k != "threshold"}
            audit.append(
                session,
                by,
                "camera calibrated",
                row.id,
                camera=row.name,
                enter=row.calibration["now"],
                rate=facts["rate"],
            )
            tell(session, "camera", row.id, by=by)
            return row


def apart(url: str) -> tuple[str, str, str, str]:
    """An address without what opens it, and that: user, password, and a query that may hold one of them. Raises InputError, which tells nothing of it."""
    url = clean(url).strip()
    if not url:
        return "", "", "", ""
    if len(url) > LONGEST or not url.isprintable() or " " in url:
        raise InputError(f"camera: expected an address of up to {LONGEST} letters, without spaces")
    if url.startswith("/") and "\\" not in url:
        return url, "", "", ""  # a device, a file or a folder of the machine that watches
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
        parts = SplitResult("", "", "", "", "")
    if parts.scheme not in SCHEMES or not host or (port is not None and not 0 < port < 65536) or parts.fragment:
        raise InputError(
            f"camera: expected an address that begins with {', '.join(f'{s}://' for s in SCHEMES)}, or with / for a device, file or folder"
        )
    if "@" in parts.path + parts.query:  # else a / or ? in a password would make it a part of the path, and show it
        raise InputError("camera: expected an address that has @ once, before its host; write / as %2F, ? as %3F and other @ as %40")  # fmt: skip
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    query = "" if all(PLAIN.fullmatch(p) for p in parts.query.split("&") if p) else parts.query
    netloc = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=netloc, query="" if query else parts.query).geturl(), user, password, query


def host_of(row: CameraRow) -> str:
    """The hosts that a camera's password goes to."""
    return " ".join(dict.fromkeys(urlsplit(u).netloc for u in (row.url, row.sub_url) if u))


def _added(rows: Sequence[CameraRow], name: str) -> CameraRow:
    """A new one, or the one of that name that was removed."""
    if not name or len(name) > 200:
        raise InputError("camera: expected a name of 1 to 200 letters")
    row = next((r for r in rows if r.name == name), None)
    if row is not None and row.closed is None:
        raise ConflictError(f"camera {name!r}: there is one of that name")
    if sum(r.closed is None for r in rows) >= MOST:
        raise ConflictError(f"camera: there are {MOST} already")
    made = row or CameraRow(id=new_id(), name=name)
    made.url = made.sub_url = made.secret = ""
    made.settings, made.on = {}, True
    return made


def _access(kept: str) -> Access:
    return Access(**json.loads(kept)) if kept else Access()


def _there(session: Session, camera_id: str) -> CameraRow:
    row = session.get(CameraRow, camera_id)
    if row is None or row.closed is not None:
        raise MissingError("camera: no such id")
    return row


def version_of(row: CameraRow) -> str:
    """Of what people set: another one after any change of it, calibration's too."""
    return hashlib.sha256(json.dumps(_facts(row), sort_keys=True).encode()).hexdigest()[:16]


def _facts(row: CameraRow) -> dict[str, Any]:
    return {"name": row.name, "url": row.url, "sub_url": row.sub_url, "on": row.on, "settings": row.settings}


def _settings(told: Any) -> dict[str, Any]:
    """Raises InputError for what is no table, or is huge."""
    if not isinstance(told, dict) or len(json.dumps(told)) > 50_000:
        raise InputError("camera: expected settings by name, of up to 50,000 letters")
    zone_of(str(told.get("clock") or ""))
    return dict(told)


def _whole(rows: Sequence[ScoreRow]) -> tuple[Floats, Floats]:
    edges = [np.frombuffer(r.edges, "<f8").reshape(-1, 2) for r in rows]
    scores = [np.frombuffer(r.scores, "<f4").astype(np.float64) for r in rows]
    return np.concatenate(edges or [np.zeros((0, 2))]), np.concatenate(scores or [np.zeros(0)])
