"""Instruction data of every shape to rows; what is bad is named, what is UCF-Crime's test set stays out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from vlad.finetune.instruct import (
    Row,
    bare,
    convert,
    fault_of,
    is_test,
    read_rows,
    run,
    simulated,
    ucf_test,
    xd_test,
)
from vlad.finetune.recipe import load_recipe

from vlad.errors import InputError

HIVAU = {
    "id": 1,
    "type": "event",
    "task": "judgement",
    "video": "xd/a.mp4",
    "prompt": "Are there anomalies?",
    "anwser": "No anomaly exists.",
}
LLAVA = {"id": "x", "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A car."},
         {"from": "human", "value": "Which colour?"}, {"from": "gpt", "value": "Red."}]}  # fmt: skip


def write(path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    else:
        path.write_text(
            json.dumps(rows if len(rows) != 1 or not isinstance(rows[0], dict) or path.name != "uca.json" else rows[0])
        )
    return path


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("Abuse028_x264.mp4", True), ("ucf-crime/clips/test/Abuse028_x264_E0C0.mp4", True), ("events/Abuse028_x264_E1.mp4", True),
        ("Abuse028_x264_E0_C3", True), ("Normal_Videos_003_x264", True), ("Normal_Videos_203_x264_E1.mp4", True), ("a\\b\\Arrest001.avi", True),
        ("xd-violence/clips/test/v=MqrNCb2N5to__#1_label_B1-0-0_E0C0.mp4", True), ("v=Hnfy9XhlIPM__#1_label_B4-0-0.mp4", True),
        ("A.Beautiful.Mind.2001__#00-25-20_00-29-20_label_A_E1C4.mp4", True), ("Some.Film__#00-01-00_00-02-00_label_G-0-0.mp4", False),
        ("Abuse001_x264.mp4", False), ("Normal_Videos001_x264.mp4", False), ("Abuse0281.mp4", False), ("lobby.mp4", False),
    ],
)  # fmt: skip
def test_test_videos_are_known_by_name(name: str, test: bool) -> None:
    assert is_test(name) is test


def test_there_are_290_of_them() -> None:
    assert len(ucf_test()) == 290
    assert len(xd_test()) == 800
    assert all(bare(n) == n for n in ucf_test() | xd_test())


def test_hivau(tmp_path: Path) -> None:
    yes = {**HIVAU, "id": 2, "video": "xd/b.mp4", "anwser": "The anomaly exists, specifically a Riot."}
    out = {**HIVAU, "id": 3, "video": "ucf-crime/clips/test/Abuse028_x264_E0C0.mp4"}
    found = convert(write(tmp_path / "h.jsonl", [HIVAU, yes, out]))
    assert [(r.normal, r.loaded) for r in found.rows] == [(True, True), (False, False)]
    assert found.left_out == 1
    assert found.rows[0].values["question"] == "Are there anomalies?"


def test_xd_violences_test_videos_are_left_out_and_paths_that_say_test_are_told(tmp_path: Path) -> None:
    """R3: 3,063 rows of its test folders were kept."""
    out = {**HIVAU, "video": "xd-violence/clips/test/v=MqrNCb2N5to__#1_label_B1-0-0_E0C0.mp4"}
    odd = {**HIVAU, "id": 3, "video": "mine/test/lobby.mp4"}
    source = write(tmp_path / "h.jsonl", [HIVAU, out, odd])
    found = convert(source)
    assert (found.left_out, found.doubtful) == (1, 1)
    lines = run(str(source), tmp_path / "o.jsonl", kind="", media=None, count=0, first=0)
    assert "warning: the paths of 1 rows say test" in "\n".join(lines)


def test_a_database_and_a_file_of_captions_are_read(tmp_path: Path) -> None:
    """R9: 50 times a bare KeyError; and refused as unknown."""
    facts = {
        "n_frames": 90, "fps": 30.0, "label": ["Abuse"], "events": [[1.0, 2.0]], "clips": [[[1.0, 1.5], [1.2, 2.0]]],
        "clips_caption": [["A man runs.", "A dog barks."]], "events_summary": ["An anomaly exists."], "video_summary": "A man is cruel.",
    }  # fmt: skip
    source = tmp_path / "d.json"
    source.write_text(json.dumps({"Abuse001_x264": facts}))
    found = convert(source)
    assert [(r.task, r.start, r.end, r.normal) for r in found.rows] == [
        ("caption", 1.0, 1.5, None), ("caption", 1.2, 2.0, None), ("judgement", 1.0, 2.0, False), ("judgement", None, None, False),
    ]  # fmt: skip
    source.write_text(json.dumps({"Abuse001_x264": {**facts, "events_summary": []}}))
    assert "events without a summary" in convert(source).faults[0]
    vau = {"Description": "d", "Reasoning": repr({"Key Evidence": "e"}), "Anomaly Class": "Abuse"}
    uca = {"timestamps": [[0, 1]], "sentences": ["x"]}
    source.write_text(json.dumps({"Abuse001_x264": {"uca": uca, "hivau": facts, "vaur1": vau}}))
    assert len(convert(source).rows) == 1 + 4 + 2


@pytest.mark.parametrize("mark", ["<image>", "<video>", "[INST]", "<|im_end|>", "</s>"])
def test_an_answer_with_marks_of_a_layout_is_listed(mark: str, tmp_path: Path) -> None:
    """R6: it failed in the forward pass, no row named."""
    found = convert(write(tmp_path / "h.jsonl", [HIVAU, {**HIVAU, "id": 9, "anwser": f"Yes, {mark} an anomaly."}]))
    assert "hivau-9" in found.faults[0]
    assert mark in found.faults[0]


def test_a_normal_clip_gets_a_loaded_question(tmp_path: Path) -> None:
    rows = [{**HIVAU, "prompt": "What is shown?"}]
    found = convert(write(tmp_path / "h.jsonl", rows))
    assert [r.loaded for r in found.rows] == [False, True]
    assert "no anomaly" in found.rows[1].answer


def test_uca_cuva_and_vau_bench(tmp_path: Path) -> None:
    uca = {
        "Abuse001_x264": {"duration": 9, "timestamps": [[1, 2.5]], "sentences": [" A dog walks. "]},
        "Abuse028_x264": {"timestamps": [[0, 1]], "sentences": ["x"]},
    }
    found = convert(write(tmp_path / "uca.json", [uca]))
    (row,) = found.rows
    assert (row.start, row.end, json.loads(row.answer), row.prompt) == (1.0, 2.5, {"text": "A dog walks."}, "caption")
    assert found.left_out == 1
    cuva = [
        {
            "instruction": "When?",
            "visual_input": "v.mp4",
            "output": "From 0125 to 0210 a fire.",
            "task": "Timestamp",
            "ID": 4,
        }
    ]
    (row,) = convert(write(tmp_path / "cuva.json", cuva)).rows
    assert row.answer == "From 85 s to 130 s a fire."
    reasoning = repr({"Key Evidence": "e", "Conclusion": "c"})
    (tmp_path / "v.csv").write_text(
        f'Video Name,Description,Reasoning,Anomaly Class,Start Time,End Time\nx.mp4,d,"{reasoning}",Normal,,\n'
    )
    found = convert(tmp_path / "v.csv")
    assert [(r.task, r.answer, r.normal) for r in found.rows] == [
        ("description", "d", True),
        ("analysis", "e c", True),
        ("loaded", "There appears to be no anomaly in this clip.", True),
    ]


@pytest.mark.parametrize("times", [("-1.0", "-1.0"), ("0.0", "0.0"), ("-1", "-1"), ("", "")])
def test_vau_rows_without_times_are_of_the_whole_clip(times: tuple[str, str], tmp_path: Path) -> None:
    """Half of the rows of ucf_captions.json were called faulty."""
    reasoning = repr({"Key Evidence": "e"})
    (tmp_path / "v.csv").write_text(
        f'Video Name,Description,Reasoning,Anomaly Class,Start Time,End Time\nx.mp4,d,"{reasoning}",Arson,{",".join(times)}\n'
    )
    found = convert(tmp_path / "v.csv")
    assert (len(found.rows), found.faults) == (2, [])
    assert all((r.start, r.end) == (None, None) for r in found.rows)


def test_test_videos_are_kept_for_who_asks_and_told(tmp_path: Path) -> None:
    source = write(tmp_path / "h.jsonl", [HIVAU, {**HIVAU, "id": 3, "video": "Abuse028_x264.mp4"}])
    assert len(convert(source, tests=True).rows) == 2
    lines = run(str(source), tmp_path / "o.jsonl", kind="", media=None, count=0, first=0, tests=True)
    assert "warning: 1 rows are of test videos" in "\n".join(lines)


def test_a_clip_is_found_beside_labels_of_its_name(tmp_path: Path) -> None:
    """The labels were taken for it."""
    media = tmp_path / "media"
    (media / "z").mkdir(parents=True)
    for name in ("a.npy", "a.mp4", "z/a.mp4"):
        (media / name).write_bytes(b"x")
    found = convert(write(tmp_path / "h.jsonl", [HIVAU]), "", media)
    assert [r.video for r in found.rows] == [str(media / "a.mp4")]


def test_llava_conversations_keep_their_turns(tmp_path: Path) -> None:
    (row,) = convert(write(tmp_path / "l.json", [LLAVA])).rows
    assert row.turns == [("What is it?", "A car.")]
    assert (row.values["question"], row.answer, row.images) == ("Which colour?", "Red.", ["a.jpg"])


@pytest.mark.parametrize(
    "change",
    [
        {"image": ["a.jpg", "b.jpg"]}, {"conversations": [{"from": "gpt", "value": "A"}]}, {"conversations": 3},
        {"conversations": [*LLAVA["conversations"], {"from": "human", "value": "?"}]},  # type: ignore[list-item]
    ],
)  # fmt: skip
def test_a_bad_row_costs_only_itself(tmp_path: Path, change: dict[str, Any]) -> None:
    found = convert(write(tmp_path / "l.json", [LLAVA, {**LLAVA, **change}, LLAVA]))
    assert len(found.rows) == 2
    assert len(found.faults) == 1
    assert found.faults[0].startswith("row 2")


def test_missing_media_are_named_and_none_is_read_outside(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "media" / "a.jpg")
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.jpg")
    rows = [LLAVA, {**LLAVA, "id": "y", "image": "gone.jpg"}, {**LLAVA, "id": "z", "image": "../secret.jpg"}]
    found = convert(write(tmp_path / "l.json", rows), media=tmp_path / "media")
    assert [r.images for r in found.rows] == [[str(tmp_path / "media" / "a.jpg")]]
    assert [f.split(": missing")[0] for f in found.faults] == ["row 2 (llava-y)", "row 3 (llava-z)"]


def test_reviewers_verdicts_become_answers(tmp_path: Path) -> None:
    rows = [
        {"video": "a.mp4", "start": 1, "end": 3, "label": "fighting", "verdict": "dismissed", "note": "children play"},
        {
            "video": "b.mp4",
            "start": 2,
            "end": 5,
            "label": "arson",
            "verdict": "confirmed",
            "text": "A bin burns.",
            "who": "a man",
        },
    ]
    found = convert(write(tmp_path / "v.jsonl", rows))
    answers = [json.loads(r.answer) for r in found.rows]
    assert [(a["verdict"], a["text"]) for a in answers] == [("normal", "children play"), ("anomaly", "A bin burns.")]
    assert [r.prompt for r in found.rows] == ["explain", "explain"]


def test_a_dict_as_text_is_read_and_never_run(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text(
        f"Video Name,Description,Reasoning,Anomaly Class\nx.mp4,d,\"open('{tmp_path}/ran', 'w')\",Riot\n"
    )
    with pytest.raises(InputError, match="no usable row"):
        run(str(tmp_path / "v.csv"), tmp_path / "o.jsonl", kind="", media=None, count=1, first=0)
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_the_simulated_world_asks_every_kind_of_question(tmp_path: Path) -> None:
    small = load_recipe().llava.model_copy(update={"size": 32, "frames": 1})
    rows = simulated(60, tmp_path / "frames", 1000, small)
    assert {r.task for r in rows} == {"explain", "verify", "caption", "chat", "summarise"}
    assert [fault_of(r) for r in rows] == [""] * 60
    normal = [r.normal for r in rows if r.normal is not None]
    assert np.mean([bool(n) for n in normal]) > 1 / 3
    assert any(r.loaded for r in rows)
    verdicts = {json.loads(r.answer)["verdict"] for r in rows if r.task == "verify"}
    assert verdicts == {"anomaly", "normal", "unclear"}
    again = simulated(3, tmp_path / "again", 1000, small)
    assert [r.answer for r in again] == [r.answer for r in rows[:3]]


def test_every_bad_row_of_a_file_is_listed(tmp_path: Path) -> None:
    good = Row(id="1", source="s", prompt="caption", values={"times": "1 s"}, answer='{"text": "x"}')
    rows = [
        good.model_dump(), {**good.model_dump(), "id": "2", "answer": "no json"}, {**good.model_dump(), "id": "3", "images": ["gone.jpg"]},
        {"id": "4"}, {**good.model_dump(), "id": "5", "prompt": "nope"}, {**good.model_dump(), "id": "6", "values": {}},
    ]  # fmt: skip
    with pytest.raises(InputError) as caught:
        read_rows(write(tmp_path / "r.jsonl", rows))
    told = str(caught.value)
    assert "5 bad rows" in told
    for number, why in ((2, "no JSON"), (3, "missing: gone.jpg"), (4, "line 4"), (5, "nope"), (6, "missing values")):
        assert f"line {number}" in told
        assert why in told
    assert read_rows(write(tmp_path / "r.jsonl", rows[:1])) == [good]
