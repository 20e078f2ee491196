"""Which pictures of a clip need not be decoded, told before they would be, and when they are shown.

In: packets in the order of the file, and which pictures are wanted, by their number. Out: each packet with whether its picture is needed; then the
stamps of those that were passed over. A picture is passed over where nobody wants it and no other is made from it: H.264 marks these
(`nal_ref_idc` 0), and its decoder leaves them out when asked (`skip_frame`). Numbers are only sure where a clip is regular, so this looks a group of
pictures ahead, and at the first irregularity (a stamp that is missing, repeated or falls, a damaged packet, a picture that does not come) passes
over nothing more. Knows packets by their attributes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

CODECS = frozenset({"h264"})  # HEVC's marks hold within a layer only
MOST, HEAVY = 512, 16 << 20  # packets, and bytes, of a group that is still held whole


class Ahead:
    """One pass through a clip. wanted: whether the picture of a number (0 is the first that is shown) is."""

    def __init__(self, wanted: Callable[[int], bool]) -> None:
        self.wanted, self.sure = wanted, True
        self.number, self.last = 0, float("-inf")  # of pictures in the groups so far; their latest stamp
        self.sent: dict[int, bool] = {}  # stamps given to the decoder and not yet back: whether they are needed

    def packets(self, packets: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
        """Each packet, and whether its picture is needed. All of the first group are, which shows whether the clip keeps its word, and of the last."""
        group: list[Any] = []
        heavy = 0
        for packet in packets:
            whole = packet.is_keyframe and group
            if whole or not packet.size or len(group) > MOST or heavy > HEAVY:
                self.sure = bool(whole) and self.sure and self._regular(group)
                yield from self._planned(group)
                group, heavy = [], 0
            if self.sure:
                group.append(packet)
                heavy += packet.size
            else:
                yield packet, True

    def _regular(self, group: Sequence[Any]) -> bool:
        stamps, orders = (
            [p.pts for p in group],
            [p.dts for p in group if p.dts is not None],
        )  # Matroska knows few of these
        if None in stamps or any(p.is_discard or p.is_corrupt for p in group):
            return False
        rising = all(a < b for a, b in pairwise(orders))
        return rising and len(set(stamps)) == len(stamps) and self.last < stamps[0] == min(stamps)

    def _planned(self, group: Sequence[Any]) -> Iterator[tuple[Any, bool]]:
        if not self.sure:
            yield from ((packet, True) for packet in group)
            return
        first = self.number
        place = {stamp: first + i for i, stamp in enumerate(sorted(p.pts for p in group))}
        self.number, self.last = first + len(group), max(place)
        for packet in group:
            needed = not first or not self.sure or self.wanted(place[packet.pts])
            self.sent[packet.pts] = needed
            yield packet, needed

    def came(self, stamp: int | None) -> list[int]:
        """A picture came out of the decoder: the stamps of those before it that were passed over, rising."""
        before = sorted(s for s in self.sent if stamp is not None and s < stamp)
        passed = [s for s in before if not self.sent.pop(s)]
        foretold = self.sent.pop(stamp, None) is not None  # type: ignore[arg-type]
        self.sure = self.sure and foretold and len(passed) == len(before)
        return passed

    def lost(self, stamp: int | None) -> None:
        """A packet could not be decoded."""
        self.sure = False
        self.sent.pop(stamp, None)  # type: ignore[arg-type]

    def left(self) -> list[int]:
        """The clip is over: stamps of those passed over that no picture came after, rising."""
        return [s for s in sorted(self.sent) if not self.sent[s]]
