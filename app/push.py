"""Routes of web push: a person's own browser is told of alarms of cameras that this person sees.

In: what a browser gives when it subscribes. Out: the key that it subscribes with. What the browser gave is kept encrypted, and told nobody.
"""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field

from vlad.live.push import checked, public_key

from .auth import Reader, Writer
from .common import Body, library

router = APIRouter(prefix="/api")
Endpoint = Annotated[str, Field(min_length=9, max_length=1000, pattern=r"^https://[!-~]+$")]


class Browser(Body):
    """What `PushManager.subscribe` gives: its endpoint, and its keys in base64url."""

    endpoint: Endpoint
    p256dh: str = Field(min_length=80, max_length=100)
    auth: str = Field(min_length=20, max_length=30)


class Gone(Body):
    """A browser that was subscribed."""

    endpoint: Endpoint


@router.get("/push")
def key(request: Request, caller: Reader) -> dict[str, str]:
    """The `applicationServerKey` that a browser subscribes with."""
    return {"key": public_key(library(request).keys_folder())}


@router.put("/push")
def subscribe(request: Request, caller: Writer, body: Browser) -> dict[str, bool]:
    """This browser is told of alarms, raised and escalated, of cameras that its owner sees. 409 beyond 20 browsers."""
    told = checked(json.dumps(body.model_dump()))
    library(request).subscribe(caller.user, told["endpoint"], json.dumps(told))
    return {"subscribed": True}


@router.delete("/push")
def unsubscribe(request: Request, caller: Writer, body: Gone) -> dict[str, bool]:
    """And no more; false where it was not."""
    return {"subscribed": False, "was": library(request).unsubscribe(caller.user, body.endpoint)}
