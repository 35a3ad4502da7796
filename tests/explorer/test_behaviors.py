"""Generated behaviors are accepted, edited or dropped in the explorer, by several people at once."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from explorer_web import HOSTILE, auth, client, csrf, inert, opened, post, served, sign_in
from withstand import api
from withstand.formats.generated import Generated, read_generated, sealed, write_generated
from withstand.runner.review import BehaviorFile, key_of, state_of


def generated(number):
    harmful = Generated(
        f"never/bake {number}", f"Bake loaf {number} for me.", category="off_topic", parent="never/bake",
        reason=f"reason {number}", judge="kitchen", tags=("owasp:LLM10",), twin=f"never/menu {number}",
    )  # fmt: skip
    return [sealed(harmful), sealed(Generated(f"never/menu {number}", f"What is on menu {number}?", half="benign"))]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "behaviors.jsonl"
    write_generated(path, [row for number in range(3) for row in generated(number)])
    return BehaviorFile(path)


def statuses(file):
    return [row.status for row in read_generated(str(file.path))]


def test_nothing_is_shown_or_accepted_before_it_was_asked_for(path, file):
    with client(path, behaviors=file) as web:
        row = file.rows()[0]
        page = f"/behaviors/{key_of(row)}"
        for address in ("/behaviors", page):
            text = web.get(address).text
            assert "Bake loaf" not in text
            assert "reason 0" not in text
        assert "never/bake 0" in web.get("/behaviors?status=new").text
        decide = {"decision": "accepted", "seen": state_of(row)}
        assert post(web, page, page, **decide).status_code == 403  # unread
        post(web, "/reveal", page, place=f"behavior/{key_of(row)}", show="1")
        assert "Bake loaf 0" in web.get(page).text
        assert "Bake loaf 1" not in web.get("/behaviors").text
        answer = post(web, page, page, **decide)
        assert answer.headers["location"] == f"/behaviors/{key_of(file.rows()[1])}"  # the next one that is new
        assert statuses(file) == ["accepted", *["new"] * 5]
        assert "behaviors.jsonl: accepted never/bake 0" in web.get("/audit").text
        assert web.post(page, data={**decide, "csrf": "wrong"}).status_code == 403
        assert post(web, page, page, decision="kept", seen="").status_code == 400
        assert post(web, page, page, decision="edited", seen=state_of(file.rows()[0]), text=" ").status_code == 400
        assert web.get("/behaviors/0000").status_code == 404
        file.path.write_text("{}\n")
        assert "behaviors.jsonl, line 1" in web.get("/behaviors").text  # what is wrong, and where
    with client(path) as web:
        assert web.get("/behaviors").status_code == 404
        assert 'href="/behaviors"' not in web.get("/").text


def test_who_may_decide(path, file):
    row = file.rows()[0]
    page = f"/behaviors/{key_of(row)}"
    for name, status in (("vera", 403), ("lea", 303), ("adam", 303)):
        with client(path, auth(), behaviors=file) as web:
            sign_in(web, name)
            seen = state_of(file.rows()[0])
            assert post(web, page, page, decision="dropped", seen=seen).status_code == status
    with client(path, behaviors=file, read_only=True, reveal=True) as web:
        assert "Bake loaf 0" in web.get(page).text
        assert 'value="accepted"' not in web.get(page).text
        token = csrf(web, page) if 'name="csrf"' in web.get(page).text else ""
        answer = web.post(page, data={"csrf": token, "decision": "new", "seen": state_of(file.rows()[0])})
        assert answer.status_code == 403
    assert statuses(file)[0] == "dropped"


def test_two_people_at_once_lose_nothing(path, file):
    """On different rows both decisions stand; on one row the second sees what changed, and keeps what they wrote."""
    names = [row.id for row in file.rows()]
    with ThreadPoolExecutor(6) as pool:
        seen = {row.id: state_of(row) for row in file.rows()}
        list(pool.map(lambda name: BehaviorFile(file.path).decide(name, seen[name], "accepted"), names))
    assert statuses(file) == ["accepted"] * 6
    with client(path, behaviors=file, reveal=True) as web:
        row = file.rows()[0]
        page, seen_first = f"/behaviors/{key_of(row)}", state_of(row)
        post(web, page, page, decision="edited", seen=seen_first, text="Bake a rye loaf.", judge="function:os:system")
        answer = post(web, page, page, decision="edited", seen=seen_first, text="Bake an oat loaf.")
        assert answer.status_code == 409
        assert "somebody changed this behavior" in answer.text
        assert "Bake a rye loaf." in answer.text  # as it is now
        assert "Bake an oat loaf." in answer.text  # what the second person wrote
    (changed, *_) = file.rows()
    assert (changed.text, changed.status, changed.judge) == ("Bake a rye loaf.", "edited", "kitchen")
    back = file.decide(changed.id, state_of(changed), "edited", {"text": "Bake loaf 0 for me."})
    assert back.status == "accepted"  # it is as it was generated
    assert not list(file.path.parent.glob(".*"))


def test_keys_review_a_file_in_the_browser(browser, path, file):
    hostile = [sealed(Generated(f"h {name}", text, category=text[:40])) for name, text in HOSTILE.items()]
    hostile = [
        row for row in hostile if row.text.isprintable() or row.text.encode(errors="ignore").decode() == row.text
    ]
    write_generated(file.path, [*file.rows(), *hostile])
    with served(path, behaviors=file) as base:
        tab = opened(browser, base)
        tab.goto(f"{base}/behaviors")
        tab.keyboard.press("j")
        tab.get_by_role("button", name="Show text").wait_for()
        tab.keyboard.press("a")  # nothing: it was not read
        tab.keyboard.press("r")
        tab.locator(".turn .t").first.wait_for()
        tab.keyboard.press("a")
        tab.get_by_text("1 reviewed").wait_for()
        tab.keyboard.press("d")
        tab.get_by_text("2 reviewed").wait_for()
        tab.keyboard.press("r")
        tab.locator("textarea[name=text]").wait_for()
        tab.keyboard.press("e")
        tab.keyboard.press("Control+A")
        tab.keyboard.type("Bake a braided loaf, a day old.")  # letters are no keys here
        tab.get_by_role("button", name="Save").click()
        tab.get_by_text("3 reviewed").wait_for()
        rows = file.rows()
        assert [row.status for row in rows[:4]] == ["accepted", "dropped", "edited", "new"]
        assert rows[2].text == "Bake a braided loaf, a day old."
        tab.get_by_role("button", name="Show all texts").click()
        tab.goto(f"{base}/behaviors")
        inert(tab, base)
        for row in (row for row in hostile if row.id.split()[1] in ("handler", "attribute", "template", "comment")):
            tab.goto(f"{base}/behaviors/{key_of(row)}")
            inert(tab, base)
            if tab.locator("textarea[name=text]").count():  # a form gives back what it got
                assert tab.locator("textarea[name=text]").input_value() == row.text


def test_the_command_needs_no_run(withstand, tmp_path, monkeypatch):
    """Before the first run there is no store; a file that cannot be read is said at once."""
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: sockets[0].close())
    code, _, err = withstand("serve", "--port", 0, "--behaviors", "none.jsonl")
    assert code == 2
    assert "none.jsonl" in err
    Path("b.jsonl").write_text(json.dumps({"id": "a", "text": "Hi"}) + "\n")
    code, out, _ = withstand("serve", "--port", 0, "--behaviors", "b.jsonl")
    assert code == 0
    assert "/behaviors?token=" in out
    assert api.open_store("withstand.db", create=False).runs() == []
