"""Routes of targets, where alarms are told: for admins.

In: addresses and secrets. Out: targets, of which nobody is told more than that a secret is kept; messages to them, with how each fared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from vlad.library.tables import OutboxRow, TargetRow
from vlad.live.out import check_target

from .auth import Admin
from .common import Body, Id, library

router = APIRouter(prefix="/api")
Address = Annotated[str, Field(min_length=1, max_length=2000)]
Secret = Annotated[str | None, Field(max_length=1000)]
Cameras = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=500)]
Mailbox = Annotated[str, Field(min_length=3, max_length=320)]


class Settings(Body):
    """events: [] for the usual ones of the kind. allow: networks, such as 192.168.1.0/24, beyond public ones. authorities: PEM of certificates that vouch for it. Of mail: sender, to,
    picture (where nobody is covered), plain (without TLS, to networks that `allow` names), page (a link). Of mqtt: prefix, and discovery ('' for none)."""

    events: list[Literal["raised", "again", "ended", "acknowledged", "escalated"]] = Field([], max_length=5)
    allow: list[Annotated[str, Field(max_length=60)]] = Field([], max_length=50)
    authorities: str = Field("", max_length=20_000)
    sender: str = Field("", max_length=320)
    to: list[Mailbox] = Field([], max_length=50)
    picture: bool = False
    plain: bool = False
    page: str = Field("", max_length=500, pattern=r"^(https?://[!-~]*)?$")
    prefix: str = Field("vlad", pattern=r"^[A-Za-z0-9_/-]{1,100}$")
    discovery: str = Field("homeassistant", pattern=r"^[A-Za-z0-9_/-]{0,100}$")


class NewTarget(Body):
    """address: https://, mqtts:// or smtps://; http://, mqtt:// for networks that are allowed, smtp:// with STARTTLS. secret: what a webhook is signed with (16 letters or more), else
    user:password. cameras: by name, [] for all."""

    kind: Literal["webhook", "mqtt", "mail"]
    name: str = Field(min_length=1, max_length=200)
    address: Address
    secret: Secret = None
    cameras: Cameras = Field([])
    on: bool = True
    settings: Settings | None = None


class Changes(Body):
    """What is to change. With another host the secret is forgotten unless it is told anew; '' forgets it."""

    name: str | None = Field(None, min_length=1, max_length=200)
    address: Address | None = None
    secret: Secret = None
    cameras: Cameras | None = None
    on: bool | None = None
    settings: Settings | None = None


def told(request: Request, rows: Sequence[TargetRow]) -> list[dict[str, Any]]:
    """Targets. address: without its path, which is a secret too; opened: whether any is kept; waiting: messages on their way to it; error: why they wait, '' where none was tried;
    next: when the next of them is tried (s since 1970), null where none waits."""
    kept = library(request)
    opened, waiting, troubles = kept.targets_with_secret(), kept.waiting(), kept.troubles()
    return [
        {
            "id": row.id, "kind": row.kind, "name": row.name, "address": row.address, "cameras": row.cameras, "on": row.on, "settings": row.settings,
            "opened": row.id in opened, "waiting": waiting.get(row.id, 0), "error": error, "next": when, "created": row.created,
        }
        for row in rows
        for error, when in [troubles.get(row.id, ("", None))]
    ]  # fmt: skip


def message(row: OutboxRow) -> dict[str, Any]:
    """A message, and how it fared. next: when it is tried again (s since 1970), null where it is sent or was given up."""
    over = row.sent is not None or bool(row.failed)
    return {
        "id": row.id, "type": row.payload.get("type", ""), "alarm": row.alarm_id, "key": row.key, "created": row.created, "attempts": row.attempts,
        "sent": row.sent, "failed": row.failed, "error": row.error, "next": None if over else row.next,
    }  # fmt: skip


@router.get("/targets")
def targets(request: Request, caller: Admin) -> list[dict[str, Any]]:
    """All of them by name."""
    return told(request, library(request).targets())


@router.post("/targets", status_code=201)
def add(request: Request, caller: Admin, body: NewTarget) -> dict[str, Any]:
    """A target. 409 where there is one of that name."""
    settings = body.settings.model_dump(mode="json", exclude_defaults=True) if body.settings else {}
    check_target(body.kind, body.address, body.secret or "", settings)
    changes = body.model_dump(exclude_none=True, exclude={"settings"})
    return told(request, [library(request).save_target(caller.user, {**changes, "settings": settings})])[0]


@router.patch("/targets/{target_id}")
def change(request: Request, caller: Admin, target_id: Id, body: Changes) -> dict[str, Any]:
    """Change what is given."""
    row = library(request).target(target_id)
    settings = row.settings if body.settings is None else body.settings.model_dump(mode="json", exclude_defaults=True)
    check_target(row.kind, body.address or row.address, body.secret, settings)
    changes = body.model_dump(exclude_none=True, exclude={"settings"})
    return told(request, [library(request).save_target(caller.user, {**changes, "settings": settings}, target_id)])[0]


@router.delete("/targets/{target_id}")
def remove(request: Request, caller: Admin, target_id: Id) -> dict[str, bool]:
    """Nothing is told there any more; what waits for it is gone too."""
    library(request).remove_target(caller.user, target_id)
    return {"removed": True}


@router.post("/targets/{target_id}/test", status_code=202)
def test(request: Request, caller: Admin, target_id: Id) -> dict[str, Any]:
    """A test message, on its way; its row of /messages tells how it fared. 409 while three others wait."""
    return message(library(request).test_target(caller.user, target_id))


@router.get("/targets/{target_id}/messages")
def messages(request: Request, caller: Admin, target_id: Id) -> list[dict[str, Any]]:
    """The newest 50 messages to it."""
    return [message(row) for row in library(request).messages(target_id)]
