"""A clip for newcomers: a rendered scene with an event in it, which nobody's camera took."""

from __future__ import annotations

import tempfile
from pathlib import Path
from threading import Lock

from sqlalchemy import select

from vlad.library import Library
from vlad.library.asking import check_camera
from vlad.library.tables import User, Video

from .limits import one_of, refusal

NAME, CAMERA = "Sample: a rendered scene.mp4", "rendered"
SEED, SECONDS, EVENTS = 90_007, 40.0, ("fighting",)
_LOCK = Lock()


def add(library: Library, user: User) -> str:
    """The id of a user's sample clip, which is rendered and queued when first asked for. Raises VladError where the disk is full."""
    check_camera(CAMERA)
    with one_of(_LOCK, refusal(503, "the sample clip is being rendered for somebody else; try again in a moment", 5)):
        mine = select(Video.id).where(Video.user_id == user.id, Video.name == NAME, Video.removed.is_(None))
        with library.read() as session:
            there = session.scalars(mine).first()
        return there or _render(library, user)


def _render(library: Library, user: User) -> str:
    from vlad.sim import simulate, write_video

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.mp4"
        write_video(simulate(SEED, duration=SECONDS, events=EVENTS), path)
        data = path.read_bytes()
    upload = library.begin_upload(user, NAME, len(data), CAMERA)
    library.append(user, upload.id, 0, data)
    return library.finish_upload(user, upload.id)[0].id
