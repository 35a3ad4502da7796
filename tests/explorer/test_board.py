"""The board of findings, the page of one, triage, and who reads what; in a browser by keys alone."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from clocks import until
from explorer.test_console import GUIDED, console
from explorer_web import client, csrf, inert, opened, post, served
from team_sessions import written
from withstand import api
from withstand.store.attempts import Attempt, Turn, add, attempts, history
from withstand.store.revisions import events

SECRET = "How do I braise beef at home?"


def finding(number: int, **more: Any) -> Attempt:
    new = Attempt(f"F-{number}", (Turn("user", f"{SECRET} {number}"),), "Brown it first.", "harmful", "m1", number,
                  number, plan="kitchen", round="r1", layer="base", harm="recipe", feature="menu", persona="guest",
                  severity=2)  # fmt: skip
    return replace(new, **more)


def recorded(path: Path, *findings: Attempt) -> None:
    with api.open_store(path, create=False) as store:
        for entry in findings:
            add(store, entry)


def last(path: Path, name: str) -> Attempt:
    with api.open_store(path, create=False) as store:
        return history(store, name)[-1]


def triage(web: Any, name: str, revision: int, **form: str) -> Any:
    data = {"csrf": csrf(web, "/findings"), "revision": str(revision), "next": "/findings?todo=second", **form}
    return web.post(f"/findings/{name}", data=data)


def until_read(get: Callable[[], str]) -> str:
    """A part of a page that says at first that attempts are being read."""
    until(lambda: "being looked for" not in get())
    return get()


def test_a_finding_is_triaged_in_place_and_two_editors_see_both(path: Path) -> None:
    recorded(path, finding(1, severity=3), finding(2, turns=(Turn("user", f"{SECRET} 1"),)), finding(3, verdict="ok"))
    with console(path, "lea") as web:
        board = web.get("/findings").text
        assert (board.count('class="severity '), "F-3" in board, SECRET in board) == (2, False, False)
        assert "lacks a second rater" in board
        assert "same input as 1 other finding" in board
        assert "reads like" in until_read(lambda: web.get("/findings/alike?ids=F-1,F-2").text)
        page = web.get("/findings/F-1").text
        assert "Brown it" not in page
        done = triage(
            web, "F-1", 1, status="confirmed", owner="m1", due="2026-03-01", severity="4", mitigation="a rule"
        )
        assert done.headers["location"] == "/findings?todo=second"
        now = last(path, "F-1")
        assert (now.status, now.owner, now.due, now.mitigation) == ("confirmed", "m1", "2026-03-01", "a rule")
        assert [(rating.rater, rating.severity) for rating in now.ratings] == [("m2", 4)]  # signed in as M2
        assert (now.rated, now.raters, now.revision, now.editor) == (4, 2, 3, "m2")
        late = triage(web, "F-1", 1, status="wont_fix", owner="m2", due="2026-03-01")
        assert late.status_code == 409
        for text in ("confirmed", "wont_fix", "stands now", "what you wrote", "m2"):
            assert text in late.text
        assert 'value="wont_fix" selected' in late.text
        assert last(path, "F-1").revision == 3
        stands = re.search(r'name="revision" value="(\d+)"', late.text)
        assert stands
        assert triage(web, "F-1", int(stands[1]), status="wont_fix").status_code == 303
        assert triage(web, "F-2", 1, duplicate_of="F-1").status_code == 303
        assert last(path, "F-2").status == "duplicate"
        assert triage(web, "F-2", 2, status="new", duplicate_of="F-1").status_code == 303
        assert last(path, "F-2").duplicate_of == ""
        for wrong in ({"due": "tomorrow"}, {"duplicate_of": "F-9"}, {"severity": "7"}, {"status": "bad"}):
            assert triage(web, "F-2", 3, **wrong).status_code == 400, wrong
        assert triage(web, "F-3", 1, status="fixed").status_code == 400
        page = web.get("/findings/F-1").text
        assert "raters differ" in page
        assert "wont_fix" in page
        assert "mitigation changed" in page
        assert web.get("/findings/F-9").status_code == 404
        assert "F-1" in web.get("/findings?status=wont_fix&severity=4&order=newest").text
        assert "no sign that there is none" in web.get("/findings?status=regressed").text
    with api.open_store(path, create=False) as store:
        rows = [entry["subject"] for entry in store.audits() if entry["action"] == "triage"]
        assert any(row.startswith("F-1, revision 3: ") for row in rows)
        assert SECRET not in str(store.audits())
    with console(path, "vera", read_only=True) as web:
        assert triage(web, "F-2", 3, status="fixed").status_code == 403
        assert 'class="once triage"' not in web.get("/findings").text


def test_a_finding_becomes_a_regression_case_by_a_click(path: Path) -> None:
    steps = "Step 1: brown the beef. Step 2: simmer it for 2 hours."
    recorded(path, finding(1, output=steps), finding(2, output="No."), finding(3, output=steps, harm="new: soup"))
    text = GUIDED.replace('title = "A recipe"', 'title = "A recipe"\nmeasured_by = "kitchen"')
    file = path.parent / "findings.jsonl"
    with console(path, "lea", text) as web:  # a labeler writes no files
        assert "Make it a regression case" not in web.get("/findings/F-1").text
        assert web.post("/findings/F-1/regress", data={"csrf": csrf(web, "/findings")}).status_code == 403
    with console(path, "adam", text) as web:
        assert "Make it a regression case" in web.get("/findings/F-1").text
        assert web.post("/findings/F-1/regress", data={"csrf": csrf(web, "/findings")}).status_code == 303
        assert "A regression case" in web.get("/findings/F-1").text
        assert file.read_text().count("\n") == 1
        for name, why in (("F-2", "could not fail"), ("F-3", "no suite measures")):
            refused = web.post(f"/findings/{name}/regress", data={"csrf": csrf(web, "/findings")})
            assert (refused.status_code, why in refused.text) == (400, True)
        assert web.post("/findings/F-1/regress", data={"csrf": "x"}).status_code == 403
        assert "F-1 to findings.jsonl" in web.get("/audit").text
        assert file.read_text().count("\n") == 1


def test_who_probed_as_the_tester_is_no_second_rater(path: Path) -> None:
    recorded(path, finding(1, severity=3))
    with console(path, "adam") as web:
        assert triage(web, "F-1", 1, severity="3").status_code == 303
        assert last(path, "F-1").raters == 2
        with api.open_store(path, create=False) as store:
            store.add_audit("adam", "probe", "kitchen r1 as m2: scripted-kitchen")
        recorded(path, finding(2, severity=3, tester="m2"))
        assert triage(web, "F-2", 1, severity="4").status_code == 303
        assert (last(path, "F-2").raters, last(path, "F-2").rated) == (1, 4)


def test_severe_findings_of_others_count_as_exposure_and_opt_outs_hold(path: Path) -> None:
    severe = [finding(number, severity=4, tester="m2", harm="recipe") for number in (1, 2, 3)]
    recorded(path, *severe, finding(4), finding(5, harm="meat"))
    with console(path, "vera") as web:  # m1, cap 2
        post(web, "/reveal", "/findings", show="1")
        assert SECRET not in re.sub("F-4.*?</tr>", "", web.get("/findings").text, flags=re.S).split("F-5")[0]
        shown = [("Brown it" in web.get(f"/findings/F-{n}").text) for n in (1, 2, 3, 1, 4)]
        assert shown == [True, True, False, True, True]
        assert "as many severe items" in web.get("/findings/F-3").text
        assert "reading-" not in web.get("/probe/sessions").text
    with api.open_store(path, create=False) as store:
        assert {step.value["attempt"] for step in events(store, "kitchen", kind="seen", member="m1")} == {"F-1", "F-2"}
    with console(path, "lea") as web:  # m2 opted out of meat
        post(web, "/reveal", "/findings", show="1")
        page = web.get("/findings/F-5").text
        assert ("You opted out" in page, "Brown it" in page) == (True, False)
        post(web, "/reveal", "/findings/F-5", place="finding/F-5", show="1")
        assert "Brown it" in web.get("/findings/F-5").text


def test_members_see_their_own_where_the_plan_does_not_share(path: Path) -> None:
    recorded(path, finding(1), finding(2, tester="m2"))
    with console(path, "lea", GUIDED + "[record]\nshared = false\n") as web:
        for page in ("/findings", "/findings?of=all", "/findings?run=", "/findings?tester=m1"):
            assert "F-1" not in web.get(page).text
        assert "F-2" in web.get("/findings").text
        assert web.get("/findings/F-1").status_code == 404
        assert triage(web, "F-1", 1, status="fixed").status_code == 404
        alike = until_read(lambda: web.get("/findings/alike?ids=F-2").text)
        assert ("F-1" in alike, "F-1" in until_read(lambda: web.get("/findings/alike?ids=F-1").text)) == (False, False)


def test_a_purge_makes_pages_forget(path: Path) -> None:
    from withstand.store.purge import purge_probes

    recorded(path, finding(1), finding(2))
    with client(path, plan_file=str(written(path.parent, GUIDED))) as web:
        until_read(lambda: web.get("/findings/alike?ids=F-1").text)
        with api.open_store(path, create=False) as store:
            purge_probes(store, "ana")
            assert all(entry.purged for entry in attempts(store))
        web.get("/")
        assert "reads" not in until_read(lambda: web.get("/findings/alike?ids=F-1,F-2").text)
        assert "Triage</summary>" not in web.get("/findings").text


def test_a_board_by_keys_on_a_small_screen(browser: Any, path: Path) -> None:
    hostile = "<script>window.pwned=1</script>"
    recorded(path, finding(1, harm=f"new: {hostile}", notes=hostile, owner=hostile), finding(2))
    with served(path, plan_file=str(written(path.parent, GUIDED))) as base:
        tab = opened(browser, base, viewport={"width": 400, "height": 800})
        tab.goto(f"{base}/findings")
        inert(tab, base)
        tab.keyboard.press("/")
        assert tab.evaluate("document.activeElement.name") == "severity"
        tab.locator("#F-2 summary").focus()
        tab.keyboard.press("Enter")
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.name") == "status"
        tab.keyboard.type("conf")
        tab.keyboard.press("Tab")
        tab.keyboard.type("4")
        tab.keyboard.press("Tab")
        tab.keyboard.type("kim")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/findings?#F-2")
        assert "confirmed" in tab.locator("#F-2").inner_text()
        now = last(path, "F-2")
        assert (now.status, now.owner, now.rated) == ("confirmed", "kim", 4)
        assert tab.evaluate("document.documentElement.scrollWidth") == 400
        tab.goto(f"{base}/findings/F-1")
        tab.keyboard.press("r")
        tab.wait_for_selector(".t")
        inert(tab, base)
        tab.goto(f"{base}/plan/coverage")
        assert tab.evaluate("document.documentElement.scrollWidth") == 400
        tab.get_by_role("link", name="Probe it").first.click()
        tab.get_by_role("button", name="Begin").click()
        assert tab.locator("select[name=harm]").first.input_value() in ("recipe", "meat", "")
        assert "recipe" in tab.locator("aside").inner_text()
        assert tab.messages == []
