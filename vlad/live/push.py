"""Web push: a message that a browser's own push service brings to it, which reads nothing of it.

In: what a browser gave when somebody subscribed (an address, and two keys), a message. Out: headers and a body, encrypted for that browser (RFC 8291) and signed for its service (VAPID,
RFC 8292) with a key that lies beside the vault's. Sends nothing itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from vlad.errors import InputError, OutputError

KEY = "push-key.pem"
KEPT = 14_400  # seconds for which a service keeps a message for a browser that is away
SIGNED = 3600  # seconds for which a signature counts
CONTACT = "mailto:nobody@example.org"  # whom a service may write to (RFC 8292, 2.1), where nobody is named; some services take none such
LONGEST = 3000  # bytes of a message: a service takes 4096 encrypted


def checked(told: str) -> dict[str, str]:
    """A subscription {endpoint, p256dh, auth} of JSON. Raises InputError for what is none."""
    try:
        found = json.loads(told)
        endpoint, point, auth = (str(found[k]) for k in ("endpoint", "p256dh", "auth"))
        fits = urlsplit(endpoint).scheme == "https" and len(_bytes(point)) == 65 and len(_bytes(auth)) == 16
        fits = (
            fits and _bytes(point)[0] == 4 and endpoint.isascii() and endpoint.isprintable() and len(endpoint) <= 1000
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        fits = False
    if not fits or " " in endpoint:
        raise InputError("push: expected what a browser's subscription is: endpoint, p256dh and auth")
    return {"endpoint": endpoint, "p256dh": point, "auth": auth}


def checked_contact(contact: str) -> str:
    """Whom the services of browsers may write to. Raises InputError."""
    kind, _, rest = contact.partition(":")
    if kind not in ("mailto", "https") or not 3 <= len(rest) <= 200 or not (rest.isascii() and rest.isprintable()) or " " in rest:  # fmt: skip
        raise InputError("contact: expected mailto:somebody@example.org, or https:// and a page that tells")
    return contact


def public_key(folder: Path) -> str:
    """What a browser subscribes with (`applicationServerKey`), base64url; the key is made when first asked for. Raises OutputError."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    point = _key(folder).public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(point).rstrip(b"=").decode()


def sealed(
    subscription: Mapping[str, str], payload: Mapping[str, Any], folder: Path, contact: str = ""
) -> tuple[dict[str, str], bytes]:
    """Headers and body of the POST to a subscription's endpoint. Its topic is of the message's key: one that is sent twice replaces the first where the browser is away. contact: mailto: or https:, of whoever
    runs this server. Raises
    InputError for a browser's keys that are none, OutputError."""
    import http_ece
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    plain = json.dumps(payload).encode()[:LONGEST]
    parts = urlsplit(subscription["endpoint"])
    claims = {"aud": f"{parts.scheme}://{parts.netloc}", "sub": contact or CONTACT, "exp": int(time.time()) + SIGNED}
    try:
        body = http_ece.encrypt(
            plain, private_key=generate_private_key(SECP256R1()), dh=_bytes(subscription["p256dh"]),
            auth_secret=_bytes(subscription["auth"]), version="aes128gcm",
        )  # fmt: skip
    except ValueError:
        raise InputError("push: the browser's key is no point of its curve") from None
    topic = base64.urlsafe_b64encode(hashlib.sha256(str(payload["key"]).encode()).digest())[:32].decode()
    own = {"content-encoding": "aes128gcm", "content-type": "application/octet-stream", "ttl": str(KEPT), "urgency": "high", "topic": topic}  # fmt: skip
    return {**own, **{k.lower(): v for k, v in _key(folder).sign(claims).items()}}, bytes(body)


def _key(folder: Path) -> Any:
    try:
        from py_vapid import Vapid02, VapidException
    except ModuleNotFoundError:
        raise OutputError("py_vapid is not here, which web push needs: pip install '.[live]' where vlad lies") from None
    path = folder / KEY
    try:
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            made, part = Vapid02(), folder / f".{KEY}.{uuid4().hex[:8]}"
            made.generate_keys()
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(made.private_pem())
            with suppress(FileExistsError):  # somebody else made one in between
                os.link(part, path)
            part.unlink()
        return Vapid02.from_pem(path.read_bytes())
    except (OSError, ValueError, VapidException):
        raise OutputError(f"{path}: the key of web push cannot be made or read") from None


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
