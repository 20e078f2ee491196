"""The log's head, signed with a key that lies outside the library and written to a second place as the log grows; to a third, a syslog, where one is named.

A chain of hashes alone shows what was changed in its middle. Whoever may write the database can still cut its end, empty it, or compute it anew. Against
that each new head is signed (Ed25519, RFC 8032) and appended to a file of another folder: what the log once was can then be held against what it is.

Whoever may write that folder too can remove both: then a syslog that another machine keeps tells, `vlad audit verify --seals FILE`.

In: rows and digests of `audit`. Out: lines of JSON {at, number, digest, signature}, and what does not fit them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Sequence
from logging.handlers import SysLogHandler
from pathlib import Path
from typing import Any

import platformdirs
from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from vlad.errors import InputError, OutputError, SettingsError

from .tables import AuditRow

KEY = "audit-key.pem"
IDENT = "vlad-seal"  # of lines in a syslog
MOST = 20  # faults that are told


def default_folder() -> Path:
    """Where keys and seals lie: VLAD_SEAL, else the user's folder for state; better another disk or machine."""
    return Path(os.environ.get("VLAD_SEAL") or platformdirs.user_state_dir("vlad"))


class Seal:
    """The seals of one library. url: of its database, or its folder. folder: outside the library. syslog: see `place_of`, '' for none."""

    def __init__(self, url: str | Path, folder: Path | None = None, syslog: str = "") -> None:
        self.folder, self.syslog = folder or default_folder(), place_of(syslog) if syslog else None
        self.name = hashlib.sha256(_plain(str(url)).encode()).hexdigest()[:12]
        self.path = self.folder / f"{self.name}.seal"
        self._sent: tuple[int, str] | None = None  # to the syslog, by this process

    def add(self, session: Session) -> bool:
        """Sign the log's head and write it down; False where it is sealed already. Raises OutputError where one of the places cannot be written.

        What the syslog did not take is sent again with the next turn, the newest head also when a server starts.
        """
        head = session.scalars(select(AuditRow).order_by(AuditRow.number.desc()).limit(1)).first()
        number, digest = (head.number, head.digest) if head else (0, "")
        last = self._last()
        told = last is not None and (last["number"], last["digest"]) == (number, digest)
        sent = self.syslog is None or self._sent == (number, digest)
        if (told and sent) or (last is None and number == 0):
            return False
        facts = {"at": time.time(), "number": number, "digest": digest}
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            line = json.dumps({**facts, "signature": self._key(make=True).sign(_bytes(facts)).hex()})
            if not told:
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write(line + "\n")
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{self.folder}: the log's seal cannot be written ({error.strerror})") from None
        if self.syslog is not None and not sent:
            try:
                _send(self.syslog, f"{IDENT}: {self.name} {line}")
            except OSError as error:
                raise OutputError(f"syslog {self.syslog}: the log's seal cannot be sent ({error})") from None
            self._sent = (number, digest)
        return True

    def faults(self, session: Session, elsewhere: Path | None = None) -> list[str]:
        """What the log is not that it once was, a line each; [] also where it was never sealed. Raises InputError for seals that nobody can read.

        elsewhere: a file of a syslog, whose seals of this library are compared too; what else it holds is passed over.
        """
        found = self._unfit(session, self._lines(), "seal") if self.path.is_file() else []
        if elsewhere is not None:
            kept = self._kept(elsewhere)
            if not kept:
                found.append(f"{elsewhere}: no seal of this library ({self.name}) is in it")
            found += self._unfit(session, kept, f"seal of {elsewhere.name}") if kept else []
        return found[:MOST]

    def _unfit(self, session: Session, seals: Sequence[dict[str, Any]], word: str) -> list[str]:
        public, found, before = self._key().public_key(), [], 0
        for place, seal in enumerate(seals, 1):
            if not _signed(public, seal):
                found.append(f"{word} {place}: its signature is wrong")
                continue
            if seal["number"] < before:
                found.append(f"{word} {place}: the log had {seal['number']} rows after it had {before}")
            before = max(before, seal["number"])
            row = session.get(AuditRow, seal["number"]) if seal["number"] else None
            if row is None and seal["number"]:
                found.append(f"row {seal['number']} is gone, which was sealed {_when(seal['at'])}")
            elif row is not None and row.digest != seal["digest"]:
                found.append(f"row {seal['number']} is not what was sealed {_when(seal['at'])}")
        return found

    def _kept(self, path: Path) -> list[dict[str, Any]]:
        """This library's seals in a syslog's file."""
        mine = re.compile(rf"{IDENT}(?:\[[0-9]+\])?: {self.name} (\{{.*\}})")
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                texts = [found[1] for line in file if (found := mine.search(line))]
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        return _parsed(texts, path)

    @property
    def newest(self) -> str:
        """Up to where it is sealed, in words."""
        last = self._last()
        return f"sealed up to row {last['number']} {_when(last['at'])}, {self.path}" if last else "never sealed"

    def _last(self) -> dict[str, Any] | None:
        lines = self._lines() if self.path.is_file() else []
        return lines[-1] if lines else None

    def _lines(self) -> list[dict[str, Any]]:
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise InputError(f"{self.path}: is no list of seals, or was damaged") from None
        return _parsed(lines, self.path)

    def _key(self, *, make: bool = False) -> Any:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
            load_pem_private_key,
        )

        path = self.folder / KEY
        if not path.is_file() and make:
            key = Ed25519PrivateKey.generate()
            data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
        try:
            found = load_pem_private_key(path.read_bytes(), None)
        except (OSError, ValueError):
            raise InputError(f"{path}: is no key, and the log was sealed with one") from None
        if not isinstance(found, Ed25519PrivateKey):
            raise InputError(f"{path}: expected an Ed25519 key")
        return found


def place_of(named: str) -> str | tuple[str, int]:
    """A syslog: the path of a socket, such as /dev/log, or HOST:PORT of one that takes UDP. Raises SettingsError."""
    if named.startswith("/"):
        return named
    host, _, port = named.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"--syslog {named}: expected the path of a socket, such as /dev/log, or HOST:PORT (UDP)")
    return host.strip("[]"), int(port)


class _Syslog(SysLogHandler):
    """Python's own, which would print what goes wrong and go on."""

    append_nul = False

    def handleError(self, record: logging.LogRecord) -> None:
        raise  # what is being handled


def _send(place: str | tuple[str, int], line: str) -> None:
    """A line to a syslog. Raises OSError where nobody takes it; by UDP nobody tells."""
    handler = _Syslog(place, SysLogHandler.LOG_AUTHPRIV)
    try:
        handler.emit(logging.LogRecord(IDENT, logging.INFO, "", 0, line, None, None))
    finally:
        handler.close()


def _parsed(lines: Sequence[str], path: Path) -> list[dict[str, Any]]:
    """Seals, a line of JSON each. Raises InputError."""
    try:
        seals = [json.loads(line) for line in lines]
        for seal in seals:
            _ = seal["number"] + seal["at"], seal["digest"], bytes.fromhex(seal["signature"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{path}: is no list of seals, or was damaged") from None
    return seals


def _signed(public: Any, seal: dict[str, Any]) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(bytes.fromhex(seal["signature"]), _bytes(seal))
    except InvalidSignature:
        return False
    return True


def _bytes(seal: dict[str, Any]) -> bytes:
    return json.dumps([repr(seal["at"]), seal["number"], seal["digest"]]).encode()


def _plain(url: str) -> str:
    """A URL without its password, a folder as an absolute path."""
    if "://" not in url:
        return str(Path(url).absolute())
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url


def _when(stamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(stamp))
