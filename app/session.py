"""Routes of who is asking: signing in and out, and what a caller may do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import Field

from vlad.errors import OutputError
from vlad.library.database import called

from . import view
from .auth import COOKIE, DEVICE, KNOWN, SESSION, Gate, Reader, Writer, address_of, cookie_of, session_of
from .common import Body, library
from .models import cannot

router = APIRouter(prefix="/api")


class NewPassword(Body):
    """The password there is, and the one to be."""

    old: str = Field(max_length=500)
    new: str = Field(min_length=10, max_length=500)


class SignIn(Body):
    """Name and password."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=500)


@router.post("/login")
def login(request: Request, response: Response, body: SignIn) -> dict[str, Any]:
    """Sign in; the session is in a cookie. 401 for a wrong name or password, 429 with Retry-After after several."""
    gate: Gate = request.app.state.gate
    gate.check_origin(request)
    place = gate.begin_guess(body.name, request)
    try:
        user = library(request).sign_in(body.name, body.password)
    except OutputError:  # too many at once
        library(request).no_guess(body.name, place)
        raise
    if user is None:
        raise HTTPException(401, "name or password is wrong")
    library(request).right_guess(body.name, place)
    https = request.url.scheme == "https"
    browser = called(request.headers.get("user-agent", ""))[:120] or "a program"
    secret = library(request).open_key(user, SESSION, name=f"{browser}, {address_of(request)}")
    mark = library(request).mark_device(user)
    for name, value, seconds in ((COOKIE, secret, SESSION), (DEVICE, mark, KNOWN)):
        response.set_cookie(
            cookie_of(request, name), value, max_age=int(seconds), httponly=True, samesite="lax", secure=https
        )
    return view.user(user)


@router.post("/logout")
def logout(request: Request, response: Response, caller: Reader) -> dict[str, bool]:
    """End this session."""
    library(request).close_key(session_of(request))
    library(request).log(caller.user.name, "signed out")
    response.delete_cookie(cookie_of(request), secure=request.url.scheme == "https", httponly=True, samesite="lax")
    return {"signed_out": True}


@router.get("/me")
def me(request: Request, caller: Reader) -> dict[str, Any]:
    """Who is asking, what they may do, and what the models at hand cannot: a sentence each, '' where all is well. cameras: whose clips they see, null for all."""
    return {
        "cameras": None if caller.cameras is None else sorted(caller.cameras), **view.user(caller.user), "scopes": sorted(caller.scopes), "local": request.app.state.gate.local,
        "cannot": cannot(request.app.state.settings),
    }  # fmt: skip


@router.put("/me/password")
def change_password(request: Request, caller: Writer, body: NewPassword) -> dict[str, bool]:
    """Another password; one's other sessions end. 409 for a wrong old one, 429 with Retry-After after several."""
    gate: Gate = request.app.state.gate
    place = gate.begin_guess(caller.user.name, request, known=True)
    library(request).change_password(caller.user, body.old, body.new, session_of(request))
    library(request).right_guess(caller.user.name, place)
    return {"changed": True}


@router.get("/me/sessions")
def sessions(request: Request, caller: Reader) -> list[dict[str, Any]]:
    """Where one is signed in, newest first, `name` with which browser and from where; `current` is this one. DELETE /tokens/{id} ends one."""
    own = library(request).key(session_of(request))
    rows = library(request).keys(caller.user, sessions=True)
    return [{**view.key(k), "current": own is not None and own.id == k.id} for k in rows]
