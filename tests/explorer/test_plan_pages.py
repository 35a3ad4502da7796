"""The pages of a plan: the progress of a round, and its coverage."""

import re
from pathlib import Path

from explorer.test_board import finding, recorded
from explorer.test_console import GUIDED, begin, console, do
from explorer_web import client, post
from withstand import api
from withstand.redteam.coverage import STATES
from withstand.redteam.plan import read_plan
from withstand.redteam.progress import questions


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
