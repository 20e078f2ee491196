"""The log of who did what: rows are only ever added, and each carries the hash of all before it.

Whoever changes, removes or reorders a row breaks the chain from there on; `verify` says where. Cutting off the end leaves a whole chain, so the
last digest is worth keeping elsewhere (`vlad audit verify` prints it).
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from .tables import AuditRow

START = "0" * 64


def digest(before: str, number: int, at: float, user: str, action: str, target: str, detail: dict[str, Any]) -> str:
    """SHA-256 of a row behind the digest `before`."""
    facts = json.dumps([before, number, repr(at), user, action, target, detail], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()


def append(session: Session, user: str, action: str, target: str = "", **detail: Any) -> None:
    """Add a row. The session must hold the library's write lock, or two rows would follow the same one."""
    last = session.scalars(select(AuditRow).order_by(AuditRow.number.desc()).limit(1)).first()
    number, before = (last.number + 1, last.digest) if last else (1, START)
    at = time.time()
    made = digest(before, number, at, user, action, target, detail)
    session.add(AuditRow(number=number, at=at, user=user, action=action, target=target, detail=detail, digest=made))
    session.flush()


def verify(session: Session) -> tuple[int, str, int | None]:
    """(rows, last digest, number of the first row that does not follow from those before it or None)."""
    before, expected, count = START, 1, 0
    for row in session.scalars(select(AuditRow).order_by(AuditRow.number)):
        made = digest(before, row.number, row.at, row.user, row.action, row.target, row.detail)
        if row.number != expected or made != row.digest:
            return count, before, row.number
        before, expected, count = row.digest, expected + 1, count + 1
    return count, before, None
