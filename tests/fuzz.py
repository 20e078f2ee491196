"""Fuzzing by atheris (libFuzzer): whatever a hostile file or person can hand in is an answer or one of vlad's own errors, and takes no long time.

    pip install -e '.[fuzz]'
    python tests/fuzz.py TARGET -max_total_time=28800      (eight hours; all of libFuzzer's options)
    for t in $(python tests/fuzz.py); do python tests/fuzz.py $t -max_total_time=3600; done

In: the seeds in tests/seeds/TARGET, which are kept, and what was found so far in .fuzz/TARGET, which is not. Out: crash-*, to be made a seed and mended.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
SLOW = 10  # seconds that an input may take


def messages(data: bytes) -> None:
    """What a decoder that was taken over says: a kind, a size, JSON."""
    from vlad.video import checked_message

    try:
        facts = checked_message(data[:1], data[5:], int.from_bytes(data[1:5], "big"))
    except ValueError:
        return
    assert set(facts) <= {"duration", "codec", "created", "start", "end", "shape", "time", "step", "kind", "message", "advice", "width", "height",
                          "frames", "bad", "retimed", "passed", "gaps", "software"}  # fmt: skip


def boxes(data: bytes) -> None:
    """Whether an MP4 is cut off."""
    from vlad.readers import cut_off

    file = os.memfd_create("clip")
    try:
        os.write(file, data)
        assert cut_off(file) in (True, False)
    finally:
        os.close(file)


def stamps(data: bytes) -> None:
    """Times of frames as a file has them: what comes of them rises."""
    import struct

    from vlad.readers import Clock

    clock, last = Clock(0.04), -1.0
    for (stamp,) in struct.iter_unpack("<f", data[: len(data) // 4 * 4][:400]):
        now = clock.time(None if stamp != stamp or abs(stamp) > 1e7 else stamp)
        assert now is None or now > last
        last = last if now is None else now


def request(data: bytes) -> None:
    """The decoder's own request, of which only the clip is another's; behind a zero byte a clip of five frames, with bytes of it changed."""
    from vlad import readers

    global _CLIP
    _CLIP = _CLIP or _clip()
    said, _, changes = data.partition(b"\x00")
    clip = bytearray(_CLIP)
    for at in range(0, len(changes) - 2, 3):
        clip[int.from_bytes(changes[at : at + 2], "big") % len(clip)] = changes[at + 2]
    file, out = os.memfd_create("clip"), io.BytesIO()
    os.pwrite(file, clip, 0)
    whole = {"size": 8, "max_pixels": 4096, "max_seconds": 9, "max_frames": 99, "times": None, "snippet_frames": 2, "frames_per_snippet": 1}  # fmt: skip
    try:
        asked = json.loads(said)
        asked = {k: asked[k] for k in ("times", "cut", "sound") if isinstance(asked, dict) and k in asked}
        readers.serve({**whole, **asked, "file": file}, out)
    except readers.Refused as error:
        assert "\n" not in str(error)
    except (ValueError, RecursionError, TypeError, AttributeError, OverflowError) as error:
        if said in _ASKED:  # what `vlad.video` does ask
            raise AssertionError(repr(error)) from error
    finally:
        os.close(file)


_ASKED = (b"{}", b'{"times": [0.0, 0.9]}', b'{"cut": [0.0, 1.0]}', b'{"sound": true}')
_CLIP = b""


def _clip() -> bytes:
    import av
    import numpy as np

    made = io.BytesIO()
    with av.open(made, "w", format="matroska") as out:
        track = out.add_stream("mpeg4", rate=5)
        track.width, track.height, track.pix_fmt = 16, 16, "yuv420p"
        for level in range(5):
            out.mux(
                track.encode(av.VideoFrame.from_ndarray(np.full((16, 16, 3), 40 * level, np.uint8), format="rgb24"))
            )
        out.mux(track.encode(None))
    return made.getvalue()


def analysis(data: bytes) -> None:
    """An analysis as JSON."""
    from vlad.errors import InputError
    from vlad.report import from_json, to_json

    try:
        found = from_json(data.decode("utf-8", "replace"))
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert from_json(to_json(found)).segments == found.segments


def template(data: bytes) -> None:
    """A prompt template."""
    from vlad import prompting

    prompt, faults = prompting.parse(data.decode("utf-8", "replace"), Path("fuzzed.md"))
    assert prompt is not None or any(f.grave for f in faults)
    assert all("\n" not in f.text for f in faults)
    if prompt is not None:
        list(prompting._sample_faults(prompt, len, 2048, 32))


def rules(data: bytes) -> None:
    """A file of rules, and what holds of it."""
    import numpy as np

    from vlad.errors import InputError
    from vlad.rules import counts, held, parse
    from vlad.types import Track

    try:
        found = parse(data.decode("utf-8", "replace"))
    except InputError as error:
        assert "\n" not in str(error)
        return
    boxes = np.array([[0.1, 0.1, 0.1, 0.3], [0.8, 0.5, 0.1, 0.3]], np.float32)
    tracks = [
        Track(k + 1, label, np.array([0.0, 4.0]), boxes[:: 1 - 2 * k], 0.9) for k, label in enumerate(("person", "car"))
    ]
    assert all(h.start < h.end for h in held(found, tracks, 5.0, aspect=1.5))
    assert counts(found, tracks, 5.0, aspect=1.5) is not None


def scores(data: bytes) -> None:
    """A CSV of scores, or a .npy."""
    from vlad.eval.detection import read_scores
    from vlad.eval.protocols import load_dataset

    from vlad.errors import InputError

    global _DATASET
    _DATASET = _DATASET or load_dataset("ucf-crime")
    kind, data = ("npy" if data[:1] == b"\x01" else "csv"), data[1:]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / f"scores.{kind}"
        path.write_bytes(data)
        try:
            read_scores(path if kind == "csv" else Path(folder), _DATASET)
        except InputError as error:
            assert "\n" not in str(error)


_DATASET = None


def features(data: bytes) -> None:
    """An array of features."""
    from vlad.finetune.data import read_array

    from vlad.errors import InputError

    path = Path("/dev/shm") / f"vlad-fuzz-{os.getpid()}.npy"
    try:
        path.write_bytes(data)
        read_array(path)
    except InputError as error:
        assert "\n" not in str(error)
    finally:
        path.unlink(missing_ok=True)


def upload(data: bytes) -> None:
    """Names, ranges and days as people and their programs send them."""
    from fastapi import HTTPException
    from vlad.app.evidence import file_part
    from vlad.app.media import parse_range

    from vlad.clock import day_of, from_name, stamp, zone_of
    from vlad.errors import InputError
    from vlad.library.database import called
    from vlad.library.names import look, mixed, same

    words = data.decode("utf-8", "surrogateescape" if data[:1] == b"\x00" else "replace")[:2000]
    name = called(words)
    name.encode()
    assert not set(name) & set("\n\r\t\x00\x1b")
    assert isinstance(same(name) + look(name), str)
    assert mixed(name) in (True, False)
    assert "/" not in file_part(name)
    from_name(name)
    try:
        part = parse_range(words, 1000)
        assert part is None or 0 <= part[0] <= part[1] < 1000
    except HTTPException as error:
        assert error.status_code == 416
    for read in (lambda: zone_of(words), lambda: day_of(words, zone_of("")), lambda: stamp(words, "")):
        try:
            read()
        except InputError as error:
            assert "\n" not in str(error)


def camera(data: bytes) -> None:
    """What a camera sends, and its address. The first letter says which: R an RTSP answer, D how it asks for a password, P a playlist, M a word of its decoder, A an address."""
    from contextlib import suppress
    from types import SimpleNamespace

    from vlad.errors import InputError
    from vlad.live import rtsp, web
    from vlad.live.address import Secret, parse
    from vlad.live.child import checked
    from vlad.live.network import Denied, Unreachable

    what, data = data[:1], data[1:]
    text = data.decode("utf-8", "replace")

    def away(url: str) -> None:
        raise Unreachable("it is away")

    try:
        if what == b"R":
            whole = list(rtsp._answers(bytearray(data)))
            pieces, held = [], bytearray()
            for at in range(0, len(data), 7):
                held += data[at : at + 7]
                pieces += rtsp._answers(held)
            assert b"".join(w[1] for w in whole) == b"".join(p[1] for p in pieces)
            list(rtsp._requests(bytearray(data)))
        elif what == b"D":
            line = rtsp._digest(Secret("ann", "geheim"), text, "OPTIONS", "rtsp://camera/")
            assert "geheim" not in line
        elif what == b"P":
            feed = SimpleNamespace(
                stop=SimpleNamespace(is_set=lambda: False, wait=away), begin=lambda **_: None, put=lambda piece: None
            )
            web._hls(feed, SimpleNamespace(get=away), text, "http://camera/live.m3u8")  # type: ignore[arg-type]
        elif what == b"M":
            kind, _, said = data[1:].partition(b"\x00")
            with suppress(ValueError):
                checked(data[:1], said, len(kind))
        elif what == b"A":
            address = parse(text)
            assert address.secret is None or repr(address.secret) == "***"
            assert str(address).isprintable()
    except (Denied, Unreachable, InputError) as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 300
    except ValueError:
        assert what == b"P"  # a segment's address, which the feed tells


TARGETS: dict[str, Callable[[bytes], None]] = {
    f.__name__: f
    for f in (messages, boxes, stamps, request, analysis, template, rules, scores, features, upload, camera)
}


def main() -> int:
    """Run one target for as long as libFuzzer is told to; without one, name them."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        print(*TARGETS)
        return 0
    import atheris

    name = sys.argv[1]
    kept = HERE.parent / ".fuzz" / name
    kept.mkdir(parents=True, exist_ok=True)
    seeds = [p.read_bytes() for p in sorted((HERE / "seeds" / name).glob("*"))]
    with atheris.instrument_imports(include=["vlad"]):
        for seed in [b"", *seeds]:
            TARGETS[name](seed)  # imports what it needs
    words = {w.decode() for seed in seeds for w in re.findall(rb'"[a-z_]{1,30}"|[A-Za-z_]{3,30}:?|[{}\[\],:]+', seed)}
    (kept.parent / f"{name}.dict").write_text(
        "".join(f"{json.dumps(w)}\n" for w in sorted(words | {"null", "true", "[]", "{}", "1e999", "-1"}))
    )
    options = [
        f"-dict={kept.parent / name}.dict",
        f"-timeout={SLOW}",
        "-rss_limit_mb=4096",
        "-max_len=20000",
        f"-artifact_prefix={kept}/",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, *sys.argv[2:], str(kept), str(HERE / "seeds" / name)], TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
