"""Where alarms are told, and the messages on their way: written with what they tell of, tried until they are sent or a day is over.

In: admins' targets, alarms, senders who claim messages. Out: messages, each there once. A message is claimed for a while, sent, and marked: whoever dies in between
leaves it to the next, so that on the wire it may come twice, with the same key by which a receiver knows it again.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session, joinedload, undefer

from vlad.errors import ConflictError, InputError, MissingError

from . import audit
from .database import Database, called
from .groups import cameras_in
from .tables import AlarmRow, OutboxRow, TargetRow, User, new_id
from .vault import Vault

KINDS = ("webhook", "mqtt", "mail", "push")
EVENTS = ("raised", "again", "ended", "acknowledged", "escalated")
TAKEN: Mapping[str, tuple[str, ...]] = {"webhook": EVENTS, "mqtt": EVENTS, "mail": ("raised", "escalated"), "push": ("raised", "escalated")}  # fmt: skip
MOST = 500  # targets
BROWSERS = 20  # of one person
LEASE = 90.0  # seconds for which a claimed message is nobody else's: longer than any sending takes
GIVEN_UP = 86_400.0  # seconds after which a message that could not be sent is given up
FIRST, LAST = 5.0, 3600.0  # seconds until the second try, and at most until the next; doubled each time
KEPT = 7.0  # days for which messages are kept that were sent or given up
WRONG = "target: expected an address such as https://example.org/hook, of up to 2000 letters, without spaces"
FIELDS = {"kind", "name", "address", "secret", "cameras", "on", "settings"}


@dataclass(frozen=True)
class Access:
    """What opens a target; printed nowhere. path: of its address, with the query: many a webhook's is all that it asks for."""

    secret: str = field(default="", repr=False)
    path: str = field(default="", repr=False)


class Outbox:
    """Targets, and messages to them."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self.database, self.vault = database, vault

    def targets(self) -> list[TargetRow]:
        """All of them by name, without their secrets."""
        with self.database.read() as session:
            return list(session.scalars(select(TargetRow).order_by(TargetRow.name)))

    def target(self, target_id: str) -> TargetRow:
        """One of them. Raises MissingError."""
        with self.database.read() as session:
            return _there(session, target_id)

    def targets_with_secret(self) -> set[str]:
        """Ids of those for which a secret is kept."""
        with self.database.read() as session:
            return set(session.scalars(select(TargetRow.id).where(TargetRow.secret != "")))

    def target_access(self, target_id: str) -> Access:
        """What opens a target. Raises MissingError, OutputError where the key is not here, InputError where it was kept for another host."""
        with self.database.read() as session:
            row = _there(session, target_id, undefer(TargetRow.secret))
        return _access(self.vault.open(row.id, _host(row), row.secret))

    def save_target(self, user: User, changes: Mapping[str, Any], target_id: str = "") -> TargetRow:
        """A new target, or changes of one: name, address, secret, cameras, on, settings; its kind stays. Raises InputError, ConflictError, MissingError.

        A secret goes with its host: with another host it is forgotten where it is not told anew. The path of an address is a secret too.
        """
        unknown = set(changes) - FIELDS
        if unknown:
            raise InputError(f"target: {', '.join(sorted(unknown))} cannot be changed")
        with self.database.write() as session:
            rows = list(session.scalars(select(TargetRow)))
            if target_id:
                row = _there(session, target_id, undefer(TargetRow.secret))
                host, action = _host(row), "target changed"
            else:
                if len(rows) >= MOST:
                    raise ConflictError(f"target: there are {MOST} already")
                row = TargetRow(id=new_id(), kind=str(changes.get("kind", "")), name="", address="", secret="", on=True)
                host, action = "", "target added"
            if row.kind not in KINDS or changes.get("kind", row.kind) != row.kind:
                raise InputError(f"target: expected a kind, one of {', '.join(KINDS)}, which stays")
            row.name = called(str(changes.get("name", row.name))).strip()
            told = {"secret": str(changes["secret"])} if "secret" in changes else {}
            if "address" in changes:
                address, path = apart(str(changes["address"]))
                if address != row.address or path:
                    row.address, told["path"] = address, path
            _check(row)
            if any(r.name == row.name and r.id != row.id for r in rows):
                raise ConflictError(f"target {row.name!r}: there is one of that name")
            row.cameras = sorted({called(str(c))[:200] for c in changes.get("cameras", row.cameras) or []})
            row.on = bool(changes.get("on", row.on))
            whose = {"user": row.settings["user"]} if row.kind == "push" and target_id else {}
            row.settings = {**dict(changes.get("settings", row.settings) or {}), **whose}
            if told:
                kept = (
                    _access(self.vault.open(row.id, host, row.secret))
                    if _host(row) == host and len(told) < 2
                    else Access()
                )
                access = {**asdict(kept), **told}
                row.secret = self.vault.close(row.id, _host(row), json.dumps(access) if any(access.values()) else "")
            session.add(row)
            session.flush()
            audit.append(session, user.name, action, row.id, name=row.name, kind=row.kind, address=row.address, on=row.on, secret="secret" in changes)  # fmt: skip
            return row

    def subscribe(self, user: User, endpoint: str, secret: str) -> TargetRow:
        """A person's browser, told of alarms of cameras that this person sees, for as long as they do; once more changes nothing but its keys. Raises ConflictError beyond BROWSERS."""
        parts = urlsplit(endpoint)
        name = f"push {user.name[:150]} {hashlib.sha256(endpoint.encode()).hexdigest()[:12]}"
        with self.database.write() as session:
            row = session.scalars(select(TargetRow).where(TargetRow.name == name)).first()
            if row is None:
                own = [t for t in session.scalars(select(TargetRow).where(TargetRow.kind == "push")) if t.settings.get("user") == user.id]  # fmt: skip
                if len(own) >= BROWSERS:
                    raise ConflictError(f"push: {BROWSERS} browsers of yours are told already; let go of one first")
                row = TargetRow(id=new_id(), kind="push", name=name, address=f"https://{parts.netloc}", on=True)
                row.settings, row.cameras = {"user": user.id}, []
                audit.append(session, user.name, "browser subscribed", row.id, name=name)
            row.secret = self.vault.close(row.id, _host(row), json.dumps({"secret": secret, "path": ""}))
            session.add(row)
            return row

    def unsubscribe(self, user: User, endpoint: str) -> bool:
        """That browser is told no more; False where it was not."""
        ends = hashlib.sha256(endpoint.encode()).hexdigest()[:12]
        with self.database.write() as session:
            rows = [t for t in session.scalars(select(TargetRow).where(TargetRow.kind == "push")) if t.settings.get("user") == user.id and t.name.endswith(ends)]  # fmt: skip
            for row in rows:
                _drop(session, row)
                audit.append(session, user.name, "browser unsubscribed", row.id, name=row.name)
            return bool(rows)

    def push_gone(self, target_id: str) -> None:
        """A browser that its service says is gone is told no more."""
        with self.database.write() as session:
            row = session.get(TargetRow, target_id)
            if row is not None and row.kind == "push":
                _drop(session, row)
                audit.append(session, "", "browser gone", row.id, name=row.name)

    def keys_folder(self) -> Path:
        """Where keys lie."""
        return self.vault.path.parent

    def remove_target(self, user: User, target_id: str) -> None:
        """Nothing is told there any more; what waits for it is gone too. Raises MissingError."""
        with self.database.write() as session:
            row = _there(session, target_id)
            waiting = session.scalar(select(func.count()).select_from(OutboxRow).where(OutboxRow.target_id == row.id, *_open()))  # fmt: skip
            _drop(session, row)
            audit.append(session, user.name, "target removed", row.id, name=row.name, waiting=waiting or 0)

    def test_target(self, user: User, target_id: str) -> OutboxRow:
        """A message that says it is a test, on its way. Raises MissingError, ConflictError while three others wait."""
        with self.database.write() as session:
            row = _there(session, target_id)
            tests = OutboxRow.target_id == row.id, OutboxRow.alarm_id == "", *_open()
            if (session.scalar(select(func.count()).select_from(OutboxRow).where(*tests)) or 0) >= 3:
                raise ConflictError("target: three test messages are on their way to it already")
            key = f"test:{new_id()}:{row.id}"
            payload = {"type": "test", "key": key, "at": time.time(), "by": user.name, "camera": "", "target": row.name}
            message = OutboxRow(key=key, target_id=row.id, payload=payload, next=time.time())
            session.add(message)
            session.flush()
            audit.append(session, user.name, "target tested", row.id, name=row.name)
            return message

    def messages(self, target_id: str, count: int = 50) -> list[OutboxRow]:
        """The newest messages to a target. Raises MissingError."""
        with self.database.read() as session:
            _there(session, target_id)
            rows = (
                select(OutboxRow)
                .where(OutboxRow.target_id == target_id)
                .order_by(OutboxRow.created.desc(), OutboxRow.id)
            )
            return list(session.scalars(rows.limit(count)))

    def waiting(self) -> dict[str, int]:
        """How many messages wait, by id of their target; those that were given up under `failed`."""
        with self.database.read() as session:
            found = select(OutboxRow.target_id, func.count()).where(*_open()).group_by(OutboxRow.target_id)
            failed = session.scalar(select(func.count()).select_from(OutboxRow).where(OutboxRow.failed != "")) or 0
            return {**{i: n for i, n in session.execute(found)}, "failed": failed}

    def troubles(self) -> dict[str, tuple[str, float]]:
        """Why messages wait and when the next of them is tried (s since 1970), by id of their target: the error of the newest that has one, '' where none was tried yet."""
        one, newest = OutboxRow.target_id, (OutboxRow.error == "", OutboxRow.created.desc(), OutboxRow.id)
        soonest = func.min(OutboxRow.next).over(partition_by=one).label("soonest")
        place = func.row_number().over(partition_by=one, order_by=newest).label("place")
        found = select(one, OutboxRow.error, soonest, place).where(*_open()).subquery()
        with self.database.read() as session:
            rows = session.execute(select(found.c.target_id, found.c.error, found.c.soonest).where(found.c.place == 1))
            return {target_id: (error, when) for target_id, error, when in rows}

    def claim_messages(
        self, now: float, count: int = 20, target_id: str = "", *, but: Collection[str] = ()
    ) -> list[OutboxRow]:
        """The oldest message that is due of each of `count` targets, now this caller's for LEASE; with their targets. target_id: of that one alone; but: ids of targets, of none of these."""
        # what waits for longer than anything does was written by a clock that was ahead
        waits, taken = (
            OutboxRow.next.between(now + 1e-6, now + 2 * LAST),
            OutboxRow.claimed.between(now + 1e-6, now + 2 * LEASE),
        )
        due = (*_open(), ~waits, ~taken, TargetRow.on)
        if target_id:
            due = (*due, OutboxRow.target_id == target_id)
        if but:
            due = (*due, OutboxRow.target_id.not_in(but))
        with self.database.read() as session:  # most of the time there is none, and nobody has to wait for a writer
            if session.scalar(select(OutboxRow.id).join(TargetRow).where(*due).limit(1)) is None:
                return []
        with self.database.write() as session:
            busy = select(OutboxRow.target_id).where(*_open(), taken)
            oldest = select(OutboxRow.target_id).join(TargetRow).where(*due, OutboxRow.target_id.not_in(busy))
            oldest = oldest.group_by(OutboxRow.target_id).order_by(func.min(OutboxRow.created)).limit(count)
            found = []
            for one in session.scalars(oldest).all():  # however much waits for one, others have their turn
                rows = select(OutboxRow).join(TargetRow).options(joinedload(OutboxRow.target)).where(*due, OutboxRow.target_id == one)  # fmt: skip
                row = session.scalars(rows.order_by(OutboxRow.created, OutboxRow.id).limit(1)).one()
                row.claimed, row.attempts = now + LEASE, row.attempts + 1
                found.append(row)
            return found

    def message_sent(self, message_id: str, now: float) -> None:
        """It is; what else waits for that target is tried at once, since it answers again."""
        with self.database.write() as session:
            row = session.get(OutboxRow, message_id)
            if row is None or row.sent is not None:
                return
            row.sent, row.claimed, row.error = now, 0.0, ""
            waiting = update(OutboxRow).where(OutboxRow.target_id == row.target_id, *_open(), OutboxRow.next > now)
            session.execute(waiting.values(next=now))

    def message_failed(self, message_id: str, why: str, now: float, *, later: float = 0.0) -> None:
        """It could not be sent: tried again after a while, doubled with each try and never at the same time as others, or given up after a day. later: seconds that the receiver asks for."""
        with self.database.write() as session:
            row = session.get(OutboxRow, message_id)
            if row is None or row.sent is not None:
                return
            row.claimed, row.error = 0.0, called(why)[:300]
            if now - row.created >= GIVEN_UP:
                row.failed = f"given up after a day and {row.attempts} tries: {row.error}"
                return
            pause = min(FIRST * 2.0 ** min(row.attempts - 1, 20), LAST) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            row.next = now + max(pause, min(later, LAST))
            soon = now + max(FIRST / 2, min(later, LAST))  # its other messages are not tried on the heels of this one
            others = update(OutboxRow).where(OutboxRow.target_id == row.target_id, *_open(), OutboxRow.next < soon)
            session.execute(others.values(next=soon).execution_options(synchronize_session=False))

    def forget_messages(self, days: float = KEPT) -> int:
        """Remove messages that were sent or given up, of alarms that are old; how many."""
        over = (OutboxRow.sent.is_not(None) | (OutboxRow.failed != "")), OutboxRow.created < time.time() - days * 86_400
        with self.database.write() as session:
            return int(session.execute(delete(OutboxRow).where(*over)).rowcount)  # type: ignore[attr-defined]


def post(session: Session, alarm: AlarmRow, what: str, once: str) -> None:
    """Messages of what happened to an alarm, one to each target that takes it, in the change that makes it happen. once: tells this from any other time that it happened."""
    for target in session.scalars(select(TargetRow).where(TargetRow.on)):
        wanted = target.settings.get("events") or TAKEN[target.kind]
        if (
            (target.cameras and alarm.camera not in target.cameras)
            or what not in wanted
            or not _sees(session, target, alarm.camera)
        ):
            continue
        key = f"{alarm.id}:{once}:{target.id}"
        if session.scalar(select(OutboxRow.id).where(OutboxRow.key == key)) is None:
            payload = {"type": what, "key": key, "at": time.time(), **told(alarm)}
            session.add(OutboxRow(key=key, target_id=target.id, alarm_id=alarm.id, payload=payload, next=time.time()))


def told(alarm: AlarmRow) -> dict[str, Any]:
    """An alarm as a message tells it; times in seconds since 1970."""
    return {
        "alarm": alarm.id, "camera": alarm.camera, "start": alarm.start, "end": alarm.end, "peak": round(alarm.peak, 4), "label": alarm.label,
        "zone": alarm.zone, "going": alarm.ended is None, "state": alarm.state, "by": alarm.by, "counted": alarm.counted, "summary": alarm.summary,
    }  # fmt: skip


def _drop(session: Session, row: TargetRow) -> None:
    session.execute(delete(OutboxRow).where(OutboxRow.target_id == row.id))
    session.delete(row)


def _sees(session: Session, target: TargetRow, camera: str) -> bool:
    """Whether a target may hear of a camera: a person's browser of those that this person sees, and of none once they are gone."""
    user_id = target.settings.get("user")
    if target.kind != "push" or not user_id:
        return True
    user = session.get(User, user_id)
    if user is None or user.closed is not None:
        return False
    cameras = cameras_in(session, user)
    return cameras is None or camera in cameras


def _open() -> tuple[Any, ...]:
    return OutboxRow.sent.is_(None), OutboxRow.failed == ""


def _there(session: Session, target_id: str, *options: Any) -> TargetRow:
    row = session.get(TargetRow, target_id, options=options)
    if row is None:
        raise MissingError("target: no such id")
    return row


def _check(row: TargetRow) -> None:
    if not row.name or len(row.name) > 200:
        raise InputError("target: expected a name of 1 to 200 letters")
    if not row.address:
        raise InputError(WRONG)


def apart(address: str) -> tuple[str, str]:
    """An address without its path and query, which may be all that a receiver asks for, and these. Raises InputError, which tells nothing of them."""
    address = address.strip()
    try:
        parts = urlsplit(address)
        fits = bool(parts.hostname) and (parts.port is None or 0 < parts.port < 65536)
    except ValueError:
        parts, fits = urlsplit(""), False
    if not fits or parts.fragment or not 0 < len(address) <= 2000 or not address.isprintable() or " " in address:
        raise InputError(WRONG)
    if "@" in parts.netloc:
        raise InputError("target: a user and a password belong into its secret, not into its address")
    return f"{parts.scheme}://{parts.netloc}", parts._replace(scheme="", netloc="").geturl()


def _access(kept: str) -> Access:
    return Access(**json.loads(kept)) if kept else Access()


def _host(row: TargetRow) -> str:
    return urlsplit(row.address).netloc
