"""Libraries that are there already: an older one is brought up to date, and one that cannot be opened says why."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from vlad.errors import InputError
from vlad.library import Library, database


def migrations() -> Config:
    """Alembic's settings for a library; a connection is still to be given."""
    config = Config()
    config.set_main_option("script_location", str(files("vlad.library") / "migrations"))
    return config


def test_a_library_of_before_keeps_all_that_was_said(tmp_path: Path) -> None:
    """What an earlier vlad wrote is brought up to date: its explanations begin the history, times so far were typed."""
    folder = tmp_path / "library"
    folder.mkdir()
    engine = database._open(f"sqlite:///{folder / 'library.sqlite'}")
    config = migrations()
    said = json.dumps(
        {"verdict": "anomaly", "text": "A fight.", "fields": {"what": "fighting: two people"}, "raw": "{}"}
    )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for line in (
            "INSERT INTO users VALUES ('u', 'ann', 'admin', 'x', 1.0, NULL)",
            "INSERT INTO videos VALUES ('v', 'u', 'a.mp4', 'door', 4, '', 10.0, NULL, 5.0, 1.0, NULL)",
            f"INSERT INTO segments VALUES ('s', 'v', 1.0, 3.0, 0.9, 2.0, 'fighting', 'confirmed', '{said}', NULL, NULL)",
            "INSERT INTO verdicts VALUES ('d', 's', 'u', 'confirmed', '', 1.0, NULL)",
            "INSERT INTO exports VALUES ('e', 'u', '[\"s\"]', '{}', 1.0)",
        ):
            connection.exec_driver_sql(line)
    engine.dispose()
    library = Library(folder)
    (row,) = library.segments(words="two people")[0]
    assert (row.version, row.origin, row.said) == (1, "model", "This appears to show fighting: two people.")
    assert [e.said["text"] for e in library.explanations("s")] == ["A fight."]
    assert library.listed(["v"])["v"].video.recorded_by == "typed"
    assert [(e.status, e.title) for e in library.exports()] == [("done", "")]
    user = library.users()[0]
    assert library.decide(user, "s", "confirmed")[1] is False
    assert library.undo(user).said == "confirmed, 0:01 of a.mp4"
    with library.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        assert connection.exec_driver_sql("SELECT status FROM segments").scalar() == "open"
    library.engine.dispose()


def test_a_library_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / "library.sqlite").write_text("no database" * 100)
    with pytest.raises(InputError, match="cannot be opened"):
        Library(tmp_path)
    with pytest.raises(InputError, match="cannot be opened"):
        Library("postgresql+psycopg://nobody@/none?host=/nowhere", tmp_path / "x")
    with pytest.raises(InputError, match="needs a folder"):
        Library("sqlite:///x.sqlite")


def test_a_library_of_a_newer_vlad_says_so(tmp_path: Path) -> None:
    """F17: it was a traceback of forty lines; so was a path that is a file."""
    library = Library(tmp_path / "library")
    with library.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    library.engine.dispose()
    with pytest.raises(InputError, match="made by a newer vlad"):
        Library(tmp_path / "library")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        Library(tmp_path / "file")


def test_whose_class_a_segment_has_is_told_by_its_history(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    engine = database._open(f"sqlite:///{folder / 'library.sqlite'}")
    config = migrations()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.exec_driver_sql("INSERT INTO users VALUES ('u', 'ann', 'admin', 'x', 1.0, NULL)")
        connection.exec_driver_sql(
            "INSERT INTO videos VALUES ('v', 'u', 'a.mp4', '', 4, '', 10.0, NULL, 5.0, 1.0, NULL)"
        )
        command.upgrade(config, "0008")
        rows = [  # label, origin, author, the model's own span and class
            ("models", "fighting", "model", "", None, None), ("moved", "fighting", "model", "", 1.0, "fighting"),
            ("other", "riot", "model", "", 1.0, "fighting"), ("own", "arson", "person", "ann", None, None),
        ]  # fmt: skip
        for name, label, origin, author, start, models in rows:
            connection.exec_driver_sql(
                "INSERT INTO segments (id, video_id, start, end, peak, peak_time, label, status, origin, author, model_start, model_end, model_label)"
                " VALUES (?, 'v', 1.0, 3.0, .9, 2.0, ?, 'open', ?, ?, ?, ?, ?)",
                (name, label, origin, author, start, start and 3.0, models),
            )
        spans = [("other", "", "fighting"), ("other", "ann", "riot"), ("other", "bob", "riot"), ("own", "ann", "")]
        for i, (segment, by, label) in enumerate([*spans, ("own", "bob", "arson")]):
            connection.exec_driver_sql(
                'INSERT INTO spans (id, segment_id, "by", start, "end", label, version, created) VALUES (?, ?, ?, 1.0, 3.0, ?, ?, 1.0)',
                (str(i), segment, by, label, i),
            )
        command.upgrade(config, "head")
        whose = connection.exec_driver_sql("SELECT id, label_by FROM segments ORDER BY id").all()
    assert [tuple(w) for w in whose] == [("models", ""), ("moved", ""), ("other", "ann"), ("own", "bob")]
    engine.dispose()


def test_work_of_before_was_analysis_and_nobody_sees_originals(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    engine = database._open(f"sqlite:///{folder / 'library.sqlite'}")
    config = migrations()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0010")
        connection.exec_driver_sql("INSERT INTO users VALUES ('u', 'ann', 'admin', 'x', 1.0, NULL)")
        connection.exec_driver_sql("INSERT INTO options VALUES ('enter', 0.7)")
        connection.exec_driver_sql(
            "INSERT INTO videos (id, user_id, name, camera, size, sha256, created) VALUES ('v', 'u', 'a.mp4', 'door', 4, '', 1.0)"
        )
        connection.exec_driver_sql(
            "INSERT INTO jobs (id, video_id, status, stage, done, error, attempts, worker, settings, created) VALUES ('j', 'v', 'done', '', 0, '', 0, '', '{}', 1.0)"
        )
    engine.dispose()
    library = Library(folder)
    (user,) = library.users()
    assert user.originals is False
    assert library.options() == {"enter": 0.7}
    assert library.privacy().on is False
    listed = library.listed(["v"])["v"]
    assert listed.job is not None
    assert listed.job.kind == "analysis"
    assert library.rules("door") is None
    library.set_privacy(user, "faces", "blur")
    assert (library.privacy().what, library.privacy().how) == ("faces", "blur")
    with library.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0010")
        assert connection.exec_driver_sql("SELECT status FROM jobs").scalars().all() == ["done"]
    library.engine.dispose()
