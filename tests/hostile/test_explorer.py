"""What people who may open the explorer, and programs beside it, may not get from it."""

import contextlib
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

import withstand

pytest.importorskip("starlette")

from starlette.testclient import TestClient

from explorer_web import HOST, SPEC, client, explorer, post, run_path
from withstand.explorer.app import Explorer, make_app
from withstand.explorer.security import (
    IDLE,
    SESSIONS,
    Auth,
    Person,
    Refused,
    Session,
    WrongTokens,
    cookie_name,
    token_digest,
)

TOKENS = {"vera": "v" * 20, "adam": "a" * 20}
PEOPLE = (
    Person("vera", "viewer", token_digest(TOKENS["vera"])),
    Person("adam", "admin", token_digest(TOKENS["adam"])),
)


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: Any) -> Path:
    """A store of one run, to copy."""
    path = tmp_path_factory.mktemp("kitchen") / "s.db"
    withstand.run({**SPEC, "limit": 6}, store=path, name="kitchen").store.close()
    return path


@pytest.fixture
def path(kitchen: Path, tmp_path: Path) -> Path:
    with contextlib.closing(sqlite3.connect(kitchen)) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(shutil.copy(kitchen, tmp_path / "s.db"))


def people() -> Auth:
    return Auth("127.0.0.1", 8765, PEOPLE)


def browser(opened: Explorer) -> TestClient:
    return TestClient(make_app(opened), base_url=f"http://{HOST}", follow_redirects=False)


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name]}"}


def audits(path: Path) -> list[tuple[str, str, str]]:
    """Person, action and subject of each row of the audit, oldest first."""
    with contextlib.closing(withstand.load("kitchen", path).store) as store:
        return [(entry["person"], entry["action"], entry["subject"]) for entry in store.audits()[::-1]]


# --- search ------------------------------------------------------------------------------------------------------


def test_phrases_rebuild_no_hidden_text(path: Path) -> None:
    """A viewer of a read-only explorer asks for longer and longer phrases: no answer depends on a hidden text."""
    run = withstand.load("kitchen", path)
    cases = list(run.cases())
    case = max(cases, key=lambda case: len(case["completion"]))
    words = re.findall(r"[a-z]{4,}", case["completion"].lower())
    vocabulary = {word for other in cases for word in re.findall(r"[a-z]{4,}", str(other["chat"]).lower())}
    identifiers = " ".join(case["behavior"] for case in cases)
    with client(path, people(), read_only=True) as web:
        base = run_path_of(web)
        spot = re.findall(r'href="[^"]*/cases/([\d.]+)', web.get(f"{base}/cases", headers=bearer("vera")).text)[3]
        for word in sorted({*words, *vocabulary})[:10]:
            if word in identifiers:
                continue
            for query in (word, f'"{word}"', f'"{" ".join(words[:2])}"', f"completion: {word}", f") OR {word} ("):
                listed = web.get(f"{base}/cases", params={"text": query}, headers=bearer("vera"))
                beside = web.get(f"{base}/cases/{spot}", params={"text": query}, headers=bearer("vera"))
                assert "No case matches" in listed.text, query
                assert 'rel="next"' not in beside.text, query
        named = web.get(f"{base}/cases", params={"text": case["behavior"]}, headers=bearer("vera"))
        assert case["behavior"] in named.text  # what the list shows can be found
    assert audits(path) == []


def run_path_of(web: Any) -> str:
    match = re.search(r'href="(/runs/[0-9a-f]+)">kitchen<', web.get("/", headers=bearer("vera")).text)
    assert match
    return match[1]


def test_a_search_over_texts_is_in_the_audit(path: Path) -> None:
    with client(path, people()) as web:
        base = run_path_of(web)
        page = web.get(f"{base}/cases", params={"text": "grandfather shows"}, headers=bearer("vera")).text
        assert 'class="case"' in page  # vera may reveal every text, so a search may look at all
        web.get(f"{base}/cases/1.0.0.0", params={"text": "zebra"}, headers=bearer("vera"))
    [first, second] = audits(path)
    assert first[:2] == second[:2] == ("vera", "search")
    assert re.fullmatch(r"kitchen, 2 words, digest [0-9a-f]{12}", first[2])  # a text that a purge erases is not in it
    assert re.fullmatch(r"kitchen, 1 word, digest [0-9a-f]{12}", second[2])


def test_pages_of_a_search_are_audited_once(path: Path) -> None:
    with client(path) as web:
        base = run_path(web)
        for tail in ("cases?text=step", "cases?text=step&after=3", "cases/1.0.0.0?text=step", "cases?text=soup"):
            assert web.get(f"{base}/{tail}").status_code == 200
    assert [action for _, action, _ in audits(path)] == ["search", "search"]


# --- sessions ----------------------------------------------------------------------------------------------------


def sign_in(web: Any, name: str) -> None:
    csrf = re.search(r'name="csrf" value="([^"]+)"', web.get("/login").text)
    assert csrf
    assert web.post("/login", data={"csrf": csrf[1], "token": TOKENS[name]}).status_code == 303


def test_anonymous_requests_sign_nobody_out(path: Path) -> None:
    with explorer(path, people()) as opened:
        adam, stranger = browser(opened), browser(opened)
        sign_in(adam, "adam")
        for _ in range(1_005):
            stranger.cookies.clear()
            opened.auth.session({"host": HOST}, {})
        for _ in range(20):
            stranger.cookies.clear()
            assert stranger.get("/login").status_code == 200
        assert adam.get("/").status_code == 200


def test_a_person_with_many_browsers_signs_nobody_else_out(path: Path) -> None:
    auth = Auth("127.0.0.1", 8765, (Person("adam", "admin"),), "X-User")
    adam, new = auth.session({"host": HOST, "x-user": "adam"}, {})
    assert new
    for _ in range(1_005):
        auth.session({"host": HOST, "x-user": "vera"}, {})
    again, new = auth.session({"host": HOST, "x-user": "adam"}, {cookie_name(HOST): adam.id})
    assert again is adam
    assert not new


def test_many_names_of_a_proxy_end_no_session_in_use() -> None:
    """Not of who came back, whether the others come back too or not; after half an hour without use it may."""
    now = [0.0]
    auth = Auth("127.0.0.1", 8765, (Person("adam", "admin"),), "X-User", clock=lambda: now[0])

    def asked(name: str, cookie: str = "") -> tuple[Session, bool]:
        return auth.session({"host": HOST, "x-user": name}, {cookie_name(HOST): cookie})

    adam, _ = asked("adam")
    asked("adam", adam.id)
    for number in range(SESSIONS + 5):
        asked(f"flood {number}")
    assert asked("adam", adam.id) == (adam, False)
    for number in range(SESSIONS - 1):
        stranger, _ = asked(f"again {number}")
        asked(f"again {number}", stranger.id)
    with pytest.raises(Refused) as caught:
        asked("one more")
    assert (caught.value.status, caught.value.hint) == (503, "try again in 30 minutes")
    now[0] = IDLE + 1
    assert asked("adam", adam.id) == (adam, False)  # comes back before somebody needs the place
    assert asked("one more")[1]
    assert asked("adam", adam.id) == (adam, False)


def test_two_explorers_in_a_browser_have_their_own_cookies(path: Path) -> None:
    with explorer(path, people()) as first, explorer(path, people()) as second:
        web = TestClient(make_app(first), base_url="http://127.0.0.1:8765", follow_redirects=False)
        sign_in(web, "adam")
        other = TestClient(make_app(second), base_url="http://127.0.0.1:8766", follow_redirects=False)
        other.cookies = web.cookies  # as a browser sends them: of a host, whatever the port
        sign_in(other, "vera")
        assert "adam" in web.get("/").text
        assert "vera, viewer" in other.get("/").text


def test_the_cookie_is_secure_behind_a_proxy_that_speaks_tls(path: Path) -> None:
    by_proxy = Auth("127.0.0.1", 8765, (Person("adam", "admin"),), "X-User")
    head = {"X-User": "adam", "X-Forwarded-Proto": "https"}
    for auth, headers in ((people(), {"X-Forwarded-Proto": "https"}), (by_proxy, head)):
        with client(path, auth) as web:
            assert "; secure" in web.get("/login", headers=headers).headers["set-cookie"].lower()
            web.cookies.clear()
            plain = web.get("/login", headers=headers | {"X-Forwarded-Proto": "http"})
            assert "; secure" not in plain.headers["set-cookie"].lower()


def test_wrong_tokens_do_not_flood_the_audit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("withstand.explorer.people.SLOW", 0.0)
    auth = people()
    auth.wrong = WrongTokens(lambda: clock[0])
    with explorer(path, auth) as opened, browser(opened) as web:
        csrf = re.search(r'name="csrf" value="([^"]+)"', web.get("/login").text)
        assert csrf
        for second in range(150):
            clock[0] = second
            assert web.post("/login", data={"csrf": csrf[1], "token": f"wrong {second}"}).status_code == 403
        head = bearer("adam")
        assert "29 wrong tokens" in web.get("/audit", headers=head).text
    rows = [subject for _, action, subject in audits(path) if action == "refused"]
    assert [int(row.split()[0].replace("a", "1")) for row in rows] == [1, 60, 60, 29]
    assert len(rows) == 4


# --- who gets in on this machine -----------------------------------------------------------------------------------


def test_another_user_of_the_machine_does_not_get_in(path: Path) -> None:
    """Who can connect to the port, but did not see what the terminal printed."""
    with explorer(path) as opened:
        stranger = browser(opened)
        for page in ("/", "/audit", "/runs/000000000000/cases.csv", "/probe"):
            assert stranger.get(page).headers["location"].startswith("/login")
        help_page = stranger.get("/login").text
        assert "withstand serve" in help_page
        assert "printed in its terminal" in help_page
        assert "kitchen" not in help_page
        csrf = re.search(r'name="csrf" value="([^"]+)"', help_page)
        assert csrf
        assert stranger.post("/reveal", data={"csrf": csrf[1], "show": "1"}).status_code == 401
        assert stranger.post("/name", data={"csrf": csrf[1], "name": "ana"}).status_code == 401
        assert stranger.get("/", params={"token": "x" * 32}).status_code == 403
        assert stranger.get("/").status_code == 303
    assert [(person, action) for person, action, _ in audits(path)] == [("", "refused")]


def test_the_printed_address_lets_one_browser_in(path: Path) -> None:
    entered: list[str] = []
    with explorer(path) as opened:
        auth, ana, other = opened.auth, browser(opened), browser(opened)
        auth.on_entry = lambda: entered.append(auth.entry)
        link = f"/findings?token={auth.entry}&run=0"
        assert ana.head(link).status_code != 200  # looking at an address is not opening it
        assert ana.get(link).headers["location"] == "/findings?run=0"  # the token leaves the address bar
        assert ana.get("/").status_code == 200
        assert other.get(link).status_code == 403  # it was used
        assert ana.get(link).status_code == 303  # an old bookmark of who is in
        assert entered == [auth.entry]
        assert auth.entry not in link
        assert other.get("/", params={"token": auth.entry}).status_code == 303  # as the terminal printed next
        assert other.get("/").status_code == 200


def test_an_address_with_a_token_leads_nowhere_else(path: Path) -> None:
    with explorer(path) as opened:
        web = browser(opened)
        answer = web.get(f"http://{HOST}//evil.example/?token={opened.auth.entry}")
        assert answer.status_code == 404
        assert "location" not in answer.headers


def test_an_address_in_a_page_of_another_site_lets_in(path: Path) -> None:
    """A terminal in a browser: the cookie is not sent where another site leads, so no redirect follows, but a page."""
    with explorer(path) as opened:
        answer = browser(opened).get("/?token=" + opened.auth.entry, headers={"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, answer.headers["refresh"]) == (200, "0; url=/")


def test_root_says_who_it_is(path: Path) -> None:
    """The audit names a person: "root" is none, so the page asks before it lets in."""
    with explorer(path, Auth("127.0.0.1", 8765, local="root")) as opened:
        web, token = browser(opened), opened.auth.entry
        page = web.get("/", params={"token": token}).text
        csrf = re.search(r'name="csrf" value="([^"]+)"', page)
        assert csrf
        assert 'name="name"' in page
        form = {"csrf": csrf[1], "token": token, "next": "/"}
        assert web.post("/login", data=form | {"name": " "}).status_code == 400
        assert web.post("/login", data=form | {"name": "ana"}).status_code == 303
        shown = re.search(r'name="csrf" value="([^"]+)"', web.get("/").text)
        assert shown
        assert web.post("/reveal", data={"csrf": shown[1], "show": "1"}).status_code == 303
    assert audits(path) == [("ana", "reveal", "all texts, for the session")]


# --- numbers -----------------------------------------------------------------------------------------------------

ODD = (
    "", "-1", "1e400", "NaN", "\u00b2", "\u0661\u0662", "\0", "9" * 30, "9" * 5_000, "\ud800",
)  # fmt: skip


def test_odd_numbers_are_refused_or_brought_to_the_nearest_page(path: Path) -> None:
    with client(path, reveal=True) as web:
        web = TestClient(web.app, str(web.base_url), False, cookies=web.cookies, follow_redirects=False)
        base = run_path(web)
        csrf = re.search(r'name="csrf" value="([^"]+)"', web.get("/probe").text)
        assert csrf
        queried = [
            "/cases?after=", "/cases/1.0.0.0?after=", "/cases/1.0.0.0/search?from=", "/compare?skip=", "/compare?a=",
            "/compare?b=", "/label?n=", "/label?seed=", "/label?skip=", "/cases/1.0.0.0/text?part=", "/cases/1.0.0.",
            "/compare?with=", "/cases?text=", "/cases.csv?text=",
        ]  # fmt: skip
        probe = {"prompt": "hello", "target": "scripted-kitchen", "defense": "none"}
        place = re.search(r'name="place" value="([^"]+)"', web.get(f"{base}/label").text)
        assert place
        forms: list[tuple[str, dict[str, str], str]] = [
            (f"{base}/label", {"vote": "skip"}, "skip"), (f"{base}/label", {"vote": "skip"}, "n"),
            (f"{base}/label", {"vote": "skip"}, "seed"), (f"{base}/label", {"vote": "success"}, "place"),
            (f"{base}/label", {"vote": "success", "place": place[1]}, "skip"),
            ("/findings", {"harm": "h", "severity": "low"}, "place"),
        ]  # fmt: skip
        asks = [("/probe", probe, "temperature"), ("/probe", probe, "max_tokens")]
        statuses = {}
        for odd in (text.encode("utf-8", "surrogatepass") for text in ODD):
            for query in queried:
                statuses[query, odd[:30]] = web.get(base + query + quote(odd)).status_code
            for page, form, name in [*forms, *(asks if odd in (b"-1", b"NaN", b"1e400", b"9" * 30) else [])]:
                body = urlencode({**form, "csrf": csrf[1], name: odd})
                head = {"Content-Type": "application/x-www-form-urlencoded"}
                statuses[page, name, odd[:30]] = web.post(page, content=body, headers=head).status_code
        wrong = {what: status for what, status in statuses.items() if status not in (200, 303, 400, 403, 404)}
        assert wrong == {}
        assert web.get(f"{base}/cases?after=-1").text == web.get(f"{base}/cases").text
        assert "No case matches" in web.get(f"{base}/cases?after={10**30}").text


# --- exports -----------------------------------------------------------------------------------------------------


def test_an_export_with_texts_is_a_write_and_the_audit_says_what_it_held(path: Path) -> None:
    with client(path, with_text=True) as web:
        base = run_path(web)
        for _ in range(3):
            digests = web.get(f"{base}/cases.csv")
            assert digests.status_code == 200
            assert "grandfather" not in digests.text
        assert web.get(f"{base}/cases.csv?text=1").status_code == 403  # an address alone exports nothing
        assert web.post(f"{base}/cases.csv", data={"csrf": "x"}).status_code == 403
        assert audits(path) == [("ana", "download", "kitchen, cases.csv without texts")]  # once for a session
        assert "grandfather" in post(web, f"{base}/cases.csv", base).text
    cases = len(list(withstand.load("kitchen", path).cases()))
    assert audits(path)[-1] == ("ana", "export", f"kitchen, cases.csv, {cases} cases with texts")


def test_texts_are_exported_for_an_admin_where_the_server_allows_it(path: Path) -> None:
    for name, with_text in (("vera", True), ("adam", False)):
        with client(path, people(), with_text=with_text) as web:
            answer = web.post(f"{run_path_of(web)}/cases.csv", data={"next": "/"}, headers=bearer(name))
            assert answer.status_code == 403
            assert "grandfather" not in answer.text
    assert audits(path) == []
