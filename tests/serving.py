"""What tests of the server share: an application whose models answer at once, people who are signed in, and clips that are analysed."""

from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from sqlalchemy import update
from vlad.app.server import make_app

from vlad.config import make_settings
from vlad.errors import ModelError
from vlad.explainers.preview import Preview
from vlad.library import Library
from vlad.library.tables import Job
from vlad.prompting import Prompt, Templates
from vlad.types import Analysis, Explanation, ScoreTrack, Segment, Track, Video

PASSWORD = "correct horse battery"
SEGMENTS = (Segment(1.0, 3.0, 0.9, 2.0, "fighting"), Segment(6.0, 8.0, 0.7, 7.0, "<b>arson</b>"))


class Told:
    """Models that answer at once."""

    least = 0.0  # cosine from which words match

    def __init__(self, prompts: Path | None = None) -> None:
        self.templates = Templates(prompts)

    def words(self, words: str) -> Any:
        return np.eye(4, dtype=np.float32)[len(words) % 4], np.eye(4, dtype=np.float32)[1:] / 10

    def explain(self, library: Library, video: Any, row: Any, prompt: Prompt) -> Explanation:
        return Explanation(SEGMENTS[0], "normal", f"by {prompt.name}", prompt=prompt.id, probability=0.1)

    def chat(self, library: Library, video: Any, row: Any, question: str, turns: Any, on_piece: Any = None) -> str:
        if question == "break":
            raise ModelError("the model is away")
        if on_piece:
            on_piece("1 ")
        return f"{len(turns)} before {question}"

    def preview(self, library: Library, video: Any, row: Any, prompt: Prompt) -> Preview:
        return Preview(f"what {prompt.id} asks", ((1.5, np.zeros((4, 4, 3), np.uint8)),))


def client(library: Library, *, local: bool = True) -> TestClient:
    (library.folder / "prompts").mkdir(exist_ok=True)
    told: Any = Told(library.folder / "prompts")
    app = make_app(library, make_settings(), local=local, models=told)
    return TestClient(app, base_url="http://localhost", client=("127.0.0.1", 50000), raise_server_exceptions=True)


def upload(api: TestClient, data: bytes, name: str = "a.mp4") -> str:
    begun = api.post("/api/uploads", json={"name": name, "size": len(data), "camera": "door"}).json()
    for at in range(0, len(data), 1000):
        piece = api.put(f"/api/uploads/{begun['id']}?offset={at}", content=data[at : at + 1000])
        assert piece.json() == {"received": min(at + 1000, len(data))}
    done = api.post(f"/api/uploads/{begun['id']}/finish", json={})
    assert done.status_code == 201, done.text
    found: str = done.json()["id"]
    return found


def analysed(
    library: Library, video: str, segments: tuple[Segment, ...] = SEGMENTS, tracks: tuple[Track, ...] = ()
) -> list[str]:
    facts = Video("a", "0" * 64, 10.0, 15.0, 320, 240, "h264")
    track = ScoreTrack(np.linspace(0, 1, 10, dtype=np.float32), np.arange(11.0))
    said = tuple(Explanation(s, "anomaly", "<script>alert(1)</script>") for s in segments)
    return library.keep(
        video,
        Analysis(facts, track, segments, said, {"settings": {"enter": 0.5}}, tracks=tracks),
        np.eye(10, 4, dtype=np.float32),
        "e@1",
    )


class Person:
    """Somebody who is signed in, with a token of their own: no cookie is shared."""

    def __init__(self, app: TestClient, library: Library, name: str, role: str = "reviewer") -> None:
        self.app, self.name = app, name
        self.user = library.add_user(name, PASSWORD, role)
        scopes = ("read", "write", "admin")[: 3 if role == "admin" else 2]
        self.headers = {"Authorization": f"Bearer {library.open_key(self.user, 600, name='test', scopes=scopes)}"}

    def ask(self, method: str, path: str, body: Any = None, expect: int = 0, **query: Any) -> Any:
        """The answer's JSON; its status is `expect`, or else below 300."""
        found = self.app.request(method, f"/api{path}", headers=self.headers, json=body, params=query)
        assert found.status_code == expect or (not expect and found.status_code < 300), (
            found.status_code,
            found.text[:300],
        )
        return found.json()


def given(
    library: Library, person: Person, segments: tuple[Segment, ...] = SEGMENTS, name: str = "lobby.mp4"
) -> tuple[str, list[str]]:
    """A clip of 10 s that a person uploaded and that is analysed: its id, and its segments'."""
    begun = library.begin_upload(person.user, name, 4, "door")
    library.append(person.user, begun.id, 0, b"clip")
    video, job = library.finish_upload(person.user, begun.id)
    found = analysed(library, video.id, segments)
    with library.write() as session:
        session.execute(update(Job).where(Job.id == job.id).values(status="running", worker="worker"))
    library.finish(job.id, "worker")
    return video.id, found
