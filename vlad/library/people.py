"""Who may sign in, with which password, session or token; and the options that admins set.

In: names, passwords, secrets. Out: users and keys. No password and no secret is kept, only what proves one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import contains_eager

from vlad.errors import ConflictError, InputError, MissingError, OutputError

from . import audit
from .database import Database, called
from .names import look, mixed, same
from .tables import AuditRow, Key, Option, User

ROLES = ("reviewer", "admin")
OPTIONS = {
    "enter": (0.0, 1.0),
    "retention_days": (1.0, 3660.0),
    "quota_gib": (0.001, 1e6),
    "seek_days": (1.0, 7.0),
}  # what may be set, from and to
RIGHTS = {"originals": "originals", "seeks": "finding again"}  # beyond a role's own, and what the log calls them
RESERVED = ("local", "retention", "command line", "watcher")
USED = 60.0  # seconds between two notes of a key's last use
LATELY = 20_000  # rows of the log
SHORTEST = 10  # letters of a password
SESSIONS, TOKENS = 50, 100  # of one person
KEPT = 90 * 86_400.0  # seconds for which a key that expired is kept; one that was ended is not
_HASHING = BoundedSemaphore(2)  # passwords looked at at once: each takes 64 MiB
PATIENCE = 2.0  # seconds that somebody who signs in waits for those before them


class People:
    """Users, their keys, and the options."""

    def __init__(self, database: Database) -> None:
        self.database, self._hasher = database, PasswordHasher()

    def add_user(self, name: str, password: str, role: str = "reviewer", *, by: str = "command line") -> User:
        """A new user. Raises InputError for a name that is taken or the log's own, a short password or an unknown role."""
        if role not in ROLES:
            raise InputError(f"role {role!r}: choose one of {', '.join(ROLES)}")
        name = called(name)
        if not name.strip() or len(name) > 200 or not name.isprintable():
            raise InputError("name: expected 1 to 200 printable letters")
        if look(name) in {look(own) for own in RESERVED}:
            raise InputError(f"user {name!r}: the log uses this name for itself; choose another")
        if mixed(name):
            raise InputError(
                f"user {name!r}: mixes letters of several scripts, as a name does that is to be taken for another"
            )
        user = User(name=name.strip(), role=role, password=self._hashed(password))
        try:
            with self.database.write() as session:  # alone among writers: no twin comes between
                for there in session.scalars(select(User.name)):
                    if there != user.name and (same(there) == same(user.name) or look(there) == look(user.name)):
                        raise ConflictError(f"user {name!r}: there is one that looks like it, {there!r}")
                session.add(user)
                session.flush()
                audit.append(session, by, "user added", user.id, name=user.name, role=role)
        except IntegrityError:
            raise ConflictError(f"user {name!r}: there is one of that name") from None
        return user

    def _hashed(self, password: str) -> str:
        if len(password) < SHORTEST:
            raise InputError(f"password: expected {SHORTEST} letters or more")
        with _hashing():
            return self._hasher.hash(password)

    def local_user(self) -> User:
        """The one user of a library on loopback without sign-in; made when first asked for."""
        return self._nobody("local", "admin")

    def watcher(self) -> User:
        """In whose name clips of alarms are kept; made when first asked for, and nobody can sign in as it."""
        return self._nobody("watcher", "reviewer")

    def _nobody(self, name: str, role: str) -> User:
        named = select(User).where(User.name == name)
        with self.database.read() as session:  # every request asks: most of the time nobody has to wait for a writer
            found = session.scalars(named).first()
        if found is not None:
            return found
        with self.database.write() as session:
            found = session.scalars(named).first() or User(name=name, role=role, password="")
            session.add(found)
            return found

    def has_users(self) -> bool:
        """Whether anybody can sign in."""
        with self.database.read() as session:
            return bool(
                session.scalar(select(func.count()).select_from(User).where(User.password != "", User.closed.is_(None)))
            )

    def users(self) -> list[User]:
        """Everybody who may sign in, by name."""
        with self.database.read() as session:
            able = select(User).where(User.password != "", User.closed.is_(None))
            return list(session.scalars(able.order_by(User.name)))

    def names(self) -> list[str]:
        """Whom a segment can be given to: everybody who may sign in, or else the one local user."""
        return [u.name for u in self.users()] or [self.local_user().name]

    def close_user(self, by: str, name: str) -> None:
        """Somebody may no longer sign in; their sessions and tokens end at once. Raises InputError for nobody, or the last admin."""
        with self.database.write() as session:
            able = list(session.scalars(select(User).where(User.password != "", User.closed.is_(None))))
            user = next((u for u in able if u.name == name), None)
            if user is None:
                raise MissingError(f"user {name!r}: no such id or name")
            if user.role == "admin" and sum(u.role == "admin" for u in able) == 1:  # or the library would be anybody's
                raise InputError(f"user {name!r}: is the last admin; add another first")
            user.closed = time.time()
            audit.append(session, by, "user closed", user.id)

    def sign_in(self, name: str, password: str) -> User | None:
        """The user whose password this is, None for any other. Takes as long for a name that nobody has. Raises OutputError where too many sign in at once.

        What was typed as a name that nobody has is not kept: it may be a password.
        """
        user = self._named(name)
        kept = user.password if user and user.password else _NOBODY
        if not self._fits(kept, password) or user is None:
            self.database.log(user.name if user else "", "sign-in refused")
            return None
        self.database.log(user.name, "signed in")
        return user

    def _named(self, name: str) -> User | None:
        name = called(name).strip()  # as add_user took it
        with self.database.read() as session:
            able = list(session.scalars(select(User).where(User.closed.is_(None))))
        return next((u for u in able if u.name == name), None) or next(
            (u for u in able if same(u.name) == same(name)), None
        )

    def mark_device(self, user: User) -> str:
        """What a browser keeps in which somebody signed in: guesses of others behind the same address hold it up no more. Ends with the password."""
        nonce = secrets.token_hex(16)
        return f"{nonce}.{_proof(user, nonce)}"

    def device_of(self, name: str, mark: str) -> str:
        """Which device a mark is of, '' where it is none of a user of this name."""
        nonce, _, proof = mark.partition(".")
        user = self._named(name)
        known = (
            user is not None
            and bool(user.password)
            and hmac.compare_digest(proof.encode(), _proof(user, nonce).encode())
        )
        return f"device {nonce}" if known else ""

    def signed_in_from(self, name: str, address: str) -> bool:
        """Whether somebody of this name signed in from an address lately, as the log has it."""
        rows = select(AuditRow.detail).where(AuditRow.action == "signed in", AuditRow.user == name)
        with self.database.read() as session:
            last = session.scalar(select(func.max(AuditRow.number))) or 0  # anybody may ask this: it must cost little
            found = session.scalars(rows.where(AuditRow.number > last - LATELY))
            return any(detail.get("address") == address for detail in found)

    def _fits(self, kept: str, password: str) -> bool:
        try:
            with _hashing():
                return self._hasher.verify(kept, password)
        except (Argon2Error, InvalidHashError):
            return False

    def open_key(self, user: User, seconds: float, *, name: str = "", scopes: Sequence[str] = ()) -> str:
        """A new session (no scopes) or token; the secret, which is not kept. Of more than SESSIONS the oldest ends. Raises ConflictError beyond TOKENS."""
        secret = secrets.token_urlsafe(32)
        with self.database.write() as session:
            own = session.scalars(
                select(Key)
                .where(
                    Key.user_id == user.id,
                    Key.expires > time.time(),
                    (Key.scopes != "") if scopes else (Key.scopes == ""),
                )
                .order_by(Key.created.desc())
            ).all()
            if scopes and len(own) >= TOKENS:
                raise ConflictError(f"token: {TOKENS} of yours are valid already; revoke one first")
            for oldest in own[SESSIONS - 1 :] if not scopes else ():
                oldest.expires = 0.0
            session.execute(delete(Key).where(Key.expires < time.time() - KEPT))
            session.add(
                Key(
                    user_id=user.id,
                    digest=_digest(secret),
                    name=name,
                    scopes=" ".join(scopes),
                    expires=time.time() + seconds,
                )
            )
            if scopes:
                audit.append(session, user.name, "token made", "", name=name, scopes=list(scopes))
        return secret

    def key(self, secret: str) -> Key | None:
        """The session or token of a secret, with its user; None once it expired or was closed."""
        with self.database.read() as session:
            found = session.scalars(select(Key).where(Key.digest == _digest(secret), Key.expires > time.time())).first()
            if found is None or found.user.closed is not None:
                return None
        if found.used is None or time.time() - found.used > USED:
            with self.database.write() as session:
                session.execute(update(Key).where(Key.id == found.id).values(used=time.time()))
        return found

    def keys(self, user: User | None = None, *, sessions: bool = False) -> list[Key]:
        """Tokens that are valid, or sessions, newest first; of everybody unless a user is named."""
        with self.database.read() as session:
            kind = Key.scopes == "" if sessions else Key.scopes != ""
            rows = select(Key).join(Key.user).where(kind, Key.expires > time.time(), User.closed.is_(None))
            rows = rows.where(Key.user_id == user.id) if user else rows
            return list(session.scalars(rows.options(contains_eager(Key.user)).order_by(Key.created.desc())))

    def revoke(self, user: User, key_id: str) -> None:
        """End a token or session of one's own, an admin any. Raises MissingError."""
        with self.database.write() as session:
            found = session.get(Key, key_id)
            if found is None or found.expires <= time.time() or (found.user_id != user.id and user.role != "admin"):
                raise MissingError("token: no such id")
            found.expires = 0.0
            audit.append(
                session,
                user.name,
                "token revoked" if found.scopes else "session ended",
                "",
                name=found.name,
                of=found.user.name,
            )

    def change_password(self, user: User, old: str, new: str, keep: str = "") -> None:
        """Another password; every other session of this user ends, but for that of the secret `keep`. Raises InputError, ConflictError for a wrong one."""
        if not self._fits(user.password or _NOBODY, old):
            self.database.log(user.name, "password change refused", user.id)
            raise ConflictError("password: the old one is wrong")
        hashed = self._hashed(new)
        with self.database.write() as session:
            session.execute(update(User).where(User.id == user.id).values(password=hashed))
            others = update(Key).where(Key.user_id == user.id, Key.scopes == "", Key.digest != _digest(keep))
            session.execute(others.values(expires=0.0))
            audit.append(session, user.name, "password changed", user.id)

    def close_key(self, secret: str) -> None:
        """End a session or revoke a token."""
        with self.database.write() as session:
            session.execute(update(Key).where(Key.digest == _digest(secret)).values(expires=0.0))

    def set_right(self, by: User, name: str, right: str, on: bool) -> User:
        """Give somebody one of RIGHTS, or take it. Raises MissingError."""
        with self.database.write() as session:
            able = select(User).where(User.name == name, User.password != "", User.closed.is_(None))
            user = session.scalars(able).first()
            if user is None:
                raise MissingError(f"user {name!r}: no such id or name"[:300])
            setattr(user, right, on)
            audit.append(session, by.name, f"{RIGHTS[right]} {'granted' if on else 'withdrawn'}", user.id, name=name)
            return user

    def options(self) -> dict[str, float]:
        """What was set, by name; see OPTIONS."""
        with self.database.read() as session:
            return {
                o.name: o.value for o in session.scalars(select(Option)) if o.value is not None and o.name in OPTIONS
            }

    def swept(self, now: float) -> float | None:
        """When retention last looked (s since 1970), None before the first time; it looks again `now`."""
        with self.database.write() as session:
            last = session.get(Option, "swept")
            before = last.value if last else None
            session.merge(Option(name="swept", value=now))
            return before

    def set_option(self, user: User, name: str, value: float | None) -> None:
        """Set an option; None goes back to its default. Raises InputError for one that is unknown or out of range."""
        if name not in OPTIONS:
            raise InputError(f"option {name!r}: choose one of {', '.join(OPTIONS)}")
        low, high = OPTIONS[name]
        if value is not None and not low <= value <= high:
            raise InputError(f"{name}: expected {low:g} to {high:g}")
        with self.database.write() as session:
            session.merge(Option(name=name, value=value))
            audit.append(session, user.name, "option set", name, value=value)


@contextmanager
def _hashing() -> Iterator[None]:
    """One of the turns to look at a password."""
    if not _HASHING.acquire(timeout=PATIENCE):
        raise OutputError("sign-in: many people sign in just now; try again in a moment")
    try:
        yield
    finally:
        _HASHING.release()


def _proof(user: User, nonce: str) -> str:
    return hmac.new(user.password.encode(), f"{user.id} {nonce}".encode("utf-8", "replace"), "sha256").hexdigest()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


_NOBODY = PasswordHasher().hash("nobody has this password")
