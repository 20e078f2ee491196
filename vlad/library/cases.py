"""Cases: ordered, made in the background, handed out; what each holds, who made it, where it lies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import joinedload

from vlad.errors import MissingError

from . import asking, audit
from .changes import tell
from .clips import known
from .database import Database, called
from .findings import segment_of_id
from .tables import ExportRow, SegmentRow, User, new_id


class Cases:
    """Exports of a library."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def order(self, user: User, segment_ids: Sequence[str], title: str, wanted: dict[str, Any]) -> ExportRow:
        """A case to be made. wanted: margin, undecided, originals."""
        row = ExportRow(user_id=user.id, segments=list(segment_ids), title=called(title)[:300], status="queued")
        row.wanted, row.total = wanted, len(segment_ids)
        with self.database.write() as session:
            session.add(row)
            session.flush()
            audit.append(session, user.name, "export ordered", row.id, title=row.title, segments=list(segment_ids))
            tell(session, "export", row.id, by=user.name)
        return row

    def next_case(self) -> ExportRow | None:
        """The oldest case that waits, now running, with who ordered it; None where none does."""
        with self.database.write() as session:
            rows = select(ExportRow).where(ExportRow.status == "queued").order_by(ExportRow.created, ExportRow.id)
            row = session.scalars(rows.options(joinedload(ExportRow.user)).limit(1)).first()
            if row is not None:
                row.status = "running"
                tell(session, "export", row.id)
            return row

    def case_goes_on(self, export_id: str, done: int) -> None:
        """So many segments of a case are done."""
        with self.database.write() as session:
            session.execute(update(ExportRow).where(ExportRow.id == export_id).values(done=done))
            tell(session, "export", export_id)

    def case_failed(self, export_id: str, why: str) -> None:
        """A case cannot be made."""
        with self.database.write() as session:
            session.execute(update(ExportRow).where(ExportRow.id == export_id).values(status="failed", error=why[:500]))
            tell(session, "export", export_id)

    def revive_cases(self) -> None:
        """Cases whose server ended meanwhile wait again."""
        with self.database.write() as session:
            session.execute(update(ExportRow).where(ExportRow.status == "running").values(status="queued", done=0))

    def exported(
        self, user: User, segment_ids: Sequence[str], manifest: dict[str, str], export_id: str = "", title: str = ""
    ) -> ExportRow:
        """Remember that a case was handed out. manifest: file name to SHA-256. export_id: of the order, where there is one."""
        with self.database.write() as session:
            row = session.get(ExportRow, export_id) if export_id else None
            row = row or ExportRow(
                id=export_id or new_id(), user_id=user.id, segments=list(segment_ids), title=called(title)[:300]
            )
            row.manifest, row.status, row.done, row.total = manifest, "done", len(segment_ids), len(segment_ids)
            for segment_id in segment_ids:
                segment_of_id(session, segment_id).exported = time.time()
            session.add(row)
            session.flush()
            audit.append(session, user.name, "exported", row.id, segments=list(segment_ids))
            tell(session, "export", row.id, by=user.name)
        return row

    def exports(self) -> list[ExportRow]:
        """Every case that is there for who asks, newest first, with who ordered it: all, or one's own of which one still sees every segment."""
        with self.database.read() as session:
            rows = select(ExportRow).options(joinedload(ExportRow.user)).order_by(ExportRow.created.desc())
            found = list(session.scalars(rows))
            if asking.now().cameras is None:
                return found
            ids = sorted({i for row in found for i in row.segments})
            seen: set[str] = set()
            for first in range(0, len(ids), 500):
                seen |= set(session.scalars(select(SegmentRow.id).where(SegmentRow.id.in_(ids[first : first + 500]))))
            return [row for row in found if seen.issuperset(row.segments)]

    def export(self, export_id: str) -> ExportRow:
        """A case that is there for who asks. Raises MissingError."""
        found = next((row for row in self.exports() if row.id == export_id), None)
        if found is None:
            raise MissingError("case: no such id")
        return found

    def case(self, export_id: str) -> Path:
        """Where a case lies. Raises InputError for what is no id."""
        return self.database.shelf.found(f"exports/{known(export_id)}.zip")

    def case_size(self, export_id: str) -> int:
        """Bytes of a case, 0 where it is gone. Raises OutputError."""
        return self.database.shelf.size(f"exports/{known(export_id)}.zip")

    def put_case(self, export_id: str) -> None:
        """A case that was made is there for other machines too. Raises OutputError."""
        self.database.shelf.put(f"exports/{known(export_id)}.zip")
