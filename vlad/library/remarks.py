"""What people write beside a verdict: notes, tags, that an explanation is wrong, a sentence they stand by, and whose turn it is.

In: a person, a segment, words. Out: rows. Text of people is text and nothing else.
"""

from __future__ import annotations

import time

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from vlad.errors import ConflictError, InputError, MissingError, RightsError

from . import audit
from .changes import tell
from .database import Database, clean
from .findings import segment_of_id
from .people import People
from .review import ago
from .tables import ExplanationRow, NoteRow, SegmentRow, TagRow, User, VerdictRow, WrongRow

LONGEST = 10_000  # letters of a note


class Remarks:
    """Notes, tags, marks, sentences, assignments."""

    def __init__(self, database: Database, people: People) -> None:
        self.database, self.people = database, people

    def note(self, user: User, segment_id: str, words: str) -> NoteRow:
        """Write on a segment. Raises InputError for nothing, or too much."""
        row = NoteRow(segment_id=segment_id, user_id=user.id, text=_words(words, "note"))
        with self.database.write() as session:
            segment = segment_of_id(session, segment_id)
            session.add(row)
            session.flush()
            audit.append(session, user.name, "noted", segment_id)
            tell(session, "note", segment_id, video=segment.video_id, by=user.name)
        return row

    def edit_note(self, user: User, note_id: str, words: str) -> str:
        """Other words for a note of one's own; its segment's id. The log keeps what it said. Raises InputError, RightsError."""
        text = _words(words, "note")
        with self.database.write() as session:
            row = session.get(NoteRow, note_id)
            if row is None:
                raise MissingError("note: no such id")
            if row.user_id != user.id:  # nobody, not an admin either, puts words into another's mouth
                raise RightsError(f"note: {row.user.name} wrote it, and only {row.user.name} may change its words")
            if row.text != text:
                audit.append(session, user.name, "note edited", row.segment_id, note=note_id, before=row.text)
                row.text, row.edited = text, time.time()
                self._tell(session, "note", row.segment_id, user)
            return row.segment_id

    def remove_note(self, user: User, note_id: str) -> str:
        """Take a note away: one's own, an admin any; its segment's id. The log keeps what it said. Raises InputError."""
        with self.database.write() as session:
            row = _own_note(session, user, note_id)
            audit.append(session, user.name, "note removed", row.segment_id, note=note_id, before=row.text)
            session.delete(row)
            self._tell(session, "note", row.segment_id, user)
            return row.segment_id

    def tag(self, user: User, segment_id: str, tag: str, *, on: bool = True) -> None:
        """Hang a word on a segment, or take it off. Raises InputError."""
        word = clean(tag).strip()
        if not word or len(word) > 60 or not word.isprintable():
            raise InputError("tag: expected 1 to 60 printable letters")
        with self.database.write() as session:
            segment_of_id(session, segment_id)
            found = session.scalars(select(TagRow).where(TagRow.segment_id == segment_id, TagRow.tag == word)).first()
            if on and found is None:
                session.add(TagRow(segment_id=segment_id, user_id=user.id, tag=word))
            elif not on and found is not None:
                session.delete(found)
            else:
                return
            audit.append(session, user.name, "tagged" if on else "untagged", segment_id, tag=word)
            self._tell(session, "segment", segment_id, user)

    def assign(self, user: User, segment_id: str, to: str) -> None:
        """Give a segment to somebody, '' for nobody. Raises InputError for a name that nobody has."""
        if to and to not in self.people.names():
            raise InputError(f"{to}: nobody of that name may sign in")
        with self.database.write() as session:
            row = segment_of_id(session, segment_id)
            if row.assigned == to:
                return
            row.assigned, row.version = to, row.version + 1
            audit.append(session, user.name, "assigned", segment_id, to=to)
            self._tell(session, "segment", segment_id, user)

    def call_wrong(self, user: User, segment_id: str, words: str = "", explanation: str = "") -> WrongRow:
        """Say that an explanation is wrong, the newest unless one is named; words: what would be right. Raises InputError.

        Said again it is the same mark; words fill in a mark of one's own that has none yet.
        """
        text = _words(words, "words") if words.strip() else ""
        with self.database.write() as session:
            segment_of_id(session, segment_id)
            said = select(ExplanationRow).where(ExplanationRow.segment_id == segment_id)
            said = said.where(ExplanationRow.id == explanation) if explanation else said
            row = session.scalars(said.order_by(ExplanationRow.created.desc()).limit(1)).first()
            if row is None:
                raise (
                    MissingError("explanation: no such id")
                    if explanation
                    else ConflictError("nothing was said of this segment yet")
                )
            own = select(WrongRow).where(WrongRow.segment_id == segment_id, WrongRow.user_id == user.id)
            marks = list(session.scalars(own.where(WrongRow.explanation == row.id).order_by(WrongRow.created)))
            same = next((m for m in marks if not text or m.text == text), None)
            if same is not None:
                return same
            bare = next((m for m in marks if not m.text), None)
            if bare is not None:
                bare.text = text
                audit.append(session, user.name, "called wrong", segment_id, explanation=row.id)
                self._tell(session, "segment", segment_id, user)
                return bare
            made = WrongRow(segment_id=segment_id, user_id=user.id, explanation=row.id, text=text)
            session.add(made)
            session.flush()
            audit.append(session, user.name, "called wrong", segment_id, explanation=row.id)
            self._tell(session, "segment", segment_id, user)
            return made

    def uncall_wrong(self, user: User, segment_id: str, wrong_id: str) -> None:
        """Take that back: one's own, an admin any. Raises InputError."""
        with self.database.write() as session:
            row = session.get(WrongRow, wrong_id)
            if row is None or row.segment_id != segment_id or (row.user_id != user.id and user.role != "admin"):
                raise MissingError("mark: none of that id is yours")
            session.delete(row)
            audit.append(session, user.name, "no longer called wrong", segment_id)
            self._tell(session, "segment", segment_id, user)

    def adopt(self, user: User, segment_id: str, words: str | None, version: int | None = None) -> None:
        """Stand by a sentence about a segment, as the model's reading has it or edited; None: no longer. Only such words go into a case.

        version: of the segment as this person saw it. Raises ConflictError where somebody else adopted or edited a sentence since.
        """
        text = None if words is None else _words(words, "sentence")
        with self.database.write() as session:
            row = segment_of_id(session, segment_id)
            before, adopted = row.adopted or {}, None
            if version is not None and before.get("by") != user.name and before.get("version", 0) > version:
                did = "edited" if before["edited"] else "adopted"
                raise ConflictError(f"{before['by']} {did} the sentence {ago(time.time() - before['at'])} ago")
            if text is not None:
                adopted = {"text": text, "by": user.name, "at": time.time(), "edited": text != row.said}
            if (before.get("text"), before.get("by")) == (text, user.name if adopted else None):
                return
            row.version += 1
            if adopted is not None:
                adopted["version"] = row.version
            row.adopted = adopted
            action = (
                "sentence dropped"
                if adopted is None
                else "sentence edited"
                if adopted["edited"]
                else "sentence adopted"
            )
            audit.append(session, user.name, action, segment_id, **({"text": text} if text else {}))
            self._tell(session, "segment", segment_id, user)

    def _tell(self, session: Session, kind: str, segment_id: str, user: User) -> None:
        video = session.scalar(select(SegmentRow.video_id).where(SegmentRow.id == segment_id)) or ""
        tell(session, kind, segment_id, video=video, by=user.name)

    def about(self, segment_id: str) -> tuple[list[VerdictRow], list[NoteRow], list[str]]:
        """Verdicts (newest first, those undone too), notes (oldest first) and tags of a segment."""
        with self.database.read() as session:
            verdicts = (
                select(VerdictRow).where(VerdictRow.segment_id == segment_id).options(joinedload(VerdictRow.user))
            )
            notes = select(NoteRow).where(NoteRow.segment_id == segment_id).options(joinedload(NoteRow.user))
            tags = select(TagRow.tag).where(TagRow.segment_id == segment_id).order_by(TagRow.tag)
            return (
                list(session.scalars(verdicts.order_by(VerdictRow.created.desc()))),
                list(session.scalars(notes.order_by(NoteRow.created))),
                list(session.scalars(tags)),
            )

    def wrongs(self, segment_id: str = "") -> list[WrongRow]:
        """Who called which explanation wrong, newest first; of all segments unless one is named."""
        with self.database.read() as session:
            rows = select(WrongRow).options(joinedload(WrongRow.user)).order_by(WrongRow.created.desc())
            return list(session.scalars(rows.where(WrongRow.segment_id == segment_id) if segment_id else rows))


def _words(words: str, what: str) -> str:
    text = clean(words)
    if not text.strip() or len(words) > LONGEST:
        raise InputError(f"{what}: expected 1 to {LONGEST:,} letters")
    return text


def _own_note(session: Session, user: User, note_id: str) -> NoteRow:
    row = session.get(NoteRow, note_id)
    if row is None:
        raise MissingError("note: no such id")
    if row.user_id != user.id and user.role != "admin":
        raise ConflictError("note: somebody else wrote it")
    return row
