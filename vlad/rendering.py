"""Templates that somebody wrote, in a child process under limits: a loop in a template costs its own two seconds and nothing else.

    python -m vlad.rendering     (JSON lines on standard input: {"look": body} or {"parts": [...], "values": {...}}; a line of JSON answers each)

In: Jinja2 bodies and values. Out: rendered texts, or the variables that a body asks for. The child has a limit of memory for good and of
processor time for each request; whoever asks waits a few seconds at most, and the next request gets a new child. Knows nothing of vlad but its errors.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vlad.errors import OutputError, TemplateError

PROCESSOR = 2  # seconds of the processor that a request may take
WAIT = 6.0  # seconds that somebody waits for it
TURN = 2.0  # seconds that somebody waits until others have got theirs
MEMORY = 256 << 20  # bytes of address space above what the child starts with
LONGEST = 200_000  # letters of a rendered text
ERRORS = (
    RecursionError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    ArithmeticError,
    AttributeError,
    LookupError,
)  # of hostile templates


def environment() -> ImmutableSandboxedEnvironment:
    """Jinja2 with nothing to load, nothing to reach, and an error for what is not there."""
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


def look(body: str) -> dict[str, Any]:
    """{"used": names of the variables that a body asks for}, or {"error", "line"} (from 1) of its syntax."""
    try:
        return {"used": sorted(meta.find_undeclared_variables(environment().parse(body)))}
    except TemplateSyntaxError as error:
        return {"error": str(error.message), "line": error.lineno}
    except RecursionError:
        return {"error": "it is nested too deeply", "line": 1}


def fill(parts: Sequence[str], values: Mapping[str, str]) -> dict[str, Any]:
    """{"texts": one for each body}, or {"error"}."""
    try:
        texts = []
        for body in parts:
            text = ""
            for piece in environment().from_string(body).generate(**values):
                text += piece
                if len(text) > LONGEST:
                    return {"error": f"it gives more than {LONGEST} letters"}
            texts.append(text.strip())
        return {"texts": texts}
    except MemoryError:
        return {"error": "it takes too much memory"}
    except RecursionError:
        return {"error": "it calls itself without end"}
    except Exception as error:  # whatever a template can raise is the template's fault
        return {"error": f"{type(error).__name__}: {error}"[:300]}


class Renderer:
    """The child, started when first asked for; one request at a time. Raises OutputError where others keep it for longer than a moment."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._child: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def look(self, body: str) -> dict[str, Any]:
        """See `look`; whatever ends the child is an error of line 1."""
        answer = self._ask({"look": body})
        return answer if "used" in answer or "line" in answer else {**answer, "line": 1}

    def fill(self, parts: Sequence[str], values: Mapping[str, str]) -> list[str]:
        """The texts of bodies. Raises TemplateError where they cannot be rendered, or not within the limits."""
        answer = self._ask({"parts": list(parts), "values": dict(values)})
        if "error" in answer:
            raise TemplateError(str(answer["error"]))
        texts: list[str] = answer["texts"]
        return texts

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if not self._lock.acquire(timeout=TURN):
            raise OutputError("templates of others are being rendered; try again in a moment")
        try:
            if self._child is not None and self._child.poll() is not None:
                self._end()
            child = self._child = self._child or self._start()
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                child.stdin.write(json.dumps(request).encode() + b"\n")
                child.stdin.flush()
                line = _line(child.stdout.fileno(), WAIT)
                answer: dict[str, Any] = json.loads(line)
                return answer
            except (OSError, ValueError):
                self._end()
                return {"error": f"it takes longer than {PROCESSOR} s, or too much memory"}
        finally:
            self._lock.release()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "vlad.rendering"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end()


def _line(source: int, seconds: float) -> bytes:
    """Bytes up to a newline. Raises ValueError where none comes in time, or the child ends."""
    found = bytearray()
    while not found.endswith(b"\n"):
        ready, _, _ = select.select([source], [], [], seconds)
        piece = os.read(source, 1 << 16) if ready else b""
        if not piece:
            raise ValueError("no answer")
        found += piece
    return bytes(found)


def _limit(kind: int, value: int) -> None:
    import resource

    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def main() -> int:
    """Answer requests until standard input ends."""
    import resource

    try:
        with open("/proc/self/statm") as facts:
            now = int(facts.read().split()[0]) * resource.getpagesize()
        _limit(resource.RLIMIT_AS, now + MEMORY)
    except OSError:  # not Linux: the time alone is limited
        pass
    _limit(resource.RLIMIT_NOFILE, 16)
    for line in sys.stdin.buffer:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + PROCESSOR)
        request = json.loads(line)
        try:
            answer = look(request["look"]) if "look" in request else fill(request["parts"], request["values"])
        except ERRORS as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
