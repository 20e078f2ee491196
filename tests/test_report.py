"""Three files of one analysis: round trip, schema, and nothing that runs."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from vlad.errors import InputError, OutputError
from vlad.report import SCHEMA_PATH, clock, from_json, save, to_csv, to_html, to_json
from vlad.types import NOT_SURE, Analysis, Explanation, ScoreTrack, Segment, Summary, Video

EVIL = "<img src=x onerror=alert(1)>{{7*7}}${7*7}</script><script>alert(2)</script>"


def analysis(text: str = "A fight, it appears.", *, name: str = "lobby.mp4") -> Analysis:
    scores = np.linspace(0, 1, 10, dtype=np.float32)
    classes = np.full((10, 2), 0.5, np.float32)
    track = ScoreTrack(scores, np.arange(11.0), (text[:20], "arson"), classes)
    segment = Segment(7.0, 10.0, 1.0, 9.5, text)
    said = Explanation(segment, "anomaly", text, {"what": text, "who": "=1+1"}, (7.5, 9.5), "explain@abc123", "m", text)
    video = Video(name, "ab" * 32, 10.0, 15.0, 320, 240, "h264", ((1.0, 2.0),))
    return Analysis(video, track, (segment,), (said,), {"settings": {"enter": 0.5}, "warnings": [text]})


def test_json_comes_back_and_keeps_its_schema() -> None:
    text = to_json(analysis())
    jsonschema.validate(json.loads(text), json.loads(SCHEMA_PATH.read_text()))
    assert to_json(from_json(text)) == text


@pytest.mark.parametrize(
    "change", [{"video": None}, {"segments": [{"start": 3, "end": 1}]}, {"track": {"scores": [2.0]}}, {"made_by": 1}]
)
def test_json_that_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="vlad analyze"):
        from_json(json.dumps({**json.loads(to_json(analysis())), **change}))


def test_json_that_is_none_is_refused() -> None:
    for text in ("", "[]", "{"):
        with pytest.raises(InputError, match="vlad analyze"):
            from_json(text)


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@x", "\tx"])
def test_a_spreadsheet_runs_nothing(text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(to_csv(analysis(text, name=text))))
    assert row["video"][0] == row["label"][0] == "'"
    assert not {row[k][0] for k in ("video", "label", "text", "what", "who")} & set("=+-@\t")
    assert float(row["start"]) == 7.0


def test_a_table_names_no_class_that_the_model_is_not_sure_of() -> None:
    found = analysis("a fight")
    sure = replace(
        found.explanations[0], text="Two people fight.", fields={"what": "two people fight"}, verdict="anomaly"
    )
    doubt = replace(
        sure, text="2 people; what happens is not clear to this model.", fields={}, verdict="unclear", notes=(NOT_SURE,)
    )
    told = []
    for said in (sure, doubt):
        (row,) = csv.DictReader(io.StringIO(to_csv(replace(found, explanations=(said,)))))
        told.append((row["label"] != "", row["sure"], row["verdict"], row["probability"] != ""))
    assert told == [(True, "yes", "anomaly", sure.probability is not None), (False, "no", "unclear", False)]


def test_words_reach_the_page_as_text_only() -> None:
    page = to_html(analysis(EVIL, name=f"{EVIL}.mp4"), {9.5: np.zeros((8, 8, 3), np.uint8)}, adopted=EVIL)
    assert "<img src=x" not in page
    assert "<script>alert" not in page
    assert "49" not in page.replace("490", "")
    assert "data:image/jpeg" in page


def test_the_page_asks_no_network() -> None:
    page = to_html(analysis(), {}, source="lobby.mp4")
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page
    assert "//" not in page.split("<style")[0]


def test_another_clip_of_the_same_name_overwrites_nothing(tmp_path: Path) -> None:
    first = analysis()
    save(first, tmp_path)
    save(first, tmp_path)
    other = Analysis(Video("lobby.mp4", "cd" * 32, 10.0, 15.0, 320, 240, "h264"), first.track, ())
    save(other, tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*.json")) == ["lobby-cdcdcdcd.json", "lobby.json"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="name another folder with -o"):
        save(analysis(), tmp_path / "file")


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vlad.report.os.replace", full)
    with pytest.raises(OutputError, match="No space left"):
        save(analysis(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_clock() -> None:
    assert [clock(x) for x in (0, 65.24, 59.96, 7384.0)] == ["0:00.0", "1:05.2", "1:00.0", "2:03:04.0"]


def test_the_page_says_that_a_person_decides_and_no_certainty() -> None:
    """Polish: it said "100 % for anomaly", and nothing of who decides."""
    made = analysis("Two people fight.")
    said = Explanation(made.segments[0], "anomaly", "Two people fight.", {}, (7.5,), "explain@1", "m", "", 1.0)
    page = to_html(Analysis(made.video, made.track, made.segments, (said,)), {}, adopted="ann")
    assert "A person decides." in page
    assert "very likely an anomaly, by its own words" in page
    assert " %" not in page.split("<script>")[0].split("</style>")[1]
    assert page.count("<main>") == page.count("</main>") == 1


def test_the_page_shows_no_words_that_contradict_one_another() -> None:
    """B3, where others read it."""
    made = analysis("fighting")
    fields = {"what": "road accident: a car hits a pole"}
    said = Explanation(made.segments[0], "anomaly", "This appears to show robbery.", fields)
    page = to_html(Analysis(made.video, made.track, made.segments, (said,)), {}, adopted="ann")
    assert "The model is not sure what happens here." in page
    assert "robbery" not in page
    assert "pole" not in page


def test_a_model_speaks_in_the_page_only_through_a_person_who_stands_by_it(tmp_path: Path) -> None:
    """B3: whoever gets a report takes its sentences for somebody's."""
    made = analysis("fighting")
    told = Explanation(made.segments[0], "anomaly", "Two fight.", {"what": "fighting: two men", "who": "two in red"})
    whole = Analysis(made.video, made.track, made.segments, (told,), {}, Summary("Two men fight.", "summarise@1", "m"))
    silent = save(whole, tmp_path)[2].read_text()
    for words in ("two men", "two in red", "Two men fight", "appears to show", "model: anomaly"):
        assert words not in silent
    assert "nobody stands by it" in silent
    adopted = save(whole, tmp_path, adopted="Ann <b>")[2].read_text()
    assert "appears to show fighting: two men (two in red)" in adopted
    assert adopted.count("adopted by Ann &lt;b&gt;") == 2
    assert "nobody stands by it" not in adopted


def test_a_page_that_was_mailed_still_plays_the_clip_that_is_chosen() -> None:
    page = to_html(analysis(), {})
    assert 'type="file"' in page
    assert "blob:" in page.split("Content-Security-Policy")[1][:300]
