"""The judge beside sixty judgements, sentences by video, and the probe of descriptors: what needs neither footage nor a server."""

import json
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from vlad.eval import captions, descriptors, judge, words
from vlad.eval.descriptors import Labelled

from vlad.errors import InputError, SettingsError

ROWS = json.loads((files("vlad.eval") / "judgements.json").read_text())["items"]


def sentences(folder: Path) -> Path:
    """A stand-in for the sentences that the judgements name."""
    told: dict[str, Any] = {}
    for row in ROWS:
        for key in (row["reference"], row.get("answer_of", row["reference"])):
            told.setdefault(key.rsplit(" ", 1)[0], {"uca": {"sentences": [f"{key} {k}" for k in range(30)]}})
    (folder / "frames").mkdir(parents=True)
    (folder / "frames" / "ucf_captions.json").write_text(json.dumps(told))
    return folder


def test_sixty_answers_are_marked_in_range() -> None:
    assert len(ROWS) == 60
    assert all(r[m] in (0, 1, 2) for r in ROWS for m in words.MARKS)
    assert all(("answer" in r) != ("answer_of" in r) for r in ROWS)


@pytest.mark.parametrize("like_us", [True, False])
@pytest.mark.slow
def test_a_judge_is_held_against_them(like_us: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = sentences(tmp_path / "data")
    told = iter(ROWS)

    def mark(row: dict[str, Any]) -> str:
        return "no JSON" if row is ROWS[0] else json.dumps({m: row[m] if like_us else 1 for m in words.MARKS})

    def engine(requests: Any) -> list[Any]:
        return [SimpleNamespace(text=mark(next(told))) for _ in requests]

    monkeypatch.setattr(words, "load_server", lambda settings: engine)
    given = ["server=http://x/v1", "model=some/model", f"data={data}", f"work={tmp_path / 'work'}"]
    assert judge.main(given) == 0
    facts = json.loads((tmp_path / "work" / "judge-model.json").read_text())
    assert (facts["read"], facts["of"]) == (59, 60)
    assert facts["event"]["kappa"]["value"] == (1.0 if like_us else 0.0)
    assert facts["event"]["agree"]["value"] == (
        1.0 if like_us else pytest.approx(np.mean([r["event"] == 1 for r in ROWS[1:]]))
    )
    assert judge.main(given) == 0  # nothing is asked twice
    with pytest.raises(SettingsError, match="name server"):
        judge.main(["model=x"])
    with pytest.raises(InputError, match="does not hold"):
        judge.main([*given[:2], f"data={tmp_path}"])


def test_sentences_of_a_video_stay_together() -> None:
    rows = [{"video": f"a/v{k % 7}.mp4"} for k in range(40)]
    fold = captions.folds_of(rows, 3)
    assert len(fold) == 7
    assert set(fold.values()) == {0, 1, 2}


def test_intervals_by_group_are_wider_where_a_group_says_one_thing() -> None:
    item = words.Item
    truth = [item(str(k), "caption", "a man walks") for k in range(40)]
    said = [item(str(k), "caption", "a man walks" if k < 20 else "no") for k in range(40)]
    by_item, by_video = (
        {line.metric: line for line in words.compare(truth, said, groups=g, rounds=200)}["ROUGE-L"].ours
        for g in (None, [str(k // 10) for k in range(40)])
    )
    assert by_item is not None
    assert by_video is not None
    assert by_item[0] == by_video[0]
    assert by_video[2] - by_video[1] > 2 * (by_item[2] - by_item[1])


@pytest.mark.slow
def test_the_probe_finds_what_is_there_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    clips = [
        Labelled(str(k), source, f"{source}{k // 2}", k % 2 == 0, held)
        for source, held in (("fights", False), ("fights", True), ("street", False))
        for k in range(40)
    ]
    told = np.array([c.anomalous for c in clips])[:, None] + 0.5 * rng.normal(size=(120, 1))
    parts: list[dict[str, Any]] = [{"seen": told[i], "noise": rng.normal(size=3)} for i in range(120)]
    found = descriptors.probed(clips, parts, ["seen", "noise"])
    rows, scores = found["fights, train to val"]
    assert [clips[i].held for i in rows] == [True] * 40
    figure = descriptors.figure(clips, rows, scores)
    assert figure.value > 0.85
    _, nothing = descriptors.probed(clips, parts, ["noise"])["fights, train to val"]
    over = descriptors.figure(clips, rows, scores, nothing)
    assert over.value == pytest.approx(figure.value - descriptors.figure(clips, rows, nothing).value)
    assert over.low > 0
