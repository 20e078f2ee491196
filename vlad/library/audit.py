"""The log of who did what: rows are only ever added, and each carries the hash of all before it.

Whoever changes, removes or reorders a row breaks the chain from there on; `verify` says where. Cutting off the end, emptying it or computing it anew leaves
a whole chain: `seal.py` keeps signed heads of it elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from . import asking
from .tables import AuditRow, ExportRow, VerdictRow

START = "0" * 64
STEP = 3600.0  # seconds that a clock may be put back


def digest(before: str, number: int, at: float, user: str, action: str, target: str, detail: dict[str, Any]) -> str:
    """SHA-256 of a row behind the digest `before`."""
    facts = json.dumps([before, number, repr(at), user, action, target, detail], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()


def append(session: Session, user: str, action: str, target: str = "", **detail: Any) -> None:
    """Add a row. The session must hold the library's write lock, or two rows would follow the same one."""
    append_all(session, user, action, [(target, detail)])


def append_all(session: Session, user: str, action: str, targets: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Add a row for each (target, detail), at one time and by one person, with the address that was asked from."""
    last = session.scalars(select(AuditRow).order_by(AuditRow.number.desc()).limit(1)).first()
    number, before = (last.number, last.digest) if last else (0, START)
    at, address = time.time(), asking.now().address
    for target, detail in targets:
        detail = {**detail, "address": address} if address else detail
        number += 1
        before = digest(before, number, at, user, action, target, detail)
        session.add(
            AuditRow(number=number, at=at, user=user, action=action, target=target, detail=detail, digest=before)
        )
    session.flush()


def verify(session: Session, since: tuple[int, str] = (0, START)) -> tuple[int, str, int | None]:
    """(rows, last digest, number of the first row that does not follow from those before it, in content or in time, or None).

    since: rows that are known to be whole, and the digest of the last of them.
    """
    count, before = since
    expected, at = count + 1, 0.0
    later = select(AuditRow).where(AuditRow.number > count).order_by(AuditRow.number)
    found = session.scalars(later.execution_options(yield_per=1000))
    with closing(found) as rows:
        for row in rows:
            made = digest(before, row.number, row.at, row.user, row.action, row.target, row.detail)
            if row.number != expected or made != row.digest or row.at < at - STEP:
                return count, before, row.number
            before, expected, count, at = row.digest, expected + 1, count + 1, max(at, row.at)
    return count, before, None


def unlogged(session: Session) -> list[str]:
    """What the library holds more of than its log tells, a line each: a log that was cut or emptied where no seal is left of it."""
    verdicts = select(VerdictRow.verdict, func.count()).group_by(VerdictRow.verdict)
    kept: dict[str, tuple[str, int]] = {v: (f"verdicts {v}", n) for v, n in session.execute(verdicts)}
    made = select(func.count()).select_from(ExportRow).where(ExportRow.status == "done")
    kept["exported"] = ("cases", session.scalar(made) or 0)
    logged = select(AuditRow.action, func.count()).where(AuditRow.action.in_(kept)).group_by(AuditRow.action)
    told = {action: n for action, n in session.execute(logged)}
    return [
        f"the library holds {n} {words}, its log tells of {told.get(action, 0)}"
        for action, (words, n) in kept.items()
        if n > told.get(action, 0)
    ]
