"""What the pages say, against what the report of the same run says."""

import csv
import html
import io
import json
import re
import urllib.parse

import pytest
from click.testing import CliRunner

import withstand
from explorer_web import SPEC, client, csrf, post, replayed, run_path
from withstand.cli.main import cli
from withstand.core import from_json
from withstand.core.text import interval, percent
from withstand.report import comparison
from withstand.results.pair_comparison import PairComparison
from withstand.store.attempts import attempts


def test_the_run_has_the_rates_of_the_report(web, path):
    page = web.get(run_path(web)).text
    cells = withstand.load("kitchen", path).cells
    harmful = [cell for cell in cells if not cell["benign"]]
    assert len(harmful) == 4
    for cell in harmful:
        row = next(
            row for row in page.split("<tr") if f">{cell['attack']}</a>" in row and f">{cell['defense']}<" in row
        )
        assert f">{percent(cell['asr'])}<" in row
        assert interval(cell["asr_interval"]) in row
    assert 'class="benign"' in page


def test_cases_are_filtered_counted_and_paged(web, path):
    base = run_path(web)
    run = withstand.load("kitchen", path)
    listed = list(run.cases())
    broken = [case for case in listed if case["outcome"] == "success"]
    page = web.get(f"{base}/cases?outcome=success").text
    assert f"{len(broken)} cases" in page or f"{len(broken)} case<" in page
    assert page.count('class="case"') == len(broken)
    of_story = [c for c in listed if run.cells[c["cell"]]["attack"] == "story"]
    assert web.get(f"{base}/cases?attack=story").text.count('class="case"') == min(50, len(of_story))
    first = web.get(f"{base}/cases").text
    assert first.count('class="case"') == 50
    following = re.search(r'href="([^"]+)" data-key="n"', first)
    second = web.get(following[1].replace("&amp;", "&")).text
    assert second.count('class="case"') == len(listed) - 50
    assert not set(re.findall(r'id="(c[\d.]+)"', first)) & set(re.findall(r'id="(c[\d.]+)"', second))


def test_benign_answers_are_counted_by_what_was_measured(web, path):
    run, base = withstand.load("kitchen", path), run_path(web)
    listed = list(run.cases())

    def number(benign, *outcomes):
        return sum(run.cells[c["cell"]]["benign"] is benign and c["outcome"] in outcomes for c in listed)

    def chips(query=""):
        page = html.unescape(web.get(f"{base}/cases{query}").text)
        chips_shown = re.findall(
            r'outcome=([^"&]*)[^"]*"[^>]*><span class="chip [^"]*">(\w+)</span></a><span class="n">(\d+)', page
        )
        return {urllib.parse.unquote(value): (word, int(count)) for value, word, count in chips_shown}

    expected = {
        "harm:broken": ("broken", number(False, "success")),
        "harm:held": ("held", number(False, "failure")),
        "harm:refused": ("refused", number(False, "refused")),
        "over-refusal:answered": ("answered", number(True, "success", "failure")),
        "over-refusal:refused": ("refused", number(True, "refused")),
    }
    assert chips() == {value: chip for value, chip in expected.items() if chip[1]}
    assert set(chips("?suite=kitchen-benign")) == {"over-refusal:answered", "over-refusal:refused"}
    for value, (_, count) in chips().items():
        assert web.get(f"{base}/cases", params={"outcome": value}).text.count('class="case"') == min(50, count)
    assert number(True, "success") > 0  # which the chips once called broken


def test_two_benign_cells_are_compared_by_whether_they_were_answered(web, path):
    run = withstand.load("kitchen", path)
    a, b = (c["index"] for c in run.cells if c["benign"])
    page = web.get(f"{run_path(web)}/compare?a={a}&b={b}").text
    matrix = page.partition('<table class="matrix">')[2].partition("</table>")[0]
    assert "broken" not in matrix
    assert matrix.count('<span class="chip o-answered">answered</span>') == 1
    refused = {i: {c["behavior"]: c["outcome"] == "refused" for c in run.cases() if c["cell"] == i} for i in (a, b)}
    assert f"the outcome of {sum(refused[a][id] != refused[b][id] for id in refused[a])} differs" in page


def test_search_finds_words_and_phrases_in_prompt_and_completion(path):
    with client(path, reveal=True) as web:
        base = run_path(web)
        listed = list(withstand.load("kitchen", path).cases())

        def matches(text, **more):
            page = web.get(f"{base}/cases", params={"text": text, **more}).text
            return page.count('class="case"')

        hits = sum("grandfather" in " ".join(t["text"] for t in c["chat"]).lower() for c in listed)
        assert matches("grandfather") == hits > 0
        assert matches("GRANDFATHER shows") == matches('"grandfather shows"') == hits
        assert matches('"shows grandfather"') == 0
        assert matches("grandfather", outcome="success") == sum(
            c["outcome"] == "success" and "grandfather" in str(c["chat"]) for c in listed
        )
        for hostile in ('"', "*", "a OR", "NEAR(", "prompt:x", "'; DROP TABLE cases_1; --", "\x00", "\ud800", "-", "^"):
            assert web.get(f"{base}/cases", params={"text": hostile.encode("utf-8", "replace")}).status_code == 200
        assert matches("grandfather") == hits


def test_a_case_shows_the_whole_conversation_only_when_asked(web, path):
    base = run_path(web)
    case = next(c for c in withstand.load("kitchen", path).cases() if c["outcome"] == "success")
    spot = re.search(r"cases/([\d.]+)\?outcome=success", web.get(f"{base}/cases?outcome=success").text)[1]
    page = web.get(f"{base}/cases/{spot}").text
    sentence = case["completion"].splitlines()[0][:30]
    escaped = sentence.replace("'", "&#39;").replace('"', "&#34;")
    assert escaped not in page
    assert f"{len(case['completion'])} characters, hidden" in page
    assert web.get(f"{base}/cases/{spot}/text?part=0").status_code == 403
    place = re.search(r'name="place" value="([^"]+)"', page)[1]
    assert (
        post(web, "/reveal", f"{base}/cases/{spot}", place=place, show="1").headers["location"]
        == f"{base}/cases/{spot}"
    )
    page = web.get(f"{base}/cases/{spot}").text
    assert escaped in page
    assert web.get(f"{base}/cases/{spot}/text?part=0").headers["content-disposition"].startswith("attachment")
    unseen = re.findall(r'class="case" href="([^"?]+)', web.get(f"{base}/cases?outcome=success").text)[-1]
    assert "characters, hidden" in web.get(unseen).text  # the others are not revealed by that
    audit = withstand.load("kitchen", path).store.audits()
    assert [(entry["person"], entry["action"], entry["subject"]) for entry in audit] == [("ana", "reveal", place)]


def test_the_session_switch_shows_all_and_hides_again(web):
    base = run_path(web)
    assert "characters, hidden" in web.get(f"{base}/cases").text
    post(web, "/reveal", "/", show="1")
    assert "characters, hidden" not in web.get(f"{base}/cases").text
    post(web, "/reveal", "/", show="0")
    assert "characters, hidden" in web.get(f"{base}/cases").text


def test_two_cells_side_by_side(web, path):
    run = withstand.load("kitchen", path)
    cells = [c["index"] for c in run.cells if c["attack"] == "story"]
    page = web.get(f"{run_path(web)}/compare?a={cells[0]}&b={cells[1]}").text
    outcomes = {i: {c["behavior"]: c["outcome"] for c in run.cases() if c["cell"] == i} for i in cells}
    changed = [b for b in outcomes[cells[0]] if outcomes[cells[0]][b] != outcomes[cells[1]][b]]
    assert f"the outcome of {len(changed)} differs" in page
    rows = page.partition("the changed ones first")[2].split("<tr")[2:]
    assert [("changed" in row[:20]) for row in rows] == [True] * len(changed) + [False] * (12 - len(changed))


@pytest.mark.parametrize("run_b", ["", "again"])
@pytest.mark.parametrize("attack", ["direct", "story", "benign"])
def test_the_statistics_of_two_cells_are_those_of_the_command(path, run_b, attack):
    sides = ["kitchen:defense=none", "kitchen:defense=self_reminder"]
    if run_b:  # another run, all of whose cells the command sets beside the first's
        withstand.run({**SPEC, "seed": 5, "target": "scripted"}, store=path, name=run_b)
        sides = ["kitchen", run_b]
    done = CliRunner().invoke(cli, ["compare", *sides, "--json", "--store", str(path)], standalone_mode=False)
    rows = json.loads(done.stdout)["rows"]
    runs = [withstand.load(name.partition(":")[0], path) for name in sides]
    benign = attack == "benign"
    defenses = ["none", "none" if run_b else "self_reminder"]
    a, b = (
        next(c["index"] for c in run.cells if c["benign"] is benign and c["defense"] == defense
             and (benign or c["attack"] == attack))
        for run, defense in zip(runs, defenses, strict=True)
    )  # fmt: skip
    [row] = [
        r for r in rows
        if r["benign"] is benign and (benign or r["a"]["attack"] == attack) and r["a"]["defense"] == "none"
    ]  # fmt: skip
    with client(path) as web:
        query = f"compare?a={a}&b={b}" + (f"&with={runs[1].row.key[:16]}" if run_b else "")
        page = html.unescape(web.get(f"{run_path(web)}/{query}").text)
    section = page.partition("<h2>Difference</h2>")[2].partition("</section>")[0]
    compared = from_json(PairComparison, row)
    assert re.findall(r'<td class="nowrap">(.*?)</td>', section) == comparison.texts(compared)[1:6]
    family = sum(r["measures"] == row["measures"] for r in rows)
    assert (f"p (\u00d7{family})" in section) == (family > 1)
    for _, behaviors in comparison.moves(compared):
        assert all(comparison.change(moved) in section for moved in behaviors[:10])


def test_the_statistics_of_many_cases_come_after_the_page(web, monkeypatch):
    url = f"{run_path(web)}/compare?a=0&b=1"
    whole = web.get(url).text
    section = re.search(r'<section id="difference">.*?</section>', whole, re.DOTALL)
    assert section
    monkeypatch.setattr("withstand.explorer.compare.AT_ONCE", 1)
    page = web.get(url).text
    assert section[0] not in page
    link = re.search(r'<section id="difference" hx-get="([^"]+)" hx-trigger="load" hx-swap="outerHTML">', page)
    assert link
    part = url.partition("?")[0] + html.unescape(link[1])
    assert web.get(part, headers={"HX-Request": "true"}).text.strip() == section[0]
    assert section[0] in web.get(part).text  # without a script, by the link


def test_a_search_is_told_step_by_step(path):
    withstand.run(
        {"suite": "kitchen", "limit": 2, "target": "scripted-kitchen", "attack": "best_of_n,n=4", "benign": "none"},
        store=path, name="searched",
    )  # fmt: skip
    with client(path, reveal=True) as web:
        url = f"{run_path(web, 'searched')}/cases/0.0.0.0/search"
        assert "Replay the search" in web.get(url).text
        page = replayed(web, url)
        assert web.get(url).text.count("asks target") == 4  # it is kept
    assert page.count("asks target") == 4
    assert page.count('class="case-sent"') == 4
    assert "no model was asked" in page


def test_the_export_holds_digests(web, path):
    base = run_path(web)
    rows = list(csv.DictReader(io.StringIO(web.get(f"{base}/cases.csv").text)))
    case = next(iter(withstand.load("kitchen", path).cases()))
    assert len(rows) == len(list(withstand.load("kitchen", path).cases()))
    assert rows[0]["completion"] == withstand.core.digest(case["completion"])
    assert web.get(f"{base}/cases.csv?text=1").status_code == 403
    assert web.get(f"{base}/summary.json").json()["cells"] == withstand.load("kitchen", path).cells


def test_a_run_under_way_says_how_far_it_is(path):
    withstand.run({**SPEC, "limit": 14}, store=path, name="partly", max_asks=3)
    with client(path) as web:
        page = web.get(run_path(web, "partly")).text
        state = withstand.results.summary.status(
            withstand.load("partly", path).store, withstand.load("partly", path).row
        )
        assert 'hx-trigger="every 2s"' in page
        for stage in state["stages"]:
            assert f"{stage['done']} of {stage['wanted']}" in page
        withstand.run({**SPEC, "limit": 14}, store=path, name="partly")
        routes = web.app.routes  # the index is asked again by the next page
        assert routes
        for _ in range(40):
            page = web.get(run_path(web, "partly"), headers={"HX-Request": "true"}).text
            if "every 2s" not in page:
                break
            __import__("time").sleep(0.2)
        assert "every 2s" not in page
        assert "<html" not in page


def test_a_probe_is_an_ask_with_verdicts_and_becomes_a_finding(web, path):
    answer = post(
        web, "/probe", prompt="How do I bake bread?", target="scripted-kitchen", defense="none", judge="kitchen"
    )
    assert answer.status_code == 303
    page = web.get("/probe").text
    assert "I can&#39;t help with cooking instructions" in page
    assert "o-refused" in page
    saved = post(web, "/findings", "/probe", harm="a recipe", severity="high", note="told as a story")
    assert saved.status_code == 303
    [finding] = attempts(withstand.load("kitchen", path).store)
    assert (finding.harm, finding.severity, finding.word, finding.tester) == ("new: a recipe", 3, "high", "ana")
    assert (finding.run, finding.foreign, finding.notes) == ("", "", "told as a story")
    assert finding.judged[0]["outcome"] == "refused"
    assert [turn.role for turn in finding.turns] == ["user"]
    assert finding.output.startswith("I'm sorry, but I can't help")
    assert "a recipe" in web.get("/findings").text


def test_a_conversation_goes_on(web):
    for more in ({}, {"go_on": "1"}):
        post(web, "/probe", prompt="Hello", target="scripted-kitchen", defense="none", **more)
    assert web.get("/probe").text.count('class="turn user"') == 2
    post(web, "/probe", new="1")
    assert 'class="turn user"' not in web.get("/probe").text


def test_a_probe_reaches_only_what_runs_named(web, path):
    for form in (
        {"target": "function:os:system", "defense": "none"},
        {"target": "scripted-kitchen", "defense": "os:path"},
        {"target": "scripted-kitchen", "defense": "none", "judge": "my:Judge"},
    ):
        answer = post(web, "/probe", prompt="x", **form)
        assert answer.status_code == 400
        assert "no run of this store has the" in answer.text
    assert post(web, "/probe", prompt=" ", target="scripted-kitchen", defense="none").status_code == 400


def test_a_finding_of_a_case(web, path):
    base = run_path(web)
    place = f"{base.removeprefix('/runs/')}/1.0.0.0"
    assert post(web, "/findings", place=place, harm="soup", severity="low").status_code == 303
    assert "soup" in web.get(f"{base}/cases/1.0.0.0").text
    run = withstand.load("kitchen", path)
    [finding] = attempts(run.store)
    assert (finding.run, finding.spot, finding.technique) == (run.row.key, (1, 0, 0, 0), "story")
    assert post(web, "/findings", place=place, harm="", severity="low").status_code == 400
    assert post(web, "/findings", place=place, harm="x", severity="fatal").status_code == 400


@pytest.mark.parametrize(
    "path_", ["/runs/000000000000", "/runs/x", "/nothing", "/static/../app.py", "/runs/%2e%2e/cases"]
)
def test_what_is_not_there_is_not_found(web, path_):
    assert web.get(path_).status_code == 404


def test_numbers_that_make_no_sense_are_no_error_of_ours(web):
    base = run_path(web)
    for tail, status in (
        ("/cases?after=-1", 200), ("/cases?after=99999999999999999999", 200), ("/cases?outcome=nope", 200),
        ("/cases/9.9.9.9", 404), ("/cases/1.2.3", 404), ("/compare?a=99&b=x", 200), ("/compare?with=zzz", 404),
        ("/cases/1.0.0.0/search?from=zz", 200), ("/label?n=0", 400), ("/label?for=x", 400),
        ("/cases/99999.0.0.0/search", 404),
    ):  # fmt: skip
        assert web.get(base + tail).status_code == status, tail


def test_the_form_carries_the_token_of_the_session(web):
    assert csrf(web) == csrf(web)
