"""Three files of one analysis: round trip, schema, and nothing that runs."""

import csv
import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from vlad.errors import InputError, OutputError
from vlad.report import SCHEMA_PATH, clock, from_json, save, to_csv, to_html, to_json
from vlad.types import Analysis, Explanation, ScoreTrack, Segment, Video

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
    assert {row[k][0] for k in ("video", "label", "text", "what", "who")} == {"'"}
    assert float(row["start"]) == 7.0


def test_words_reach_the_page_as_text_only() -> None:
    page = to_html(analysis(EVIL, name=f"{EVIL}.mp4"), {9.5: np.zeros((8, 8, 3), np.uint8)})
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
