"""Whatever /api is asked, by its own schema and beside it: no answer is a 5xx."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from vlad.app.server import make_app

from vlad.config import make_settings
from vlad.library import Library
from vlad.live.alarms import Event
from vlad.types import Analysis, Explanation, ScoreTrack, Segment, Video

pytestmark = pytest.mark.slow
HOST = {"Host": "localhost"}


@pytest.fixture(scope="module")
def served(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The schema of a server with real models and an analysed clip and the ids there are."""
    library = Library(tmp_path_factory.mktemp("fuzz") / "library")
    user, data = library.local_user(), clip.read_bytes()
    upload = library.begin_upload(user, "clip.mp4", len(data))
    library.append(user, upload.id, 0, data)
    video, job = library.finish_upload(user, upload.id)
    library.claim("nobody")
    span = Segment(2.0, 5.0, 0.9, 3.0, "fighting")
    facts = Video("a", "0" * 64, 20.0, 15.0, 320, 240, "h264")
    track = ScoreTrack(np.full(10, 0.5, np.float32), np.linspace(0, 20, 11))
    said = Explanation(span, "anomaly", "This appears to show fighting.", {}, (3.0,))
    (segment,) = library.keep(video.id, Analysis(facts, track, (span,), (said,), {"settings": {"enter": 0.5}}))
    library.finish(job.id, "nobody")
    app = make_app(library, make_settings(), local=False)
    secret = library.open_key(
        library.add_user("root", "correct horse battery", "admin"), 3600, name="fuzz", scopes=["read", "write", "admin"]
    )
    HOST["Authorization"] = f"Bearer {secret}"
    root = library.users()[0]
    camera = library.save_camera(root, {"name": "door", "url": "rtsp://10.0.0.5/"})
    hook = {"kind": "webhook", "name": "desk", "address": "https://hooks.example/", "secret": "x" * 20}
    target = library.save_target(root, hook)
    alarm = library.record_alarm("door", Event("raised", 1.7e9, 1.7e9, 1.7e9 + 5, 0.9, "fighting"), picture=b"jpeg")
    known = {
        "camera_id": camera.id,
        "target_id": target.id,
        "alarm_id": alarm.id,
        "video_id": video.id,
        "segment_id": segment,
        "job_id": job.id,
        "name": "explain",
    }
    return schemathesis.openapi.from_asgi("/api/openapi.json", app, headers=HOST), known


def test_no_request_breaks_the_server(served: Any) -> None:
    asked = 0
    schema, known = served
    answered = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path == "/api/events":  # has no end; see test_live.py
            continue

        @given(case=operation.as_strategy())
        @settings(
            max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
        )
        def ask(case: Any) -> None:
            for name in known.keys() & (case.path_parameters or {}).keys():  # made-up ids would get no further than 404
                case.path_parameters[name] = known[name]
            for name in ("video_id", "camera_id", "target_id"):
                if case.path.endswith(f"{{{name}}}") and case.method == "DELETE":
                    case.path_parameters[name] = "0" * 32  # the only one stays for the others
            if isinstance(case.body, dict):
                given = {"segment": known["segment_id"], "segments": [known["segment_id"]]}
                case.body.update({k: v for k, v in given.items() if k in case.body})
            response = case.call(headers=HOST, timeout=300)  # a model answers while others work too
            case.validate_response(response, checks=[not_a_server_error])
            nonlocal answered
            answered += response.status_code < 300
            assert b"Traceback" not in response.content[:5000]

        ask()
        asked += 1
    assert asked > 45
    assert answered > 100  # else nothing behind the checks of ids was reached
