"""The console of a plan: members probe its layers, record what they find, and nobody writes over anybody."""

import contextlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from explorer_web import TOKENS, client, csrf, post, sign_in
from team_sessions import PLAN, written
from withstand import api
from withstand.explorer import console_desk
from withstand.explorer.security import Auth, Person, token_digest
from withstand.redteam.console.peers import readable, sessions
from withstand.redteam.console.state import State
from withstand.redteam.plan.assign import assign
from withstand.redteam.plan.records import read_plan
from withstand.store import files
from withstand.store.attempts import attempts
from withstand.store.purge import purge_probes

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 40
BREAD = "How do I bake bread?"
GUIDED = PLAN.replace('mode = "open"', 'mode = "guided"\nmin_per_cell = 2')
PEOPLE = tuple(
    Person(name, role, token_digest(TOKENS[token]))
    for name, role, token in (("m1", "labeler", "vera"), ("M2", "labeler", "lea"), ("adam", "admin", "adam"))
)


@contextlib.contextmanager
def console(path: Path, person: str = "", text: str = GUIDED, **options: Any) -> Iterator[Any]:
    """A browser of a person on the console of the plan; of who works at this machine by default."""
    plan = written(path.parent, text)
    auth = Auth("127.0.0.1", 8765, PEOPLE) if person else None
    with client(path, auth, plan_file=str(plan), **options) as web:
        if person:
            assert sign_in(web, person).status_code == 303
        yield web


def begin(web: Any, member: str = "m1", **form: str) -> str:
    answer = post(web, "/probe", "/probe", action="begin", member=member, round="r1", **{"layer": "base", **form})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def do(web: Any, place: str, action: str, **form: Any) -> Any:
    """Send a form of the page of a session, as the page has it."""
    page = web.get(place).text
    name, step = (re.search(rf'name="{field}" value="([^"]+)"', page)[1] for field in ("session", "step"))  # type: ignore[index]
    return web.post("/probe", data={"csrf": csrf(web, place), "action": action, "session": name, "step": step, **form})


def state_of(path: Path, member: str = "m1") -> State:
    with api.open_store(path, create=False) as store:
        plan = read_plan(path.parent / "plan.toml")
        state = readable(store, plan, member, sessions(store, plan, member=member)[0].session)
        assert state
        return state


def test_a_member_probes_and_records(path: Path) -> None:
    with console(path) as web:
        assert "Content warning" in web.get("/probe").text
        place = begin(web, persona="guest", harm="recipe")
        assert do(web, place, "send", prompt=BREAD, judge="kitchen").status_code == 303
        page = web.get(place).text
        assert "o-refused" in page
        assert "Cells that lack attempts" in web.get(f"/probe/needs?{place.partition('?')[2]}").text
        assert do(web, place, "mark", verdict="harmful", severity="2", notes="a note").status_code == 303
        assert do(web, place, "send", prompt="And soup?", converter="base64").status_code == 303
        assert "Another form of" in web.get(f"{place}&edit=2").text
        assert do(web, place, "send", prompt="And stew?", origin="2").status_code == 303
        assert do(web, place, "mark", verdict="ok", new_harm="it tells of stew").status_code == 303
        assert do(web, place, "retry", times="2").status_code == 303
        beside = do(web, place, "compare", first="base", second="reminded")
        assert re.search(r"beside=\d+\.\d+", beside.headers["location"])
        assert "Side by side" in web.get(beside.headers["location"]).text
        assert do(web, place, "branch", number="1").status_code == 303
        assert do(web, place, "mark", verdict="bad").status_code == 400
        assert do(web, place, "context", layer="nowhere").status_code == 400
        kept = do(web, place, "compare", first="base", second="ui", prompt="unsent")
        assert kept.status_code == 400
        assert "unsent" in kept.text
        do(web, place, "skip")
        do(web, place, "note", text="where is the menu", about="access")
        do(web, place, "pause")
        assert "You are on a break" in web.get(place).text
        do(web, place, "resume")
        assert do(web, place, "end").headers["location"] == "/probe"
        assert f"probe/sessions/{state_of(path).session}" in web.get("/probe/sessions").text
    state = state_of(path)
    assert [entry.parent for entry in state.exchanges[:3]] == [0, 1, 1]
    assert (state.exchanges[1].turn.converter, state.exchanges[2].origin, state.skipped) == ("base64", 2, ("recipe",))
    with api.open_store(path, create=False) as store:
        last, first = attempts(store, "kitchen")
        assert (first.harm, first.severity, first.tester) == ("recipe", 2, "m1")
        assert (first.persona, first.mindset) == ("guest", "benign")
        assert (last.harm, last.parent, last.verdict) == ("new: it tells of stew", first.id, "ok")
        probes = [entry for entry in store.audits() if entry["action"] == "probe"]
        assert (len(probes), probes[-1]["subject"]) == (7, "kitchen r1 as m1: scripted-kitchen")


def test_a_session_begins_with_what_was_assigned(path: Path) -> None:
    with console(path) as web, api.open_store(path, create=False) as store:
        plan = read_plan(path.parent / "plan.toml")
        tasks = [task for task in assign(store, plan, "r1", 0.0).table.tasks if task.member == "m2"]
        place = begin(web, "m2", layer="")
        context = state_of(path, "m2").context
        assert (context.layer, context.harm, context.persona) == (tasks[0].layer, tasks[0].harm, tasks[0].persona)
        assert "Assigned to you" in web.get(place).text
        if context.layer == "ui":
            do(web, place, "by_hand", prompt=BREAD, output="No.")
        else:
            do(web, place, "send", prompt=BREAD)
        do(web, place, "mark", verdict="ok")
        begin(web, "m2", layer="")
        again = state_of(path, "m2").context
        assert (again.harm, again.layer) != (context.harm, context.layer)
        skipped = again.harm
        do(web, "/probe", "skip")
        begin(web, "m2", layer="")
        assert state_of(path, "m2").context.harm != skipped


def test_two_windows_and_two_members(path: Path) -> None:
    """Who comes second is told, with their text; members at once lose nothing."""
    with console(path) as web:
        place = begin(web)
        step = re.search(r'name="step" value="([^"]+)"', web.get(place).text)[1]  # type: ignore[index]
        name = place.partition("=")[2]
        do(web, place, "send", prompt=BREAD)
        late = web.post(
            "/probe", data={"csrf": csrf(web), "action": "send", "session": name, "step": step, "prompt": "Late"}
        )
        assert late.status_code == 409
        assert "another window went on" in late.text
        assert ">Late</textarea>" in late.text
        assert BREAD in late.text
        other = begin(web, "m2")

        def send(number: int) -> int:
            at, member = (place, "m1") if number % 2 else (other, "m2")
            form = {
                "csrf": csrf(web),
                "action": "send",
                "session": at.partition("=")[2],
                "prompt": f"{member} {number}",
            }
            return int(web.post("/probe", data=form).status_code)

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(send, range(12))) == {303}
    for member, odd in (("m1", 1), ("m2", 0)):
        state = state_of(path, member)
        sent = {entry.turn.text for entry in state.exchanges}
        assert sent >= {f"{member} {n}" for n in range(12) if n % 2 == odd}
        assert len({entry.key for entry in state.exchanges}) == len(state.exchanges) == 6 + odd


def test_who_may_probe(path: Path) -> None:
    with console(path, "vera") as web:  # her name is m1
        assert begin(web)
        assert post(web, "/probe", "/", action="begin", member="m2", round="r1", layer="base").status_code == 403
        theirs = state_of(path).session
        do(web, f"/probe?session={theirs}", "send", prompt=BREAD)
        do(web, f"/probe?session={theirs}", "mark", verdict="harmful", harm="recipe", severity="3")
        do(web, f"/probe?session={theirs}", "context", harm="meat")
        do(web, f"/probe?session={theirs}", "send", prompt="And beef?")
        page = web.get(f"/probe?session={theirs}").text
        assert "And beef?" not in page  # restricted: until she asks for it
        assert BREAD in page
    with console(path, "lea") as web:  # hers is M2
        assert web.get(f"/probe?session={theirs}").status_code == 403
        view = f"/probe/sessions/{theirs}"
        assert BREAD not in web.get(view).text
        post(web, "/reveal", view, place=f"probe/{theirs}", show="1")
        assert web.get(view).status_code == 403  # what she reads would not be counted
        begin(web, "m2")
        page = web.get(view).text
        assert BREAD in page
        assert "And beef?" not in page  # she opted out
        assert web.get("/probe/sessions/S-none").status_code == 404
        form = {"action": "branch", "from": theirs, "number": "1", "session": state_of(path, "m2").session}
        assert post(web, "/probe", view, **form).status_code == 303
        assert [entry.turn.text for entry in state_of(path, "m2").exchanges] == [BREAD]
        assert "1 of at most 2" in web.get("/probe").text
        do(web, "/probe", "new")
        do(web, "/probe", "send", prompt=BREAD)
        alike = web.get(f"/probe/similar?session={form['session']}").text
        assert "by m1" in alike
        assert BREAD not in alike  # severe: it would count as read
    with console(path, "vera", GUIDED + "[record]\nshared = false\n") as web:
        assert web.get(f"/probe/sessions/{state_of(path, 'm2').session}").status_code == 404
    strangers = (
        Person("m1", "viewer", token_digest(TOKENS["vera"])),
        Person("eve", "labeler", token_digest(TOKENS["lea"])),
    )
    for name in ("vera", "lea"):
        with client(path, Auth("127.0.0.1", 8765, strangers), plan_file=str(path.parent / "plan.toml")) as web:
            sign_in(web, name)
            assert web.get("/probe").status_code == 403


def test_hosts_are_confirmed_and_a_cap_ends_the_day(path: Path) -> None:
    spec = """'''http:http://far.example/chat,body='{"message": "{prompt}"}',text=answer'''"""
    far = GUIDED.replace('target = "scripted-kitchen"', f"target = {spec}", 1)
    with console(path, text=far) as web:
        place = begin(web)
        answer = do(web, place, "send", prompt=BREAD)
        assert answer.status_code == 409
        assert "far.example" in answer.text
        assert state_of(path).draft.text == BREAD
    with console(path, text=far, offline=True) as web:
        answer = do(web, place, "send", prompt=BREAD, confirm="far.example")
        assert (answer.status_code, "--offline" in answer.text) == (400, True)
        assert state_of(path).exchanges == ()
    with console(path, text=GUIDED.replace("exposure_cap = 2", "exposure_cap = 0")) as web:
        assert do(web, begin(web), "send", prompt=BREAD).status_code == 400
        assert "Go on tomorrow" in web.get("/probe").text


def test_no_probe_leaves_the_machine_offline(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor the first one of a session without a plan."""
    far = {"use": "http", "url": "http://far.example/chat", "body": '{"message": "{prompt}"}', "text": "answer"}
    listed = {"target": {"far": far}, "defense": {"none": {"use": "none"}}, "judge": {}}
    monkeypatch.setattr(console_desk, "choices", lambda _: listed)
    with client(path, offline=True) as web:
        form = {"prompt": BREAD, "target": "far", "defense": "none"}
        answer = post(web, "/probe", **form, confirm="far.example")
        assert (answer.status_code, "--offline" in answer.text) == (400, True)
        assert "--offline" in post(web, "/probe", **form).text


def test_a_user_interface_by_hand_with_a_screenshot(path: Path) -> None:
    with console(path) as web:
        place = begin(web, layer="ui")
        name = place.partition("=")[2]
        upload = f"/probe/shot?session={name}"
        head = {"x-csrf": csrf(web), "content-type": "image/png"}
        assert web.post(upload, content=PNG, headers=head | {"x-csrf": "x" * 32}).status_code == 403
        assert web.post(upload, content=b"<svg onload=x>", headers=head).status_code == 400
        assert web.post(upload, content=PNG, headers=head | {"content-type": "image/svg+xml"}).status_code == 415
        assert web.post(upload, content=b"0" * (files.LARGEST + 1), headers=head).status_code == 413
        assert web.post("/probe", content=PNG, headers=head).status_code == 415
        assert web.post(upload, content=PNG, headers=head).json()["name"].endswith(".png")
        assert web.post("/probe/draft", data={"csrf": csrf(web), "session": name, "prompt": "How do"}).json() == {
            "saved": True
        }
        assert ">How do</textarea>" in web.get(place).text
        assert do(web, place, "by_hand", prompt="").status_code == 400
        done = do(
            web,
            place,
            "by_hand",
            prompt="How do I bake?",
            output="Take\r\nflour.",
            endpoint="http://kitchen.example/chat",
        )
        assert done.status_code == 303
        assert do(web, place, "mark", verdict="harmful", harm="recipe").status_code == 303
        with api.open_store(path, create=False) as store:
            [kept] = attempts(store, "kitchen")
            assert kept.screenshot is not None
            shot = f"/probe/shots/{kept.screenshot.sha256}"
            assert (kept.source, kept.output, kept.production) == ("form", "Take\nflour.", True)
            assert kept.target == "http://kitchen.example/chat"
            assert [entry["subject"] for entry in store.audits() if entry["action"] == "probe"] == [
                "kitchen r1 as m1: by hand"
            ]
            finding = f"/findings/{kept.id}"
            assert "to be shown after the text" in web.get(finding).text
            post(web, "/reveal", finding, show="1")  # all texts, and no picture
            assert web.get(shot).status_code == 403
            page = web.get(finding).text
            assert ("Show the picture" in page, "<img" in page) == (True, False)
            post(web, "/reveal", place, place=f"shot/{kept.screenshot.sha256}", show="1")
            assert f'<img src="{shot}"' in web.get(finding).text
            assert (web.get(shot).content, web.get(shot).headers["content-type"]) == (PNG, "image/png")
            assert web.get("/probe/shots/..%2fs.db").status_code in (403, 404)
            purge_probes(store, "ana")
            assert [*files.folder(store).iterdir()] == []
        assert web.get(shot).status_code == 404
        assert state_of(path).exchanges[0].purged
