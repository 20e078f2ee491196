"""The evaluation of explanations: text metrics on pairs with known figures, controls, and files of every shape."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vlad.eval import words
from vlad.eval.answers import Item, read, refuses, stated
from vlad.eval.run import main
from vlad.eval.text import Bleu, CiderD, rouge_l, tokens

from vlad.errors import InputError

TEXTS = [
    "two people fight in an alley",
    "a red car hits a wall at speed",
    "a person falls on the stairs and stays there",
    "nobody is in the empty lobby today",
    "a man sets a bin on fire and runs away",
    "people queue in front of a shop",
]
CLASSES = ["fighting", "road accident", "falling", "", "arson", ""]


def items(texts: list[str] = TEXTS, **more: Any) -> list[Item]:
    return [
        Item(f"{i}", "explanation", t, CLASSES[i], {"what": t}, (i, i + 2.0), not CLASSES[i], **more)
        for i, t in enumerate(texts)
    ]


def test_text_metrics_on_known_pairs() -> None:
    assert tokens("A red-car, 2 dogs!") == ["a", "red", "car", "2", "dogs"]
    assert rouge_l(["a b c d"], ["a b x d"])[0] == pytest.approx(0.75)
    bleu = Bleu()
    same = bleu.statistics(TEXTS, TEXTS)
    assert bleu.score(same) == pytest.approx(100.0)
    assert bleu.score(bleu.statistics(["x y z w"], ["a b c d"])) < 15
    assert "version" in bleu.signature
    cider = CiderD(TEXTS)
    assert cider(TEXTS) == pytest.approx([10.0] * len(TEXTS))
    assert cider(["zzz"], [0])[0] == 0


def test_cider_d_by_hand() -> None:
    """Two references that share one word: of n = 1 the others weigh log 2, and a text one word longer is punished by its length."""
    cider = CiderD(["a b", "a c"])
    # n = 1: vectors (a: 0, b: log 2); n = 2: (a b: log 2); n = 3, 4: nothing.  Text "a b b": counts clipped.
    norm = np.sqrt(1) * np.sqrt(4)
    expected = 10 / 4 * (min(2, 1) * 1 / norm + 1 / np.sqrt(2)) * np.exp(-1 / 72)
    assert cider(["a b b"], [0])[0] == pytest.approx(expected)


def test_cider_d_over_several_references_is_pycocoevalcaps() -> None:
    """What pycocoevalcap's own scorer, which is pure Python, gives for these (sigma 6, no other tokenizer)."""
    references = [
        ["a man rides a red bike", "a man on a bike in the street", "someone cycles down a street"],
        ["two dogs run in the grass", "two brown dogs play on grass", "dogs running"],
        ["a girl in a pink dress", "a little girl stands by a door", "a child in a dress"],
        ["a man and a dog on a beach", "a dog runs beside a man", "a man walks his dog on the sand"],
    ]
    said = ["a man on a red bike", "two dogs run", "a man in a pink dress", "a man on a beach with a dog"]
    assert CiderD(references)(said) == pytest.approx(
        [2.6765644737715406, 2.2159920074526145, 2.558830865076284, 1.957181998089563], abs=1e-9
    )


def test_corpus_bleu_is_sacrebleus() -> None:
    from sacrebleu import corpus_bleu

    moved = TEXTS[1:] + TEXTS[:1]
    ours = [f"{a} {b}" for a, b in zip(TEXTS, moved, strict=True)]
    bleu = Bleu()
    assert bleu.score(bleu.statistics(ours, TEXTS)) == pytest.approx(corpus_bleu(ours, [TEXTS]).score)


def test_one_who_knows_beats_both_controls() -> None:
    lines = {x.metric: x for x in words.compare(items(), items(probability=None), rounds=200)}
    for name in ("CIDEr-D", "ROUGE-L", "what recalled", "category", "temporal IoU", "verdict right"):
        assert lines[name].ours is not None
        assert lines[name].ours[0] == pytest.approx(10.0 if name == "CIDEr-D" else 1.0)
        assert not lines[name].blind
    assert lines["invented events"].ours == (0.0, 0.0, 0.0)
    assert lines["refusal on normal clips"].items == 2


def test_right_words_for_the_wrong_clip_are_marked_blind() -> None:
    truth = items()
    moved = [Item(t.key, t.task, TEXTS[(i + 2) % 6], CLASSES[(i + 2) % 6]) for i, t in enumerate(truth)]
    lines = {x.metric: x for x in words.compare(truth, moved, rounds=200)}
    assert lines["CIDEr-D"].blind
    assert lines["category"].blind


def test_the_controls_know_nothing_of_their_clip() -> None:
    truth = items()
    assert len({i.text for i in words.constant(truth)}) == 1
    moved = words.shuffled(truth)
    assert sorted(m.text for m in moved) == sorted(TEXTS)
    assert all(m.text != t.text and m.key == t.key for m, t in zip(moved, truth, strict=True))


def test_reliability_of_probabilities() -> None:
    truth = items()
    sure = [Item(t.key, t.task, t.text, probability=0.9 if not t.normal else 0.1, normal=t.normal) for t in truth]
    lines = {x.metric: x for x in words.compare(truth, sure, rounds=50)}
    line = lines["calibration error of the verdict"]
    assert line.ours is not None
    assert line.ours[0] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("There is no anomaly in the video.", True), ("No anomaly exists in this segment.", True), ("This appears to be normal: people walk.", True),
        ("An anomaly exists, specifically a Riot.", False), ("An abnormal event occurs.", False), ("nothing unusual", True),
    ],
)  # fmt: skip
def test_refusals(text: str, is_one: bool) -> None:
    assert refuses(text) is is_one


def test_stated_times() -> None:
    assert stated("lasts from 39.5 to 49.5 seconds") == (39.5, 49.5)
    assert stated("between 3 s and 5 s") == (3.0, 5.0)
    assert stated("5 to 3 seconds") is None
    assert stated("no time") is None


def test_every_shape_is_read(tmp_path: Path) -> None:
    hivau = {
        "id": 1,
        "type": "video",
        "task": "judgement",
        "video": "a/x.mp4",
        "prompt": "?",
        "anwser": "The anomaly exists, specifically identified as RoadAccident.",
    }
    (tmp_path / "h.jsonl").write_text(json.dumps(hivau) + "\n")
    (item,) = read(tmp_path / "h.jsonl").values()
    assert (item.task, item.category, item.normal) == ("video judgement", "road accident", False)
    (tmp_path / "p.jsonl").write_text(json.dumps({**hivau, "prediction": "No anomaly exists."}) + "\n")
    (said,) = read(tmp_path / "p.jsonl").values()
    assert (said.key, said.normal) == (item.key, True)
    (tmp_path / "u.json").write_text(
        json.dumps({"v": {"duration": 9, "timestamps": [[1, 2], [3, 5]], "sentences": ["a", "b"]}})
    )
    assert [i.span for i in read(tmp_path / "u.json").values()] == [(1.0, 2.0), (3.0, 5.0)]
    reasoning = repr({"Location": "a shop", "Key Evidence": "he takes it", "Conclusion": "theft"})
    (tmp_path / "v.csv").write_text(
        f'Video,Description,Reasoning,Anomaly Class,Start Time,End Time\nx.mp4,d,"{reasoning}",Stealing,1,4\n'
    )
    two = read(tmp_path / "v.csv")
    assert [i.task for i in two.values()] == ["description", "analysis"]
    assert two["x.mp4 analysis"].text == "he takes it theft"
    assert two["x.mp4 analysis"].span == (1.0, 4.0)
    (tmp_path / "o.jsonl").write_text(
        '{"id": "7", "text": "t", "who": "w", "start": 1, "end": 2, "verdict": "normal", "probability": 0.2}\n'
    )
    own = read(tmp_path / "o.jsonl")["7"]
    assert (own.normal, own.elements, own.probability) == (True, {"who": "w"}, 0.2)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", "{}\n", "line 1: KeyError 'id'"), ("a.jsonl", "[1]\n", "line 1"), ("a.json", "[]", "expected an analysis"),
        ("a.json", "{", "not JSON"), ("a.jsonl", "", "no explanation in it"),
        ("a.csv", "Video,Reasoning\nx,__import__('os').system('true')\n", "line 2: ValueError"),
    ],
)  # fmt: skip
def test_what_is_none_of_them_is_told_with_its_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)


def test_the_command_prints_its_table_and_its_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": str(i), "text": t, "category": c} for i, (t, c) in enumerate(zip(TEXTS, CLASSES, strict=True))]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({**r, "text": r["text"] + " today"}) + "\n" for r in rows))
    arguments = [
        "explanations",
        "--predictions",
        str(tmp_path / "p.jsonl"),
        "--references",
        str(tmp_path / "r.jsonl"),
        "--rounds",
        "20",
    ]
    assert main([*arguments, "--against", str(tmp_path / "r.jsonl")]) == 0
    assert "over --against" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["tasks"]["explanation"]["items"] == 6
    (tmp_path / "p.jsonl").write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(InputError, match="no answer for 5 of 6 references, such as '1'"):
        main(arguments)


@pytest.mark.data
def test_hivaus_controls_score_as_high_as_is_known() -> None:
    """A constant answer and shuffled references, on the published test rows: why no metric stands without them."""
    source = Path(os.environ["VLAD_DATA"]) / "annotations" / "hivau_merge_instruction_test_final.jsonl"
    truth = [i for i in read(source).values() if i.task == "video judgement"]
    lines = {x.metric: x for x in words.compare(truth, None, rounds=50)}
    assert len(truth) == 150
    assert lines["CIDEr-D"].constant is not None
    assert lines["CIDEr-D"].constant[0] > 1.1  # published for a trained model on all tasks together: 1.437
    assert lines["refusal on normal clips"].constant == (1.0, 1.0, 1.0)
