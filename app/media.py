"""Clips and pictures of them, to those who may see them: ranges of bytes, single frames, a sheet of thumbnails.

In: an id. Out: a response. Nothing is served by a path, and nothing of a request comes back in a header.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from threading import BoundedSemaphore

from fastapi import HTTPException
from fastapi.responses import Response, StreamingResponse
from PIL import Image
from starlette.datastructures import Headers

from vlad.config import Settings
from vlad.errors import VladError
from vlad.video import frames_at

from .limits import one_of, refusal

PIECE = 1 << 18  # bytes
WIDTH = 160  # pixels of a thumbnail
_TURNS = BoundedSemaphore(3)  # decoders at once, of all requests: one more than a single person gets
PRIVATE = {
    "Cache-Control": "private, no-cache",  # kept, and asked for each time: it may not be shown any more, or not to who sits there by now
    "X-Content-Type-Options": "nosniff",
    "Content-Disposition": "inline",
}
UNKEPT = {**PRIVATE, "Cache-Control": "no-store"}


def kind_of(path: Path) -> str:
    """The type that a browser is told, by the file's first bytes and never by its name."""
    with open(path, "rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return "video/mp4"
    return "video/webm" if head[:4] == b"\x1aE\xdf\xa3" else "application/octet-stream"


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(first, last) byte of a Range header, None for the whole file. Raises HTTPException 416 for one that cannot be met."""
    if not header:
        return None
    found = re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", header.strip())
    if found is None or not (found[1] or found[2]):
        raise HTTPException(416, "one range of bytes, such as bytes=0-99", headers={"Content-Range": f"bytes */{size}"})
    if found[1]:
        first, last = int(found[1]), min(int(found[2]) if found[2] else size - 1, size - 1)
    else:
        first, last = max(0, size - int(found[2])), size - 1
    if first > last:
        raise HTTPException(416, "this range lies behind the end", headers={"Content-Range": f"bytes */{size}"})
    return first, last


def tag_of(path: Path, *more: object) -> str:
    """The ETag of a file, or of what is made of it. more: how it is made. Raises HTTPException 404."""
    try:
        stat = path.stat()
    except OSError:
        raise HTTPException(404, "this clip was removed") from None
    words = repr((path.name, stat.st_size, stat.st_mtime_ns, *more))
    return f'"{hashlib.sha256(words.encode()).hexdigest()[:24]}"'


def unchanged(asked: Headers, tag: str) -> Response | None:
    """304 to a browser that has it already."""
    there = [t.strip().removeprefix("W/") for t in asked.get("if-none-match", "").split(",")]
    return Response(status_code=304, headers={**PRIVATE, "ETag": tag}) if tag in there else None


def clip_response(path: Path, asked: Headers, *, kept: bool = True) -> Response:
    """A clip, or a part of it. asked: of the request. kept: a browser may keep it. Raises HTTPException 404, 416."""
    tag = tag_of(path)
    size = path.stat().st_size
    if kept and (same := unchanged(asked, tag)):
        return same
    part = parse_range(asked.get("range"), size) if asked.get("if-range", tag) == tag else None
    first, last = part or (0, size - 1)

    def pieces() -> Iterator[bytes]:
        with open(path, "rb") as file:
            file.seek(first)
            left = last - first + 1
            while left > 0 and (data := file.read(min(PIECE, left))):
                left -= len(data)
                yield data

    headers = {
        **({**PRIVATE, "ETag": tag} if kept else UNKEPT),
        "Accept-Ranges": "bytes",
        "Content-Length": str(last - first + 1),
    }
    if part:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return StreamingResponse(pieces(), 206 if part else 200, headers, kind_of(path))


def jpeg(image: Image.Image, tag: str = "", quality: int = 80) -> Response:
    """A picture as a response. tag: under which a browser may keep it."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Response(data.getvalue(), headers={**PRIVATE, "ETag": tag} if tag else UNKEPT, media_type="image/jpeg")


def _turn() -> AbstractContextManager[None]:
    """One of the decoders. Raises HTTPException 503 where none is free in time: whoever asks sixty times at once stops nobody else."""
    return one_of(_TURNS, refusal(503, "pictures are being made for others; try again in a moment", 3))


def frame_response(path: Path, time: float, settings: Settings, size: int = 360, *, tag: str = "") -> Response:
    """The frame at a time (s). tag: see `jpeg`. Raises HTTPException 404 where it cannot be read."""
    try:
        with _turn():
            (frame,) = frames_at(str(path), [time], settings, size=size)
    except (VladError, ValueError):
        raise HTTPException(404, "this frame cannot be read") from None
    return jpeg(Image.fromarray(frame), tag)


def strip_response(path: Path, times: Sequence[float], settings: Settings, *, tag: str = "") -> Response:
    """Frames at several times (s) as one picture, each WIDTH wide. tag: see `jpeg`. Raises HTTPException 404 where they cannot be read."""
    frames = small(path, times, settings, "these frames cannot be read")
    tall = frames[0].height
    whole = Image.new("RGB", (WIDTH * len(frames), tall))
    for i, frame in enumerate(frames):
        whole.paste(frame, (i * WIDTH, 0))
    return jpeg(whole, tag)


def small(path: Path, times: Sequence[float], settings: Settings, otherwise: str) -> list[Image.Image]:
    """Thumbnails WIDTH wide; the decoders of all requests wait for one another, or a page of pictures would take every core."""
    try:
        with _turn():
            frames = frames_at(str(path), times, settings, size=120)
    except (VladError, ValueError):
        raise HTTPException(404, otherwise) from None
    height, width = frames[0].shape[:2]
    tall = max(1, round(WIDTH * height / width))
    return [Image.fromarray(f).resize((WIDTH, tall)) for f in frames]
