"""Several clips at once through one set of models: while a device works at some frames, those of other clips are decoded, and go through together.

In: a tower that threads call, or work and its jobs. Out: to each call what it alone would have got, but for the rounding of a batch of another size. Knows
no clip and no model.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

from vlad.errors import VladError

Tower = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]
Job = TypeVar("Job")
Made = TypeVar("Made")
_MINE = threading.local()  # over: of the thread's own side_by_side, set once nobody waits for what it makes


class Ended(Exception):
    """Nobody waits for a job's result any more."""


def going() -> None:
    """Raises Ended in a thread of a `side_by_side` that was ended, such as by Ctrl-C: a clip may take hours."""
    over: threading.Event | None = getattr(_MINE, "over", None)
    if over is not None and over.is_set():
        raise Ended


class Batched:
    """A tower for many threads: whatever waits while it runs goes through at once, at most `most` pictures.

    Each call: [N, ...] to tensors [N, ...] each. What the tower raises, every call of that batch raises.
    """

    def __init__(self, tower: Tower, most: int) -> None:
        self.tower, self.most = tower, most
        self._waiting: queue.SimpleQueue[tuple[torch.Tensor, Future[tuple[torch.Tensor, ...]]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def __call__(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        going()
        told: Future[tuple[torch.Tensor, ...]] = Future()
        self._waiting.put((pictures, told))
        return told.result()

    def _run(self) -> None:
        held = None
        while True:
            batch = [held or self._waiting.get()]
            held, count = None, len(batch[0][0])
            while not self._waiting.empty():
                held = self._waiting.get()
                if held[0].shape[1:] != batch[0][0].shape[1:] or count + len(held[0]) > self.most:
                    break
                batch.append(held)
                held, count = None, count + len(batch[-1][0])
            try:
                sizes = [len(pictures) for pictures, _ in batch]
                found = self.tower(torch.cat([pictures for pictures, _ in batch]))
                parts = zip(*(torch.split(whole, sizes) for whole in found), strict=True)
                for (_, told), own in zip(batch, parts, strict=True):
                    told.set_result(own)
            except BaseException as error:
                for _, told in batch:
                    told.set_exception(error)


def side_by_side(
    work: Callable[[Job], Made], jobs: Sequence[Job], count: int
) -> Iterator[tuple[Job, Made | VladError]]:
    """Each job with what becomes of it, `count` at a time in threads, as they are ready. What is no VladError ends it all: jobs under way at their next `going`."""
    left, over = iter(jobs), threading.Event()
    with ThreadPoolExecutor(count, initializer=_MINE.__setattr__, initargs=("over", over)) as pool:
        running: dict[Future[Made], Job] = {}
        try:
            while True:
                for job in left:
                    running[pool.submit(work, job)] = job
                    if len(running) == count:
                        break
                if not running:
                    return
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(done)
                    try:
                        made: Made | VladError = done.result()
                    except VladError as error:
                        made = error
                    yield job, made
        finally:
            over.set()
            for future in running:
                future.cancel()
