"""A second engine for the page's tests: the system's Firefox, driven over WebDriver BiDi (W3C), which it speaks itself."""

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

KEYS = {
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "Shift": "\ue008",
    "Control": "\ue009",
    "Tab": "\ue004",
    "ArrowDown": "\ue015",
}


def firefox() -> str | None:
    """Where Firefox is, None where it is not."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


class Tab:
    """One page. errors: what its scripts and its console complained of."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.number = socket, 0
        self.errors: list[str] = []
        self.ask("session.new", capabilities={})
        self.context = self.ask("browsingContext.getTree")["contexts"][0]["context"]
        self.ask("session.subscribe", events=["log.entryAdded"])
        self.ask("browsingContext.setViewport", context=self.context, viewport={"width": 1400, "height": 900})

    def ask(self, method: str, **params: Any) -> Any:
        """A command and its result. Raises RuntimeError where Firefox refuses."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            said = json.loads(self.socket.recv(timeout=60))
            if said.get("method") == "log.entryAdded" and said["params"]["level"] == "error":
                self.errors.append(str(said["params"]["text"]))
            if said.get("id") == self.number:
                if said["type"] == "error":
                    raise RuntimeError(f"{method}: {said['message']}")
                return said["result"]

    def goto(self, url: str) -> None:
        """Load a page."""
        self.ask("browsingContext.navigate", context=self.context, url=url, wait="complete")

    def run(self, script: str) -> Any:
        """The value of an expression, as JSON takes it."""
        found = self.ask(
            "script.evaluate", expression=f"(async () => JSON.stringify(await ({script})))()", target={"context": self.context}, awaitPromise=True,
            userActivation=True,
        )  # fmt: skip
        if found["type"] != "success":
            raise RuntimeError(f"{script}: {found['exceptionDetails']['text']}")
        value = found["result"].get("value")
        return None if value is None else json.loads(value)

    def wait(self, script: str, seconds: float = 20.0) -> None:
        """Until an expression is true."""
        until = time.monotonic() + seconds
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < until, script
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """The middle of an element, with the mouse."""
        self.wait(f"document.querySelector({json.dumps(selector)})")
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{ block: 'nearest' }}); const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }})()"
        )
        where = {"x": round(box[0]), "y": round(box[1])}
        self._act(
            "pointer",
            [
                {"type": "pointerMove", **where},
                {"type": "pointerDown", "button": 0},
                {"type": "pointerUp", "button": 0},
            ],
        )

    def press(self, *keys: str) -> None:
        """Keys together: the last one while the others are held."""
        codes = [KEYS.get(k, k) for k in keys]
        downs = [{"type": "keyDown", "value": c} for c in codes]
        self._act("key", [*downs, *({"type": "keyUp", "value": c} for c in reversed(codes))])

    def write(self, words: str) -> None:
        """Letters, one after another."""
        for letter in words:
            self.press(letter)

    def _act(self, kind: str, actions: Sequence[dict[str, Any]]) -> None:
        more = {"parameters": {"pointerType": "mouse"}} if kind == "pointer" else {}
        self.ask(
            "input.performActions",
            context=self.context,
            actions=[{"type": kind, "id": kind, "actions": list(actions), **more}],
        )


@contextmanager
def opened() -> Iterator[Tab]:
    """A headless Firefox with a profile of its own."""
    from websockets.sync.client import connect

    with tempfile.TemporaryDirectory() as profile:
        command = [
            firefox() or "firefox",
            "--headless",
            "--no-remote",
            "--profile",
            profile,
            "--remote-debugging-port",
            "0",
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                for line in process.stderr:
                    if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", line):
                        break
                else:
                    raise RuntimeError("Firefox ended before it listened")
                with connect(f"{found[1]}/session", max_size=None) as socket:
                    yield Tab(socket)
            finally:
                process.terminate()
                process.wait(20)
