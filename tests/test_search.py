"""What words find in footage that training never saw, and how often words that nothing matches are said to match: real models, fresh scenes."""

from pathlib import Path

import numpy as np
import pytest
from vlad.app.search import EVERYDAY, Index

from vlad.config import make_settings
from vlad.pipeline import Analyzer
from vlad.sim import simulate, write_video

pytestmark = pytest.mark.slow
FIRST = 4_100_000  # a seed that neither training nor any choice used
THINGS = {
    "fighting": "two people fighting", "falling": "a person falling", "vandalism": "vandalism", "arson": "a person sets something on fire",
    "abandoned object": "a bag left behind", "crowd panic": "people running away in panic", "road accident": "a road accident",
    "explosion": "an explosion", "shoplifting": "shoplifting", "burglary": "a burglary",
}  # fmt: skip
NOTHINGS = (
    "a submarine", "pizza with cheese", "a giraffe", "the quarterly report", "qwertyuiop", "a violin concert", "snowy mountains", "a cat on a sofa",
    "a wedding cake", "an airport runway",
)  # fmt: skip


def test_words_find_what_is_there_and_say_when_nothing_is(tmp_path: Path) -> None:
    analyzer = Analyzer(make_settings(cache=None))
    kept, edges, events = {}, {}, {}
    for i, label in enumerate((*THINGS, *THINGS)):
        world = simulate(FIRST + i, duration=30.0, events=(label,))
        write_video(world, tmp_path / "clip.mp4")
        features = analyzer.features(tmp_path / "clip.mp4")[0]
        looks = features.values[:, : analyzer.encoder.parts[0]]  # type: ignore[attr-defined]
        name = f"{i:02d}"
        np.save(tmp_path / f"{name}.npy", looks / np.linalg.norm(looks, axis=1, keepdims=True))
        kept[name], edges[name] = tmp_path / f"{name}.npy", features.edges
        events[name] = [(e.label, e.start, e.end) for e in world.events if e.anomalous]
    index = Index()
    index.refresh(kept, edges.__getitem__)
    everyday = analyzer.encoder.embed_text(list(EVERYDAY))  # type: ignore[attr-defined]

    def best(words: str) -> tuple[bool, str, float]:
        vector = analyzer.encoder.embed_text([words])[0]  # type: ignore[attr-defined]
        (found,) = index.nearest(vector, 1, everyday=everyday)
        return found.well, found.video, (found.start + found.end) / 2

    right, well = 0, 0
    for label, words in THINGS.items():
        sure, video, time = best(words)
        right += any(name == label and start <= time <= end for name, start, end in events[video])
        well += sure
    false = sum(best(words)[0] for words in NOTHINGS)
    print(
        f"of {len(THINGS)} things that are there {right} are found first, {well} are said to match; of {len(NOTHINGS)} that are not {false} are"
    )
    assert right >= 0.4 * len(THINGS)  # by chance one in twenty
    assert false <= 0.2 * len(NOTHINGS)
    assert well > false
