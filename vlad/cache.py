"""Features and sightings on disk, by the hash of the clip and the fingerprint of what made them.

In and out: `Features`, `Video` and `Sighting`s. An entry is one safetensors file, written beside its place and moved there, so two processes never
see half of one; a damaged entry counts as absent, and says so.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vlad.types import Box, Features, Sighting, Video

log = logging.getLogger("vlad")


class FeatureCache:
    """A folder of features; made when first written to. What cannot be cached is only not cached."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, sha256: str, fingerprint: str) -> Path:
        return (
            self.folder
            / sha256[:2]
            / f"{sha256[2:]}-{hashlib.sha256(fingerprint.encode()).hexdigest()[:16]}.safetensors"
        )

    def get(
        self, sha256: str, fingerprint: str
    ) -> tuple[Features, Video, tuple[Sighting, ...], tuple[str, ...]] | None:
        """What was cached for a clip (64 hex digits) by an encoder, a detector and their settings, with the decoder's warnings, or None."""
        path = self._path(sha256, fingerprint)
        if not path.is_file():
            return None
        try:
            with safe_open(path, "np") as file:
                facts = json.loads(file.metadata()["vlad"])
                if (facts["sha256"], facts["fingerprint"]) != (sha256, fingerprint):
                    raise ValueError("it holds another clip")
                features = Features(file.get_tensor("values"), file.get_tensor("edges"), facts["encoder"])
                gaps = tuple((float(a), float(b)) for a, b in facts["video"].pop("gaps"))
                seen = _sightings(file.get_tensor("looks"), file.get_tensor("boxes"), facts["classes"])
                warnings = tuple(str(w) for w in facts.get("warnings", ()))
                return features, Video(**facts["video"], gaps=gaps), seen, warnings
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            log.warning("cached features %s are damaged (%s); computing them again", path.name, error)
            return None

    def put(
        self, sha256: str, fingerprint: str, features: Features, video: Video, sightings: Sequence[Sighting] = (),
        warnings: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Store what an encoder and a detector made of a clip, and what the decoder warned of."""
        classes = sorted({b.label for s in sightings for b in s.boxes})
        rows = [[i, classes.index(b.label), b.score, *b.box] for i, s in enumerate(sightings) for b in s.boxes]
        facts = {
            "sha256": sha256,
            "fingerprint": fingerprint,
            "encoder": features.encoder,
            "video": dataclasses.asdict(video),
            "warnings": list(warnings),
            "classes": classes,
        }
        arrays: dict[str, npt.NDArray[Any]] = {"values": np.array(features.values), "edges": np.array(features.edges)}
        arrays |= {"looks": np.array([s.time for s in sightings]), "boxes": np.array(rows, np.float64).reshape(-1, 7)}
        data = save(arrays, {"vlad": json.dumps(facts)})
        path = self._path(sha256, fingerprint)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                try:
                    file.write(data)
                    file.flush()
                    os.replace(file.name, path)
                except BaseException:
                    os.unlink(file.name)
                    raise
        except OSError as error:
            log.warning("features could not be cached in %s (%s)", self.folder, error.strerror)


def _sightings(
    looks: npt.NDArray[np.float64], boxes: npt.NDArray[np.float64], classes: Sequence[str]
) -> tuple[Sighting, ...]:
    """Times [N] and rows [M, 7] of place in `looks`, class, score and box, as values."""
    found: list[list[Box]] = [[] for _ in looks]
    for place, kind, score, *box in boxes.tolist():
        found[int(place)].append(Box(classes[int(kind)], score, (box[0], box[1], box[2], box[3])))
    return tuple(Sighting(float(t), tuple(own)) for t, own in zip(looks, found, strict=True))
