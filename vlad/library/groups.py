"""Groups: cameras, and the reviewers who see their clips.

In: an admin's word. Out: the cameras of a user. As long as there is no group everybody sees all; from the first one on a reviewer sees the cameras of
theirs, and an admin all.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vlad.errors import InputError, MissingError

from . import audit
from .database import Database, called
from .tables import Group, User

MOST = 2000  # cameras or people of a group


class Groups:
    """Who sees which cameras."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def cameras_of(self, user: User) -> frozenset[str] | None:
        """The cameras whose clips a user sees, '' for clips without one; None for all."""
        if user.role == "admin":
            return None
        with self.database.read() as session:
            return cameras_in(session, user)

    def groups(self) -> list[tuple[Group, list[str]]]:
        """Every group by name, with the names of its members."""
        with self.database.read() as session:
            names = {i: name for i, name in session.execute(select(User.id, User.name))}
            rows = session.scalars(select(Group).order_by(Group.name))
            return [(g, sorted(names[i] for i in g.members if i in names)) for g in rows]

    def set_group(self, by: str, name: str, cameras: Sequence[str], members: Sequence[str]) -> Group:
        """Make a group, or change it: its cameras ('' for clips without one), and its members by name. Raises InputError, MissingError for nobody."""
        name = called(name).strip()
        if not name or len(name) > 200:
            raise InputError("group: expected a name of 1 to 200 letters")
        if max(len(cameras), len(members)) > MOST:
            raise InputError(f"group {name!r}: at most {MOST} cameras and people")
        with self.database.write() as session:
            ids = {
                n: i
                for i, n in session.execute(
                    select(User.id, User.name).where(User.password != "", User.closed.is_(None))
                )
            }
            unknown = [m for m in members if m not in ids]
            if unknown:
                raise MissingError(f"user {unknown[0]!r}: no such id or name"[:300])
            row = session.scalars(select(Group).where(Group.name == name)).first() or Group(name=name)
            row.cameras = sorted({called(c)[:200] for c in cameras})
            row.members = sorted({ids[m] for m in members})
            session.add(row)
            session.flush()
            audit.append(session, by, "group set", row.id, name=name, cameras=row.cameras, members=sorted(set(members)))
            return row

    def remove_group(self, by: str, name: str) -> int:
        """Remove a group; how many are left: with none everybody sees all. Raises MissingError."""
        with self.database.write() as session:
            row = session.scalars(select(Group).where(Group.name == name)).first()
            if row is None:
                raise MissingError(f"group {name!r}: no such id or name"[:300])
            session.delete(row)
            session.flush()
            left = session.scalar(select(func.count()).select_from(Group)) or 0
            audit.append(session, by, "group removed", row.id, name=name, left=left)
            return left


def cameras_in(session: Session, user: User) -> frozenset[str] | None:
    """The same within a session."""
    if user.role == "admin":
        return None
    found = list(session.scalars(select(Group)))
    return frozenset(c for g in found if user.id in g.members for c in g.cameras) if found else None
