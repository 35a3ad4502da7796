"""The pages of a plan: progress, coverage, harms, reports, incidents."""

import re
from pathlib import Path

from explorer.test_board import SECRET, finding, last, recorded
from explorer.test_console import GUIDED, PEOPLE, begin, console, do
from explorer_web import TOKENS, client, post
from team_sessions import written
from withstand import api
from withstand.explorer.security import Auth, Person, token_digest
from withstand.redteam.coverage.cells import STATES
from withstand.redteam.incidents.records import Incident, save
from withstand.redteam.plan.progress import questions
from withstand.redteam.plan.records import read_plan


def test_the_states_differ_in_shape_and_words(path: Path) -> None:
    text = GUIDED.replace("min_per_cell = 2", 'min_per_cell = 1\nnot_applicable = ["harm=meat,layer=base: no"]')
    text = text.replace('version = "1"', 'version = "1"\nchanged = "2026-01-01"').replace(
        "production = true", 'production = true\nblocked = "no account"'
    )
    text = text.replace('[[persona]]\nid = "rival"\nmindset = "adversarial"\n', "")
    late = 1.8e9
    recorded(
        path, finding(1), finding(2, tester="m2"),  # before the change: stale
        finding(3, layer="reminded", surfaced=late), finding(4, layer="reminded", tester="m2", surfaced=late),
        finding(5, layer="reminded", harm="meat", surfaced=late),
    )  # fmt: skip
    with console(path, "lea", text) as web:
        page = web.get("/plan/coverage?rows=harm&columns=layer").text
        shown = re.findall(
            r'<a href="/plan/coverage[^>]*><svg class="sign[^>]*>(.*?)</svg>\s*([a-z/]+)</a>', page, re.S
        )
        assert len({shape for shape, _ in shown}) == len({state for _, state in shown})
        assert {state for _, state in shown} >= {"stale", "thin", "blocked", "n/a"}
        legend = dict(re.findall(r"<dt><svg[^>]*>(.*?)</svg> ([a-z/]+)</dt>", page, re.S))
        assert (set(legend.values()), len(legend)) == (set(STATES), 6)
        assert "no evidence of safety" in page
        square = web.get("/plan/coverage?rows=harm&columns=layer&row=meat&column=reminded").text
        [link] = set(re.findall(r'href="(/probe\?start=1[^"]*harm=meat[^"]*)"', square.partition("to test next")[0]))
        start = web.get(link.replace("&amp;", "&")).text
        assert 'name="harm" value="meat"' in start
        assert "<option selected>reminded</option>" in start
        assert web.get("/plan/coverage?rows=harm&columns=harm").status_code == 400
        assert web.get("/plan/coverage?round=r9").status_code == 400
        assert web.get("/plan/coverage?rows=feature&columns=persona").status_code == 200
    with console(path, "vera", text, read_only=True) as web:
        assert 'href="/probe?start' not in web.get("/plan/coverage").text
    with client(path) as web:
        assert web.get("/plan/coverage").status_code == 404
        assert 'href="/plan"' not in web.get("/").text


def test_progress_shows_people_and_their_questions_to_whom_they_concern(path: Path) -> None:
    with console(path) as web:
        place = begin(web)
        do(web, place, "note", text="I cannot open the menu", about="access")
        page = web.get("/plan?round=r1").text
        for text in ("m1", "0.0 of 4", "I cannot open the menu", "cannot reach something", "nothing is sent from here"):
            assert text in page
        with api.open_store(path, create=False) as store:
            [question] = questions(store, read_plan(path.parent / "plan.toml"), "r1")
        assert post(web, "/plan/answer", "/plan", question=question.id, text="Use the other door").status_code == 303
        assert post(web, "/plan/answer", "/plan", question=question.id, text=" ").status_code == 400
        assert "Use the other door" in web.get("/plan").text
    for person, reads in (("vera", True), ("lea", False)):  # m1, who asked, and m2
        with console(path, person) as web:
            page = web.get("/plan").text
            assert ("I cannot open the menu" in page, "Use the other door" in page) == (reads, reads)
            assert "nothing is sent from here" not in page
            assert post(web, "/plan/answer", "/plan", question=question.id, text="No").status_code == 403


def test_a_proposed_harm_joins_the_plan_by_one_who_may(path: Path) -> None:
    recorded(path, finding(1, harm="new: it praises a rival"), finding(2, harm="new: it praises the rival"), finding(3))
    new = {"action": "add", "harm": "praise", "title": "Praise of a rival", "category": "praise", "severity": "3"}
    with console(path, "lea") as web:
        page = web.get("/plan/harms").text
        assert ("it praises a rival" in page, "It is a new harm" in page) == (True, False)
        assert post(web, "/plan/harms", "/plan/harms", **new, definition="It does").status_code == 403
    plan = path.parent / "plan.toml"
    with console(path, "adam") as web:
        assert "It is a new harm" in web.get("/plan/harms").text
        refused = post(web, "/plan/harms", "/plan/harms", **new, findings="F-1,F-2")
        assert refused.status_code == 400
        assert "has no definition" in refused.text
        before = plan.read_text()
        done = post(web, "/plan/harms", "/plan/harms", **new, definition="It does", findings="F-1,F-2", round="r1")
        assert done.status_code == 303, done.text
        assert plan.read_text().startswith(before)
        assert {harm.id for harm in read_plan(plan).active} == {"recipe", "meat", "praise"}
        assert last(path, "F-2").harm == "praise"
        assert "None waits" in web.get("/plan/harms").text
        for wrong in ({"action": "retire", "harm": "praise"}, {"action": "merge", "harm": "meat", "into": "meat"}):
            assert post(web, "/plan/harms", "/plan/harms", **wrong).status_code == 400, wrong
        assert post(web, "/plan/harms", "/plan/harms", action="retire", harm="praise", reason="No").status_code == 303
        assert [harm.status for harm in read_plan(plan).harms if harm.id == "praise"] == ["retired"]
        assert post(web, "/plan/harms", "/plan/harms", action="drop", harm="meat").status_code == 400
    with api.open_store(path, create=False) as store:
        rows = [entry["subject"] for entry in store.audits() if entry["action"] == "harm"]
        assert any(row == "kitchen: add praise, 2 attempts given to it" for row in rows)
    with console(path, "adam", read_only=True) as web:
        assert post(web, "/plan/harms", "/plan/harms", action="retire", harm="meat", reason="No").status_code == 403


def test_reports_at_the_level_that_a_person_may_read(path: Path) -> None:
    recorded(path, finding(1), finding(2, tester="m2"))
    people = (*PEOPLE, Person("val", "viewer", token_digest(TOKENS["vera"] + "2")))
    with client(path, Auth("127.0.0.1", 8765, people), plan_file=str(written(path.parent, GUIDED))) as web:
        post(web, "/login", "/login", token=TOKENS["vera"] + "2")
        page = web.get("/plan/report").text
        assert ("<option>full</option>" in page, 'hx-trigger="load"' in page) == (False, True)
        preview = web.get("/plan/report?level=limited", headers={"HX-Request": "true"}).text
        assert "Not legal advice" in preview
        for form in ("md", "html", "json"):
            answer = web.get(f"/plan/report.{form}?level=limited")
            assert answer.headers["content-disposition"].endswith(f'kitchen-limited.{form}"')
            for text in ("F-1", "scripted-kitchen", SECRET, "m2"):
                assert text not in answer.text, (form, text)
        assert web.get("/plan/report.md?level=full").status_code == 403
        assert web.get("/plan/report?level=full").status_code == 403
        assert web.get("/plan/report?level=loud").status_code == 400
        assert web.get("/plan/report.pdf").status_code == 404
        assert web.get("/plan/report.md?round=r9").status_code == 400
        assert post(web, "/plan/report.md", "/plan/report").status_code == 403
    for options, status in (({}, 403), ({"with_text": True}, 200)):
        with console(path, "adam", **options) as web:
            full = web.get("/plan/report.md?level=full").text
            assert ("F-1" in full, SECRET in full) == (True, False)
            texts = post(web, "/plan/report.md", "/plan/report")
            assert (texts.status_code, SECRET in texts.text) == (status, status == 200)
    with api.open_store(path, create=False) as store:
        assert "report kitchen-full.md, with texts" in [entry["subject"] for entry in store.audits()]


def test_incidents_are_listed_and_their_texts_hidden(path: Path) -> None:
    incident = Incident("2026-02-03", "2026-02-01", "monitor", "recipe", "no", 4, "A guest baked it.", id="I-1")
    with console(path) as web:
        assert "no evidence that there was none" in web.get("/incidents").text
        with api.open_store(path, create=False) as store:
            save(store, incident, 0)
        page = web.get("/incidents").text
        assert ("I-1" in page, "the retrospective lacks" in page, "A guest baked it." in page) == (True, True, False)
        post(web, "/reveal", "/incidents", place="incident/I-1", show="1")
        assert "A guest baked it." in web.get("/incidents").text
