"""Signing in: guesses are slowed down and lock nobody out, cookies over https, names that look alike, the last admin, and what the log has of it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from postgres import either
from serving import PASSWORD, Person, client
from vlad.app.auth import COOKIE, DEVICE

from vlad.errors import ConflictError, InputError
from vlad.library import Library, guesses, people
from vlad.library.guesses import SPRAY, TRIES
from vlad.library.names import look, mixed, same
from vlad.library.tables import Guess, User


@pytest.fixture
def library(tmp_path: Path) -> Library:
    library = Library(tmp_path / "library")
    library.add_user("admin", PASSWORD, "admin")
    return library


@pytest.fixture
def app(library: Library) -> TestClient:
    return client(library, local=False)


def at(app: TestClient, address: str, url: str = "http://localhost") -> TestClient:
    return TestClient(app.app, base_url=url, client=(address, 50000))


def sign_in(app: TestClient, address: str, password: str, name: str = "admin") -> int:
    return at(app, address).post("/api/login", json={"name": name, "password": password}).status_code


def test_f13_nobody_is_locked_out_by_somebody_elses_guesses(app: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five wrong tries a minute for `admin` kept the right password out for ever."""
    monkeypatch.setattr(guesses, "FIRST", 30.0)  # of a machine that is busy
    assert [sign_in(app, "203.0.113.9", "wrong wrong") for _ in range(TRIES + 3)] == [401] * TRIES + [429] * 3
    assert sign_in(app, "198.51.100.7", PASSWORD) == 200  # from elsewhere
    assert sign_in(app, "203.0.113.9", PASSWORD) == 429  # from there it has to wait
    assert sign_in(app, "203.0.113.9", "x", "somebody else") == 401


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Library]:
    yield from either(request, tmp_path / "kept")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock says, to be changed."""
    at = [1e9]
    monkeypatch.setattr(guesses, "time", SimpleNamespace(time=lambda: at[0]))
    return at


def test_guesses_of_somebody_behind_the_same_address_hold_up_no_browser_that_is_known(
    app: TestClient, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An office has one address: whoever guessed on and on in it kept the admin out."""
    monkeypatch.setattr(guesses, "FIRST", 30.0)
    body = {"name": "admin", "password": PASSWORD}
    own = at(app, "192.0.2.1")
    assert own.post("/api/login", json=body).status_code == 200
    mark = own.cookies[DEVICE]
    assert [sign_in(app, "192.0.2.1", "wrong wrong") for _ in range(TRIES + 1)] == [401] * TRIES + [429]
    own.post("/api/logout")
    assert own.post("/api/login", json=body).status_code == 200
    wrong = {"name": "admin", "password": "x"}

    def with_mark(value: str, name: str = "admin") -> list[int]:
        return [
            at(app, "192.0.2.1")
            .post("/api/login", json={**wrong, "name": name}, headers={"Cookie": f"{DEVICE}={value}"})
            .status_code
            for _ in range(TRIES + 1)
        ]

    nonce, proof = mark.split(".")
    for forged in (f"{nonce}.{'0' * 64}", f"{'0' * 32}.{proof}", "", "."):
        assert with_mark(forged)[0] == 429, forged  # counts as anybody's there
    assert with_mark(mark) == [401] * TRIES + [429]  # and a stolen one is slowed down as well
    library.add_user("ann", PASSWORD)
    assert library.device_of("admin", "\u00e4.\u00f6") == ""
    assert library.device_of("ann", mark) == library.device_of("nobody", mark) == ""
    library.change_password(library.users()[0], PASSWORD, "another passphrase")
    assert library.device_of("admin", mark) == ""


def test_each_further_guess_waits_longer_up_to_a_minute(kept: Library, now: list[float]) -> None:
    def wait() -> float:
        return kept.begin_guess("Ann", "192.0.2.1", known=False)

    waits = []
    for _ in range(12):
        seconds = wait()
        waits.append(seconds)
        now[0] += seconds
        if seconds:
            assert wait() == 0
    assert waits[:5] == [0] * 5
    assert waits[5:] == [1, 2, 4, 8, 16, 32, 60]
    kept.right_guess("ann", "192.0.2.1")
    assert wait() == 0


def test_guesses_are_counted_for_all_servers_of_a_library(kept: Library, now: list[float], tmp_path: Path) -> None:
    """Each server that started, or started again, gave five more tries."""
    url = kept.engine.url.render_as_string(hide_password=False)
    servers = [kept, Library(url, kept.folder), Library(url, kept.folder)]
    try:
        waits = [servers[i % 3].begin_guess("ann", "192.0.2.1", known=True) for i in range(TRIES + 3)]
        assert waits == [0.0] * TRIES + [1.0] * 3
        assert servers[1].begin_guess("ann", "192.0.2.2", known=False) == 0
        now[0] += 1
        servers[2].right_guess("ann", "192.0.2.1")
        assert servers[1].begin_guess("ann", "192.0.2.1", known=True) == 0
    finally:
        for other in servers[1:]:
            other.engine.dispose()


def test_a_clock_that_was_put_back_holds_nobody_up(kept: Library, now: list[float]) -> None:
    for _ in range(TRIES):
        kept.begin_guess("ann", "192.0.2.1", known=True)
    now[0] -= 400 * 86_400
    assert kept.begin_guess("ann", "192.0.2.1", known=True) == 0
    now[0] += 800 * 86_400
    assert kept.begin_guess("bob", "192.0.2.1", known=True) == 0
    with kept.read() as session:
        assert session.query(Guess).count() == 2  # what is forgotten is removed


def test_a_name_that_was_typed_is_not_kept(kept: Library) -> None:
    """It may be a password."""
    kept.begin_guess("my secret passphrase", "192.0.2.1", known=False)
    with kept.read() as session:
        assert "passphrase" not in str([vars(g) for g in session.query(Guess)])


def test_a_try_at_which_nobody_looked_does_not_count(
    app: TestClient, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "PATIENCE", 0.01)
    with people._HASHING, people._HASHING:
        codes = [sign_in(app, "192.0.2.1", "x") for _ in range(TRIES + 2)]
    assert codes == [503] * (TRIES + 2)
    assert sign_in(app, "192.0.2.1", PASSWORD) == 200


def test_many_names_from_one_address_are_slowed_down_but_not_who_signed_in_there(
    app: TestClient, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guesses, "FIRST", 30.0)
    monkeypatch.setattr(guesses, "SPRAY", 6)
    assert SPRAY > TRIES
    assert sign_in(app, "192.0.2.1", PASSWORD) == 200
    codes = [sign_in(app, "192.0.2.1", "wrong", f"name {i}") for i in range(8)]
    assert codes == [401] * 6 + [429] * 2
    assert sign_in(app, "192.0.2.1", PASSWORD) == 200
    assert library.signed_in_from("admin", "192.0.2.1")
    assert not library.signed_in_from("admin", "192.0.2.2")


def test_a_household_of_ipv6_is_one_address(library: Library) -> None:
    for i in range(TRIES):
        assert library.begin_guess("ann", f"2001:db8::{i:x}", known=True) == 0
    assert library.begin_guess("ann", "2001:db8::ffff", known=True) > 0
    assert library.begin_guess("ann", "2001:db8:0:1::1", known=True) == 0


def test_many_at_once_are_many_tries(kept: Library, now: list[float]) -> None:
    waits: list[float] = []
    threads = [
        threading.Thread(target=lambda: waits.append(kept.begin_guess("ann", "192.0.2.1", known=True)))
        for _ in range(20)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(waits) == [0.0] * TRIES + [1.0] * (20 - TRIES)


@pytest.mark.slow
def test_what_is_remembered_has_an_end(kept: Library, now: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names and addresses somebody has; and one address alone soon has to wait, which adds nothing."""
    monkeypatch.setattr(guesses, "KEPT", 100)
    for i in range(400):
        now[0] += 0.001
        kept.begin_guess(f"name {i}", f"192.0.{i // 200}.{i % 200}", known=False)
    for i in range(400):
        kept.begin_guess(f"other {i}", "198.51.100.1", known=False)
    with kept.read() as session:
        assert session.query(Guess).count() <= 104
    assert kept.begin_guess("name 399", "198.51.100.1", known=False) > 0  # the newest are remembered


def test_over_https_the_cookie_is_this_hosts_alone(app: TestClient) -> None:
    plain, https = at(app, "192.0.2.1"), at(app, "192.0.2.1", "https://cctv.example")
    body = {"name": "admin", "password": PASSWORD}
    assert plain.post("/api/login", json=body).headers["set-cookie"].startswith(f"{COOKIE}=")
    said = https.post("/api/login", json=body).headers["set-cookie"]
    assert said.startswith("__Host-vlad_session=")
    assert all(part in said for part in ("; Path=/;", "; Secure", "HttpOnly", "SameSite=lax"))
    assert "Domain" not in said
    assert https.get("/api/me").status_code == 200
    secret = https.cookies[f"__Host-{COOKIE}"]
    tossed = {"Cookie": f"{COOKIE}={secret}"}  # as another port of this host could set it
    assert at(app, "192.0.2.1", "https://cctv.example").get("/api/me", headers=tossed).status_code == 401
    assert https.post("/api/logout").status_code == 200
    assert https.get("/api/me").status_code == 401


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": "https://cctv.example"}, 200), ({"Origin": "http://cctv.example"}, 403), ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Sec-Fetch-Site": "same-origin"}, 200), ({"Origin": "null"}, 403), ({}, 200),
    ],
)  # fmt: skip
def test_f25_writes_come_from_this_page_only(app: TestClient, headers: dict[str, str], expected: int) -> None:
    https = at(app, "192.0.2.1", "https://cctv.example")
    assert https.post("/api/login", json={"name": "admin", "password": PASSWORD}).status_code == 200
    assert https.post("/api/undo", json={}, headers=headers).status_code == expected


@pytest.mark.parametrize(
    "twin", ["Admin", "ADMIN", "\u0430dmin", "adm\u0131n", "\uff41dmin", "adrnin", "admin\u200b", " admin "]
)
def test_f28_no_name_looks_like_another(library: Library, twin: str) -> None:
    with pytest.raises(InputError):
        library.add_user(twin, PASSWORD)
    assert [u.name for u in library.users()] == ["admin"]


@pytest.mark.parametrize(
    "name",
    [
        "Zo\u00eb",
        "\u4e2d\u6751 \u3055\u304f\u3089",
        "\u0416\u0430\u043d\u043d\u0430",
        "Ann-Marie 2",
        "O'Neill",
        "\u05d3\u05e0\u05d4",
    ],
)
def test_names_of_every_script_are_names(library: Library, name: str) -> None:
    assert library.add_user(name, PASSWORD).name == name
    assert library.sign_in(name, PASSWORD) is not None
    with pytest.raises(ConflictError):
        library.add_user(name, PASSWORD)


def test_what_names_share() -> None:
    assert same("ANN") == same("ann") == same("\uff21nn")
    assert look("\u0441\u043e\u0440\u0430") == look("copa")
    assert look("paypa1") == look("paypal") == look("paypaI")
    assert mixed("p\u0430ul")
    assert not mixed("Paul 2")
    assert not mixed("\u4e2d\u6751\u3055\u304f\u3089")


def test_signing_in_takes_the_name_in_any_case_and_the_log_has_it_as_it_is(app: TestClient, library: Library) -> None:
    assert sign_in(app, "192.0.2.1", PASSWORD, "ADMIN") == 200
    row = library.audit_rows(count=1)[0]
    assert (row.user, row.action, row.detail) == ("admin", "signed in", {"address": "192.0.2.1"})


def test_a_session_is_named_by_its_browser_and_address(app: TestClient) -> None:
    own = at(app, "192.0.2.1")
    body = {"name": "admin", "password": PASSWORD}
    own.post("/api/login", json=body, headers={"User-Agent": "Firefox \t" + "x" * 500})
    (found,) = own.get("/api/me/sessions").json()
    assert found["name"] == "Firefox  " + "x" * 111 + ", 192.0.2.1"
    assert found["current"]


def test_a_password_typed_as_a_name_is_not_kept(app: TestClient, library: Library) -> None:
    assert sign_in(app, "192.0.2.1", "x", "my secret passphrase") == 401
    row = library.audit_rows(count=1)[0]
    assert (row.user, row.action) == ("", "sign-in refused")
    assert "passphrase" not in str([(r.user, r.target, r.detail) for r in library.audit_rows()])


def test_the_last_admin_stays(library: Library) -> None:
    """Closed, the library would be anybody's on this machine again."""
    with pytest.raises(InputError, match="last admin"):
        library.close_user("admin", "admin")
    library.add_user("ann", PASSWORD)
    with pytest.raises(InputError, match="last admin"):
        library.close_user("admin", "admin")


def test_two_admins_that_close_one_another_at_once_leave_one(library: Library) -> None:
    for _ in range(5):
        library.add_user("second", PASSWORD, "admin") if "second" not in [u.name for u in library.users()] else None
        refused: list[str] = []
        both = threading.Barrier(2)

        def close(name: str, refused: list[str] = refused, both: Any = both) -> None:
            both.wait()
            try:
                library.close_user("x", name)
            except InputError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=close, args=(n,)) for n in ("admin", "second")]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        left = [u for u in library.users() if u.role == "admin"]
        assert len(left) == 1
        assert len(refused) == 1
        with library.write() as session:  # again
            for user in session.query(User):
                user.closed = None


def test_tokens_sign_outs_and_exports_are_in_the_log_with_the_address(
    app: TestClient, library: Library, tmp_path: Path
) -> None:
    from vlad.app.verdicts import export

    from vlad.config import make_settings

    ann = Person(app, library, "ann")
    before = len(library.audit_rows(count=1000))
    for _ in range(3):
        ann.ask("GET", "/videos")
    other = at(app, "198.51.100.7")
    other.get("/api/videos", headers=ann.headers)
    used = [r for r in library.audit_rows(count=1000)[:-before] if r.action == "token used"]
    assert [(r.user, r.detail) for r in used] == [
        ("ann", {"name": "test", "address": "198.51.100.7"}), ("ann", {"name": "test", "address": "127.0.0.1"}),
    ]  # fmt: skip
    signed = at(app, "198.51.100.8")
    signed.post("/api/login", json={"name": "ann", "password": PASSWORD})
    signed.post("/api/logout")
    export(library, make_settings(), tmp_path / "out")
    rows = [(r.user, r.action, r.detail.get("address", "")) for r in library.audit_rows(count=3)]
    assert rows == [
        ("command line", "verdicts exported", ""), ("ann", "signed out", "198.51.100.8"), ("ann", "signed in", "198.51.100.8"),
    ]  # fmt: skip
    root = Person(app, library, "root", "admin")
    told = root.ask("GET", "/audit", action="signed out")["log"][0]
    assert (told["address"], told["detail"]) == ("198.51.100.8", {})
