"""Cases to hand out, and verdicts for the fine-tuning: from real clips, checked as whoever gets them would."""

import csv
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vlad.app import casebook, evidence, verdicts
from vlad.app.evidence import Wanted

from vlad.config import make_settings
from vlad.errors import InputError, OutputError
from vlad.library import Library
from vlad.library.tables import SegmentRow, User
from vlad.types import NOT_SURE, Analysis, Explanation, ScoreTrack, Segment
from vlad.video import cut, frames_at, open_video

HOSTILE = "=cmd|'/c calc'!A1 <b>\u2026 \u4e2d\u6587"
SETTINGS = make_settings(cache=None)
SEGMENTS = (Segment(3.0, 5.0, 0.9, 4.0, "fighting"), Segment(9.5, 11.0, 0.7, 10.0, ""))


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


@pytest.fixture
def segments(library: Library, clip: Path) -> list[str]:
    """The first was confirmed, with a hostile note, tag and name of its clip."""
    user, data = library.local_user(), clip.read_bytes()
    upload = library.begin_upload(user, HOSTILE, len(data))
    library.append(user, upload.id, 0, data)
    video, _ = library.finish_upload(user, upload.id, recorded=1.7e9)
    with open_video(clip, SETTINGS, size=64) as opened:
        list(opened)
        facts = opened.video
    track = ScoreTrack(np.full(20, 0.3, np.float32), np.linspace(0, facts.duration, 21))
    said = tuple(
        Explanation(s, "anomaly", HOSTILE, {"who": "two people"}, (s.start, s.peak_time), "explain@1", "nano")
        for s in SEGMENTS
    )
    found = Analysis(facts, track, SEGMENTS, said, {"settings": {"enter": 0.5}})
    ids = library.keep(video.id, found, np.eye(20, 32, dtype=np.float32), "nano@1")
    library.decide(user, ids[0], "confirmed", HOSTILE)
    library.note(user, ids[0], HOSTILE)
    library.tag(user, ids[0], "=night")
    return ids


def case_of(
    library: Library, wanted: Wanted, user: User | None = None
) -> tuple[zipfile.ZipFile, list[tuple[int, int]]]:
    told: list[tuple[int, int]] = []
    row = evidence.make_case(library, SETTINGS, user or library.local_user(), wanted, lambda *at: told.append(at))
    return zipfile.ZipFile(library.case(row.id)), told


@pytest.mark.slow
def test_a_class_that_the_model_is_not_sure_of_goes_into_no_case(library: Library, segments: list[str]) -> None:
    """B3: the file's name, the table and the report said "explosion" of what Review called "not sure what"."""
    (span, _) = SEGMENTS
    doubt = Explanation(span, "unclear", "2 people; what happens is not clear to this model.", {}, notes=(NOT_SURE,))
    library.explain(segments[0], doubt, "model")
    case, _ = case_of(library, Wanted(segments[:1]))
    assert "clips/001 0m03.mp4" in case.namelist()
    (row,) = csv.DictReader(io.StringIO(case.read("segments.csv").decode()))
    assert (row["label"], row["label_by"]) == ("", "")
    (fact,) = json.loads(case.read("case.json"))["segments"]
    assert fact["label"] == ""

    def told() -> dict[str, Any]:
        row = library.segments_of(segments[:1])[segments[0]]
        return evidence._facts(library, row, row.video)

    user = library.local_user()
    library.change(user, segments[0], end=5.5, version=fact["version"])
    fact = told()
    assert "fighting" not in json.dumps(fact)  # nor as what the model's own span was called
    assert not any("fighting" in line for line in casebook.told({**fact, "clip_note": ""}))
    library.change(user, segments[0], label="fighting", version=fact["version"])
    fact = told()  # somebody agreed: it is a person's word now
    assert (fact["label"], fact["label_by"], fact["span"]["label"]) == ("fighting", "local", "fighting")
    library.change(user, segments[0], own=True, version=fact["version"])
    fact = told()
    assert (fact["label"], fact["end"], fact["span"]) == ("", SEGMENTS[0].end, None)
    library.change(user, segments[0], label="arson", version=fact["version"])
    case, _ = case_of(library, Wanted(segments[:1]))
    (row,) = csv.DictReader(io.StringIO(case.read("segments.csv").decode()))
    assert (row["label"], row["label_by"]) == ("arson", "local")
    assert "clips/001 arson 0m03.mp4" in case.namelist()


def test_a_case_holds_what_its_manifest_says(library: Library, segments: list[str], tmp_path: Path) -> None:
    case, told = case_of(library, Wanted(segments[:1], title=HOSTILE, margin=1.0, originals=True))
    assert told == [(0, 1), (1, 1)]
    names = set(case.namelist())
    lines = case.read("MANIFEST.sha256").decode().splitlines()
    listed = {line.split("  ", 1)[1]: line.split("  ", 1)[0] for line in lines}
    assert set(listed) == names - {"MANIFEST.sha256"}
    assert {"case.json", "segments.csv", "report.pdf", "clips/001 fighting 0m03.mp4"} < names
    for name, digest in listed.items():
        assert hashlib.sha256(case.read(name)).hexdigest() == digest
    path = tmp_path / "cut.mp4"
    path.write_bytes(case.read("clips/001 fighting 0m03.mp4"))
    with open_video(path, SETTINGS, size=64) as opened:
        list(opened)
        assert opened.video.duration == pytest.approx(4.0, abs=0.15)
    facts = json.loads(case.read("case.json"))
    (found,) = facts["segments"]
    assert (found["name"], found["decided_by"], found["notes"][0]["text"], found["tags"]) == (
        HOSTILE,
        "local",
        HOSTILE,
        ["=night"],
    )
    (row,) = csv.DictReader(io.StringIO(case.read("segments.csv").decode()))
    assert row["video"].startswith("'=")  # a spreadsheet runs nothing
    assert case.read("report.pdf").startswith(b"%PDF-")
    assert b"/JavaScript" not in case.read("report.pdf")
    assert len(case.read("report.pdf")) > 10_000  # with frames in it
    assert not list((library.folder / "exports").glob("*.part"))


@pytest.mark.slow
def test_only_what_was_confirmed_unless_asked(library: Library, segments: list[str]) -> None:
    with pytest.raises(InputError, match="1 of 2 segments are not confirmed"):
        case_of(library, Wanted(segments))
    case, _ = case_of(library, Wanted(segments, undecided=True))
    assert {"clips/001 fighting 0m03.mp4", "clips/002 0m09.mp4"} < set(case.namelist())
    rows, _ = library.segments()
    assert all(row.exported is not None for row in rows)
    (made,) = library.exports()
    assert (made.segments, made.user.name) == (segments, "local")
    with pytest.raises(InputError, match="1 to 200"):
        case_of(library, Wanted([]))
    with pytest.raises(InputError, match="no such id"):
        case_of(library, Wanted(["0" * 32]))


def test_a_clip_that_is_gone_leaves_no_half_case(library: Library, segments: list[str]) -> None:
    rows, _ = library.segments()
    library.clip(rows[0].video_id).unlink()
    case, _ = case_of(library, Wanted(segments[:1]))
    facts = json.loads(case.read("case.json"))
    assert "no such file" in facts["segments"][0]["clip_note"]
    assert str(library.folder) not in case.read("case.json").decode()
    with pytest.raises(OutputError, match="a clip of it not read"):
        case_of(library, Wanted(segments[:1], originals=True))
    library.clip(rows[0].video_id).write_bytes(b"another file")
    with pytest.raises(InputError, match="it is no evidence"):
        case_of(library, Wanted(segments[:1], originals=True))
    assert not list((library.folder / "exports").glob("*.part"))
    assert len(library.exports()) == 1


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0.1333333333333333, 4.0),
        *(pytest.param(*span, marks=pytest.mark.slow) for span in ((0.0, 2.0), (3.33, 5.0), (9.1, 12.2), (19.5, 25.0))),
    ],
)
def test_a_part_shows_what_the_whole_showed_then(clip: Path, tmp_path: Path, start: float, end: float) -> None:
    part = tmp_path / "part.mp4"
    part.write_bytes(cut(clip, start, end, SETTINGS))
    with open_video(part, SETTINGS, size=64) as opened:
        list(opened)
        assert opened.video.duration == pytest.approx(min(end, 20.0) - start, abs=0.15)
        assert (opened.video.width, opened.video.height, opened.video.codec) == (320, 240, "h264")
    wanted, seen = (
        frames_at(clip, [start, start + 0.4], SETTINGS, size=200),
        frames_at(part, [0.0, 0.4], SETTINGS, size=200),
    )
    others = frames_at(clip, [start + 1.5 if start < 15 else start - 3], SETTINGS, size=200)
    for a, b in zip(wanted, seen, strict=True):
        assert np.abs(a.astype(int) - b).mean() < 3
        assert np.abs(a.astype(int) - b).mean() < np.abs(others[0].astype(int) - b).mean()


def test_a_span_that_is_none(clip: Path) -> None:
    for start, end in ((5.0, 5.0), (-1.0, 2.0), (0.0, 4000.0), (float("nan"), 1.0)):
        with pytest.raises(InputError, match="expected a span"):
            cut(clip, start, end, SETTINGS)


def test_verdicts_become_clips_and_rows_that_the_fine_tuning_reads(
    library: Library, segments: list[str], tmp_path: Path
) -> None:
    from vlad.finetune.instruct import run

    library.decide(library.local_user(), segments[1], "dismissed", "a rehearsal")
    lines = verdicts.export(library, SETTINGS, tmp_path / "out")
    assert lines[0] == "1 confirmed, 1 dismissed"
    assert library.audit_rows(count=1)[0].action == "verdicts exported"  # F14: clips left, and nobody was told
    assert sorted(p.parent.name for p in (tmp_path / "out").glob("*/*.mp4")) == ["anomalous", "normal"]
    rows = [json.loads(line) for line in (tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()]
    assert [(r["verdict"], r["note"]) for r in rows] == [
        ("confirmed", f"{HOSTILE} {HOSTILE}"),
        ("dismissed", "a rehearsal"),
    ]
    told = run(
        str(tmp_path / "out" / "verdicts.jsonl"),
        tmp_path / "rows.jsonl",
        kind="",
        media=tmp_path / "out",
        count=1,
        first=0,
    )
    assert "2" in " ".join(told)
    made = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(made) == 2


def test_a_confirmation_is_a_click_for_the_fine_tuning(library: Library, segments: list[str], tmp_path: Path) -> None:
    from vlad.finetune.data import find_features, read_clicks

    (row, *_) = library.segments()[0]
    fps = row.video.facts["fps"] if row.video.facts else 0
    library.mark(library.local_user(), row.video_id, 6.0, 8.0, "brawl")
    lines = verdicts.export_clicks(library, tmp_path / "out")
    clicks = read_clicks(tmp_path / "out" / "clicks.csv")
    confirmed = next(s for s in library.segments()[0] if s.id == segments[0])
    assert sorted(clicks[row.video_id]) == sorted([round(7.0 * fps), round(confirmed.peak_time * fps)])
    assert lines[0] == "2 clicks in 1 anomalous clips; 0 normal ones"
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features" / f"{row.video_id}.npy", np.zeros((20, 4), np.float32))
    (found,) = find_features(
        tmp_path / "out" / "videos.csv", root=tmp_path / "features"
    )  # the list of clips names their features
    assert found.name == row.video_id
    assert found.classes


def test_a_clip_is_normal_once_all_that_was_flagged_in_it_is_dismissed(
    library: Library, segments: list[str], tmp_path: Path
) -> None:
    user = library.local_user()
    library.decide(user, segments[0], "dismissed", "a rehearsal")
    with pytest.raises(InputError, match="no clip here is decided"):
        verdicts.export_clicks(library, tmp_path / "out")
    for other in segments[1:]:
        library.decide(user, other, "dismissed", "a rehearsal")
    assert verdicts.export_clicks(library, tmp_path / "out")[0] == "0 clicks in 0 anomalous clips; 1 normal ones"


def test_what_was_missed_and_what_was_called_wrong_reach_the_fine_tuning(
    library: Library, segments: list[str], tmp_path: Path
) -> None:
    """B4, H9: exports knew neither of what the model missed nor of what it said wrongly."""
    from vlad.finetune.instruct import run

    user = library.local_user()
    (row, *_) = library.segments()[0]
    own = library.mark(user, row.video_id, 6.0, 8.0, "brawl")
    library.call_wrong(user, segments[0])
    library.call_wrong(user, segments[1], "two people dance")
    lines = verdicts.export(library, SETTINGS, tmp_path / "out")
    assert lines[0] == "2 confirmed, 0 dismissed, 1 of them missed by the model; 1 explanations corrected"
    rows = [json.loads(line) for line in (tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()]
    by_name = {Path(r["video"]).stem: r for r in rows}
    assert (by_name[own]["missed"], by_name[own]["label"], by_name[own]["end"]) == (True, "brawl", 2.0)
    assert (by_name[segments[0]]["text"], by_name[segments[0]]["who"]) == ("", "")  # its words were wrong
    assert by_name[segments[1]]["right"] == "two people dance"
    assert (tmp_path / "out" / by_name[segments[1]]["video"]).is_file()
    run(
        str(tmp_path / "out" / "verdicts.jsonl"),
        tmp_path / "rows.jsonl",
        kind="",
        media=tmp_path / "out",
        count=1,
        first=0,
    )
    made = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert json.loads(next(r for r in made if r["task"] == "caption")["answer"]) == {"text": "two people dance"}


@pytest.mark.slow
def test_a_case_names_its_clips_and_holds_no_word_that_nobody_stands_by(library: Library, segments: list[str]) -> None:
    """B3, H13."""
    user = library.local_user()
    video = library.segments()[0][0].video_id
    library.edit(user, video, {"zone": "+01:00"})
    library.adopt(user, segments[0], "Two people fight.")
    with library.write() as session:
        row = session.get(SegmentRow, segments[0])
        assert row is not None
        row.start = 3.0000000000000004
        row.label = "../=riot\u202e"
    case, _ = case_of(library, Wanted(segments, title="x", undecided=True))
    assert {"clips/001 riot 0m03.mp4", "clips/002 0m09.mp4"} < set(case.namelist())
    one, two = csv.DictReader(io.StringIO(case.read("segments.csv").decode()))
    assert (one["start"], one["starts_at"]) == ("3.0", "2023-11-14T23:13:23+01:00")
    assert (one["said"], one["said_by"]) == ("Two people fight.", "edited by local")
    assert one["decided_at"].endswith("+01:00")
    assert (two["said"], two["said_by"], two["decided_at"]) == ("", "", "")
    told = json.loads(case.read("case.json"))["segments"]
    assert all("explanation" not in s and "reading" not in s for s in told)
