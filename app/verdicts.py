"""What reviewers decided, as the fine-tuning reads it: few-shot clips for `vlad adapt`, rows for `vlad instruct`, examples for `explain`.

In: a library. Out: a folder with normal/ and anomalous/ (a clip a decided segment), verdicts.jsonl, and examples/, the confirmed
descriptions that the setting `examples` shows to a model beside like moments.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlad.config import Settings
from vlad.errors import OutputError, VladError
from vlad.explainers.examples import Bank, save_bank
from vlad.library import Library
from vlad.video import cut

from .search import look_of

KINDS = {"confirmed": "anomalous", "dismissed": "normal"}


def export(library: Library, settings: Settings, out: Path) -> list[str]:
    """Write the folder; what was written and what could not be, a line each. Raises OutputError."""
    lines, rows, counts = [], [], dict.fromkeys(KINDS.values(), 0)
    try:
        for kind in counts:
            (out / kind).mkdir(parents=True, exist_ok=True)
        for row, video, verdict, notes in library.verdicts():
            kind = KINDS[row.status]
            path = out / kind / f"{row.id}.mp4"
            try:
                if not path.exists():
                    path.write_bytes(cut(library.clip(video.id), row.start, row.end, settings))
            except VladError as error:
                lines.append(f"{video.name}, {row.start:.1f} s: left out ({error})")
                continue
            counts[kind] += 1
            fields = (row.explanation or {}).get("fields", {})
            rows.append({
                "video": str(path.relative_to(out)), "start": 0.0, "end": row.end - row.start, "label": row.label, "verdict": row.status,
                "note": " ".join(filter(None, [verdict.reason, *notes])), "text": (row.explanation or {}).get("text", ""),
                **{k: fields.get(k, "") for k in ("what", "who", "where")},
            })  # fmt: skip
        bank = confirmed(library)
        if bank is not None:
            save_bank(bank, out / "examples")
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (out / "verdicts.jsonl").write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror})") from None
    told = [f"vlad instruct {out}/verdicts.jsonl --media {out} -o rows.jsonl"]
    given = [f"--{kind} {out}/{kind}" for kind, count in counts.items() if count]
    if given:
        told.append(f"vlad adapt nano {' '.join(given)} -o adapted")
    if bank is not None:
        told.append(f"vlad analyze CLIP --set examples={out}/examples")
    return [f"{counts['anomalous']} confirmed, {counts['normal']} dismissed", *lines, *told]


def confirmed(library: Library) -> Bank | None:
    """What was said of the confirmed segments, a person's note before a model's words, by how they look; None where nothing was.

    Of one encoder, the one that most of them were analysed with.
    """
    found: list[tuple[str, npt.NDArray[np.float32], str]] = []
    for row, video, _, notes in library.verdicts():
        said = " ".join(notes) or str((row.explanation or {}).get("text", ""))
        if row.status == "confirmed" and said and library.embeddings(video.id).is_file():
            found.append((library.embedder(video.id), look_of(library, row), said))
    if not found:
        return None
    encoder = Counter(name for name, _, _ in found).most_common(1)[0][0]
    own = [(look, said) for name, look, said in found if name == encoder]
    return Bank(np.stack([look for look, _ in own]), tuple(said for _, said in own), encoder)
