"""What covering people costs an analysis: real clips as they are, and with everybody who was found covered.

    vlad eval anonymised data=FOLDER [what=people] [how=mosaic|blur|silhouette] [clips=60] [work=runs/anonymised]

In: `fights` val of DATA. Out: a table and WORK/anonymised.json: clip AUC of nano and of movement energy on the clips and on the same covered, with the paired difference and its 95 % interval
over clips; how alike the timelines are (the correlation of their snippets' scores, over all); how many of the people's seconds are still tracked; and how many seconds covering takes for
one of a clip. Exit status 0: there is no bar.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.progress import track as bar
from rich.table import Table

from vlad.anonymise import HOW, WHAT, anonymise
from vlad.config import make_settings
from vlad.errors import SettingsError
from vlad.pipeline import Analyzer
from vlad.types import Track

from . import benchmarks
from .metrics import Floats, bootstrap, clip_auc
from .verb import options_of, show_table

OPTIONS = {"data": "", "what": "people", "how": "mosaic", "clips": "60", "work": "runs/anonymised"}
Row = tuple[int, float, float, float, float]  # a fight; nano's score and movement energy, as it is and covered


def there(tracks: Sequence[Track]) -> float:
    """Seconds of people, all together."""
    return float(sum(t.times[-1] - t.times[0] for t in tracks if t.label == "person"))


def auc(rows: Sequence[Row], column: int) -> float:
    """Of one of a row's scores."""
    return clip_auc([r[column] for r in rows], [r[0] for r in rows])


def main(argv: Sequence[str]) -> int:
    """`vlad eval anonymised`. Raises SettingsError where no footage is named."""
    options = options_of("anonymised", argv, OPTIONS)
    what, how = (
        next((w for w in WHAT if w == options["what"]), None),
        next((h for h in HOW if h == options["how"]), None),
    )
    if what is None or how is None or not options["data"]:
        raise SettingsError(
            f"eval anonymised: data=FOLDER that holds fights/, what={'|'.join(WHAT)}, how={'|'.join(HOW)}"
        )
    data, work = Path(options["data"]) / "fights", Path(options["work"])
    work.mkdir(parents=True, exist_ok=True)
    with open(data / "manifest.csv", newline="") as file:
        named = [r for r in csv.DictReader(file) if r["split"] == "val"][: int(options["clips"])]
    analyzer = Analyzer(make_settings(explain=False))
    rows: list[Row] = []
    timelines: tuple[list[Floats], list[Floats]] = ([], [])  # as they are, and covered
    seconds = [[0.0, 0.0], [0.0, 0.0]]  # of people, as it is and covered; of work and of clips
    for clip in bar(named, "clips"):
        begin = time.perf_counter()
        done = anonymise(data / clip["path"], analyzer.settings, what=what, how=how)
        seconds[1][0] += time.perf_counter() - begin
        covered = work / "covered.mp4"
        covered.write_bytes(done.clip)
        found = []
        for k, path in enumerate((data / clip["path"], covered)):
            features, video, _ = analyzer.features(path)
            scores = analyzer.score(features).scores.astype(np.float64)
            seconds[0][k] += there(analyzer.tracks(video))
            found += [benchmarks.bag_score(scores), benchmarks.bag_score(benchmarks.energy_of(features))]
            timelines[k].append(scores)
        seconds[1][1] += video.duration
        rows.append((int(clip["label"] == "fight"), *found))  # type: ignore[arg-type]
    lengths = [min(len(a), len(b)) for a, b in zip(*timelines, strict=True)]
    pairs = [np.concatenate([s[:n] for s, n in zip(some, lengths, strict=True)]) for some in timelines]
    alike = float(np.corrcoef(pairs[0], pairs[1])[0, 1])
    table = Table(
        "fights val, clip AUC",
        "as they are",
        f"{what} covered ({how})",
        "difference [95 %]",
        title=f"{len(rows)} clips",
    )
    figures = {}
    for name, one, other in (("nano", 1, 3), ("movement energy", 2, 4)):
        own = [bootstrap(rows, lambda some, k=k: auc(some, k)) for k in (one, other)]  # type: ignore[misc]
        gain = bootstrap(rows, lambda some, one=one, other=other: auc(some, other) - auc(some, one))  # type: ignore[misc]
        figures[name] = [asdict(f) for f in (*own, gain)]
        table.add_row(name, *map(str, own), f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
    show_table(table)
    kept, cost = seconds[0][1] / max(seconds[0][0], 1e-9), seconds[1][0] / max(seconds[1][1], 1e-9)
    print(
        f"correlation of the timelines {alike:.3f}; seconds of people still tracked {kept:.2f}; covering takes {cost:.2f} s for one of a clip"
    )
    record = {"figures": figures, "correlation": alike, "tracked": kept, "seconds": cost, "rows": rows}
    (work / "anonymised.json").write_text(json.dumps(record, indent=1) + "\n")
    return 0
