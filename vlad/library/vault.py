"""Passwords of cameras and of places that alarms are told: kept encrypted in the library, with a key that lies outside it.

In: a secret, whose it is and the host that it opens. Out: text that only the key's holder reads (Fernet: AES-128-CBC and HMAC-SHA256). Whose and for which host is
encrypted with it: a row that was copied to another one, or whose address was changed, opens nothing, so that whoever may write the database learns no password by it.

The key lies beside that of the log's seals. It is in no backup; machines that share a library share its folder, or a copy of it.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from vlad.errors import InputError, OutputError

from .seal import default_folder

KEY = "secrets-key"
LONGEST = 4096  # letters of a secret


class Vault:
    """folder: where the key lies, made with the first secret; see `default_folder`."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @property
    def path(self) -> Path:
        """Where the key lies."""
        return (self._folder or default_folder()) / KEY

    def close(self, owner: str, host: str, secret: str) -> str:
        """A secret as text to be kept, '' for ''. owner: an id; host: that it opens. Raises InputError for one that is too long, OutputError where no key can be made."""
        if not secret:
            return ""
        if len(secret) > LONGEST:
            raise InputError(f"secret: expected at most {LONGEST} letters")
        told = json.dumps({"owner": owner, "host": host, "secret": secret}).encode()
        return str(self._fernet(make=True).encrypt(told).decode())

    def open(self, owner: str, host: str, kept: str) -> str:
        """The secret again, '' for ''. Raises OutputError where the key is not here, InputError where it was not kept for this owner and host."""
        if not kept:
            return ""
        from cryptography.fernet import InvalidToken

        try:
            told = json.loads(self._fernet().decrypt(kept.encode()))
        except InvalidToken:
            raise OutputError(f"a password was kept with another key than {self.path}; type it again") from None
        if (told["owner"], told["host"]) != (owner, host):
            raise InputError("a password was kept for another host, or for something else; type it again")
        return str(told["secret"])

    def _fernet(self, *, make: bool = False) -> Any:
        try:
            from cryptography.fernet import Fernet
        except ModuleNotFoundError:
            raise OutputError(
                "cryptography is not here, which passwords need: pip install '.[app]' where vlad lies"
            ) from None
        path = self.path
        if make and not path.is_file():
            part = path.with_name(f".{KEY}.{uuid4().hex[:8]}")
            try:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(Fernet.generate_key())
                    file.flush()
                    os.fsync(file.fileno())
                with suppress(FileExistsError):  # somebody else made one in between: theirs counts
                    os.link(part, path)
            except OSError as error:
                raise OutputError(f"{path}: the key of passwords cannot be made ({error.strerror})") from None
            finally:
                part.unlink(missing_ok=True)
        try:
            return Fernet(path.read_bytes())
        except (OSError, ValueError):
            raise OutputError(f"{path}: the key of passwords is not there, or was damaged") from None
