"""Who gets in, who may write, and what a browser is told to allow."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner

import withstand
from explorer_web import HOST, PEOPLE, TOKENS, auth, client, csrf, post, replayed, run_path, sign_in
from withstand.cli.main import cli
from withstand.core import SpecError
from withstand.explorer.security import BODY, Auth, Person, cookie_name, read_people, token_digest

# --- headers -----------------------------------------------------------------------------------------------------


def test_every_answer_forbids_scripts_of_others_and_frames(web):
    base = run_path(web)
    for path in ("/", base, f"{base}/cases", "/nothing", "/static/app.js", "/static/report.css", f"{base}/cases.csv"):
        headers = web.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
    assert "no-store" in web.get(base).headers["cache-control"]


def test_a_browser_keeps_a_static_file_until_its_content_changes(web):
    addresses = re.findall(r'"(/static/[^"?]+)\?v=([0-9a-f]{12})"', web.get("/").text)
    assert len(addresses) == 5
    for path, version in addresses:
        assert "immutable" in web.get(f"{path}?v={version}").headers["cache-control"]
        for changed in (path, f"{path}?v=000000000000", f"{path}?v={version}&x"):
            assert web.get(changed).headers["cache-control"] == "no-store"


def test_no_page_has_an_inline_script_style_or_a_remote_address(web):
    base = run_path(web)
    pages = ["/", base, "/probe", "/findings", "/audit", "/login"]
    pages += [
        f"{base}/{name}"
        for name in ("cases", "compare", "label", "calibration", "cases/1.0.0.0", "cases/1.0.0.0/search")
    ]
    for path in pages:
        text = web.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=\"/static/)", text), path
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text), path
        assert not re.search(r"(?:src|href|action|hx-get)=\"(?!/|#|\?)", text), path


def test_the_cookie_is_kept_from_scripts_and_other_sites(web):
    web.cookies.clear()
    cookie = web.get("/").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


# --- who ---------------------------------------------------------------------------------------------------------


def test_another_address_needs_people():
    for host in ("0.0.0.0", "192.168.1.2", "::", "example.org"):
        with pytest.raises(SpecError, match="others can reach"):
            Auth(host, 80)
        assert Auth(host, 80, PEOPLE)
        assert Auth(host, 80, proxy_header="X-User")
    assert Auth("127.0.0.1", 80).local.role == "admin"
    with pytest.raises(SpecError, match="no token"):
        Auth("0.0.0.0", 80, (Person("ana", "admin"),))


def test_the_command_refuses_it_too(path):
    done = CliRunner().invoke(cli, ["serve", "--host", "0.0.0.0", "--store", str(path)])
    assert isinstance(done.exception, SpecError)


def test_without_a_token_nothing_is_shown(path):
    with client(path, auth()) as web:
        for page in ("/", "/runs/000000000000", "/findings", "/audit", "/probe"):
            answer = web.get(page)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/login")
        assert web.post("/reveal", data={"csrf": csrf(web, "/login"), "show": "1"}).status_code == 401
        wrong = post(web, "/login", "/login", token="x" * 20)
        assert wrong.status_code == 403
        assert web.get("/").status_code == 303
    assert withstand.load("kitchen", path).store.audits()[0]["action"] == "refused"


def test_signing_in_makes_a_new_session_and_leaving_ends_it(path):
    with client(path, auth()) as web:
        web.get("/login")
        before = web.cookies[cookie_name(HOST)]
        assert sign_in(web, "adam").status_code == 303
        assert web.cookies[cookie_name(HOST)] != before
        assert web.get("/").status_code == 200
        kept = web.cookies[cookie_name(HOST)]
        post(web, "/logout")
        web.cookies.set(cookie_name(HOST), kept)
        assert web.get("/").status_code == 303


def test_roles(path):
    allowed = {"vera": (403, 403, 403), "lea": (200, 403, 403), "rosa": (200, 403, 403), "adam": (200, 200, 200)}
    for name, statuses in allowed.items():
        with client(path, auth()) as web:
            sign_in(web, name)
            base = run_path(web)
            assert tuple(web.get(page).status_code for page in (f"{base}/label", "/probe", "/audit")) == statuses
            assert web.get(f"{base}/cases").status_code == 200
            place = re.search(r'name="place" value="([0-9]+:[^"]+)"|$', web.get(f"{base}/label").text)[1] or ""
            writes = [
                post(web, f"{base}/label", vote="skip", place=place).status_code,
                post(
                    web, "/findings", harm="x", severity="low", place=f"{base.removeprefix('/runs/')}/0.0.0.0"
                ).status_code,
                post(web, "/probe", new="1").status_code,
                post(web, f"{base}/calibration", judge="x").status_code,
            ]
            ranks = {
                "vera": [403] * 4,
                "lea": [303, 303, 403, 403],
                "rosa": [303, 303, 403, 403],
                "adam": [303, 303, 303, 400],
            }
            assert writes == ranks[name], name
            refused = post(web, f"{base}/label", vote="skip", place="0:x:0:0").status_code  # is no case of the sample
            assert refused == (403 if name == "vera" else 400)
            assert post(web, "/name", name="someone else").status_code == 403


def test_a_bearer_token_serves_programs(path):
    with client(path, auth()) as web:
        head = {"Authorization": f"Bearer {TOKENS['vera']}"}
        assert web.get("/", headers=head).status_code == 200
        assert "set-cookie" not in web.get("/", headers=head).headers
        assert web.post("/reveal", headers=head, data={"show": "1"}).status_code == 303
        assert web.get("/", headers={"Authorization": "Bearer x"}).status_code == 303


def test_a_trusted_proxy_names_the_person(path):
    people = (Person("lea", "labeler"),)
    with client(path, Auth("127.0.0.1", 8765, people, "X-Forwarded-User")) as web:
        assert web.get("/").status_code == 401
        page = web.get("/", headers={"X-Forwarded-User": "lea"})
        assert page.status_code == 200
        assert "lea, labeler" in page.text
        assert "eve, viewer" in web.get("/", headers={"X-Forwarded-User": "eve"}).text  # not lea's session
        assert web.get("/", headers={"X-Forwarded-User": "a\tb"}).status_code == 400


def test_labels_carry_the_person(path):
    with client(path, auth(), reveal=True) as web:
        sign_in(web, "lea")
        base = run_path(web)
        place = re.search(r'name="place" value="([^"]+)"', web.get(f"{base}/label").text)[1]
        assert post(web, f"{base}/label", place=place, vote="success").status_code == 303
    run = withstand.load("kitchen", path)
    assert [(label["labeler"], label["place"]) for label in run.store.labels(run.row.key)] == [("lea", place)]


# --- the tokens file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names nobody"),
        ('[[person]]\nname = "a"\ntoken = "short"', "shorter than"),
        ('[[person]]\nname = "a"\nrole = "king"\ntoken = "aaaaaaaaaaaaaaaaaaaa"', "has the role"),
        ('[[person]]\nname = "a"\nsha256 = "12"', "64 hexadecimal"),
        ('[[person]]\nname = "a"\npassword = "12"', "person 1"),
        ('[[person]]\nname = "a"\ntoken = "aaaaaaaaaaaaaaaaaaaa"\n' * 2, "the same name"),
        ("[[person", "cannot read"),
    ],
)
def test_a_bad_tokens_file_is_refused(tmp_path, text, message):
    file = tmp_path / "people.toml"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(SpecError, match=message):
        read_people(str(file))


def test_a_tokens_file_is_for_its_owner(tmp_path):
    file = tmp_path / "people.toml"
    file.write_text(f'[[person]]\nname = "ana"\nrole = "admin"\nsha256 = "{token_digest(TOKENS["adam"])}"\n')
    file.chmod(0o644)
    with pytest.raises(SpecError, match="other users can read"):
        read_people(str(file))
    file.chmod(0o600)
    [ana] = read_people(str(file))
    assert Auth("0.0.0.0", 1, (ana,)).by_token(TOKENS["adam"]) == ana


# --- writes ------------------------------------------------------------------------------------------------------


def test_a_write_needs_the_token_of_this_session(web):
    web.get("/")
    assert web.post("/reveal", data={"show": "1"}).status_code == 403
    assert web.post("/reveal", data={"show": "1", "csrf": "x" * 32}).status_code == 403
    assert web.post("/reveal", data={"show": "1", "csrf": csrf(web)}).status_code == 303
    token = csrf(web)
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        assert web.post("/reveal", data={"show": "1", "csrf": token}, headers=headers).status_code == 403
    assert web.post("/reveal", json={"show": "1"}).status_code == 415


def test_a_name_that_was_made_to_point_here_is_not_ours(web):
    for host in ("evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "127.0.0.1@evil"):
        assert web.get("/", headers={"Host": host}).status_code in (400, 421), host
    for host in ("localhost:8765", "127.0.0.1:8765", "[::1]:8765"):
        assert web.get("/", headers={"Host": host}).status_code == 200


def test_forms_are_limited(web):
    token = csrf(web)
    assert web.post("/probe", data={"csrf": token, "prompt": "x" * (BODY + 1)}).status_code == 413
    assert web.post("/probe", data={"csrf": token} | {f"f{i}": "1" for i in range(300)}).status_code == 400


def test_the_way_back_leads_to_our_own_pages(web):
    for bad in ("//evil.example", "http://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nX: y"):
        answer = web.post("/reveal", data={"csrf": csrf(web), "show": "0", "next": bad})
        assert answer.headers["location"] == "/"
        assert "x" not in answer.headers


def test_read_only_writes_nothing_and_hides_texts(path):
    before = path.read_bytes()
    with client(path, read_only=True) as web:
        base = run_path(web)
        token = csrf(web, "/login")
        for page in ("/reveal", "/findings", "/probe", "/name", f"{base}/label", f"{base}/calibration"):
            assert web.post(page, data={"csrf": token, "show": "1"}).status_code == 403, page
        assert "characters, hidden" in web.get(f"{base}/cases").text
        assert web.get(f"{base}/cases.csv").status_code == 200
        assert "Show all texts" not in web.get(base).text
    assert withstand.load("kitchen", path).store.audits() == []
    assert path.read_bytes()[:100] == before[:100]


def test_many_at_once(web):
    """Pages are answered from several threads over one store."""
    base = run_path(web)
    with ThreadPoolExecutor(8) as pool:
        pages = [base, f"{base}/cases", f"{base}/calibration", f"{base}/cases/1.0.0.0", "/"] * 8
        assert {answer.status_code for answer in pool.map(web.get, pages)} == {200}


# --- the store of somebody else ------------------------------------------------------------------------------------


def test_a_store_cannot_make_the_explorer_import_code(path, tmp_path, monkeypatch):
    (tmp_path / "trap_module.py").write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\n"
        "from withstand.core import TestCase, UpperBounds, user\n"
        "@dataclass(frozen=True)\nclass Trap:\n    '''A trap of ours.'''\n    version: ClassVar[int] = 1\n"
        "    needs: ClassVar[frozenset] = frozenset()\n    seed: int = 0\n"
        "    def most(self):\n        return UpperBounds()\n"
        "    def run(self, behavior, target):\n        yield TestCase(behavior.id, user(behavior.text))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    withstand.run(
        {"suite": "kitchen", "limit": 2, "target": "scripted-kitchen", "attack": "trap_module:Trap", "benign": "none"},
        store=path, name="trap",
    )  # fmt: skip
    for own_code, message in ((False, "names custom code"), (True, "test case")):
        with client(path, own_code=own_code, reveal=True) as web:
            assert message in replayed(web, f"{run_path(web, 'trap')}/cases/0.0.0.0/search")
