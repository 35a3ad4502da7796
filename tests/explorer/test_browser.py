"""In Chromium: hostile texts stay texts, keys label, and labels move the corrected rate."""

import html
import json
import re
import sqlite3
from pathlib import Path

import pytest

import withstand
from explorer_web import HOSTILE, SPEC, client, inert, opened, run_path, served
from withstand import api
from withstand.explorer.launch_record import KIND
from withstand.results import labeling
from withstand.results.label_plan import label_plan
from withstand.results.labeling import queue
from withstand.store.revisions import Record, add_record


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    """A store whose every text is hostile, one of them a line of 10 MB."""
    folder = tmp_path_factory.mktemp("hostile")
    data = folder / "b.jsonl"
    entries = [
        {"id": f"{name} {text[:40]}", "text": f"{name}: {text}", "category": f"<b>{name}</b>"}
        for name, text in HOSTILE.items()
    ]
    data.write_text(
        "".join(json.dumps(entry) + "\n" for entry in [*entries, {"id": "long", "text": "long", "category": ""}])
    )
    rules = [[f"user: {name}: ", text, 1.0] for name, text in HOSTILE.items()]
    withstand.run(
        {"suite": {"use": "jsonl", "path": str(data), "category": "category"}, "judge": "contains:lone",
         "target": {"use": "scripted", "rules": rules}, "attack": "direct", "benign": "none"},
        store=folder / "s.db", name="<script>window.pwned=1</script>",
    )  # fmt: skip
    with sqlite3.connect(folder / "s.db") as store:
        [(key, value)] = store.execute(
            "SELECT row.key, row.value FROM want JOIN row ON row.key = want.key WHERE stage = 2 AND behavior = ?",
            (withstand.load("", folder / "s.db").row.plan["suites"][0]["behaviors"].index(_key_of(folder, "long")),),
        ).fetchall()
        line = "<script>window.pwned=1</script>" + "A" * 10_000_000
        store.execute("UPDATE row SET value = ? WHERE key = ?", (json.dumps({**json.loads(value), "text": line}), key))
    return folder / "s.db"


def _key_of(folder: Path, wanted: str) -> str:
    with sqlite3.connect(folder / "s.db") as store:
        return next(k for k, v in store.execute("SELECT key, value FROM behavior") if json.loads(v)["id"] == wanted)


def forged_launch(path: Path) -> str:
    """The page of a run that a store says was started, every text of it hostile."""
    texts = dict.fromkeys(("run", "person", "token", "stopped"), HOSTILE["script"])
    process = {"pid": 7, "began": "1", "host": HOSTILE["handler"], "boot": ""}
    spec = {"suite": [HOSTILE["svg"]], "target": [{"use": HOSTILE["template"]}]}
    caps = {"asks": 1, "cost": None, "minutes": 1}
    value = {**texts, "state": "running", "spec": spec, "asked": 1.0, "code": None, "caps": caps, "process": process}
    with api.open_store(path) as store:
        add_record(store, Record(KIND, "a" * 32, 1, "", 1.0, value))
    return f"/launches/{'a' * 32}"


def test_hostile_texts_stay_texts(browser, hostile, tmp_path):
    launch = forged_launch(hostile)
    with served(hostile, reveal=True, launches=tmp_path / "launches") as base:
        tab = opened(browser, base)
        tab.goto(base)
        inert(tab, base)
        tab.get_by_role("link", name="<script>window.pwned=1</script>").click()
        run = tab.url
        inert(tab, base)
        for path in (
            "/cases",
            "/cases?text=%3Cscript%3E&outcome=%22%3E%3Cscript%3E",
            "/compare",
            "/label",
            "/calibration",
        ):
            tab.goto(run + path)
            inert(tab, base)
        tab.goto(f"{run}/cases")
        links = [link.get_attribute("href") for link in tab.locator("a.case").all()]
        assert len(links) == len(HOSTILE) + 1
        shown = ""
        for link in links:
            tab.goto(base + link)
            inert(tab, base)
            shown += tab.locator(".turn.completion .t").inner_text()
            tab.mouse.move(300, 300)
        for link in links[::3]:  # the page of a search writes texts as that of a case does
            tab.goto(f"{base}{link.partition('?')[0]}/search")
            tab.click("text=Replay the search")
            inert(tab, base)
        for name in ("script", "handler", "svg", "data", "htmx", "template", "comment", "remote", "meta"):
            assert HOSTILE[name] in shown, name
        for mark in ("⟨U+202E⟩", "⟨U+0000⟩", "⟨U+001B⟩", "⟨U+E0041⟩", "⟨U+2028⟩", "lone \ufffd and \ufffd here"):
            assert mark in shown, mark
        assert not re.search("[\u202e\u2066\u200b\x00\x1b\x9b\ud800]", shown)
        assert shown.count("A" * 1000)
        assert len(shown) < 60_000
        for path in ("/launches", launch, "/gates", "/audit"):
            tab.goto(base + path)
            inert(tab, base)


def test_the_whole_of_a_long_text_is_a_file(hostile):
    with client(hostile, reveal=True) as web:
        cases = web.get(f"{run_path(web, '&lt;script&gt;window.pwned=1&lt;/script&gt;')}/cases?text=long").text
        page = web.get(html.unescape(re.search(r'class="case[^"]*" href="([^"]+)"', cases)[1])).text
        file = web.get(html.unescape(re.search(r'href="([^"]+)"[^>]*>The whole text as a file', page)[1]))
    assert len(file.content) > 10_000_000
    assert file.headers["content-type"].startswith("text/plain")  # which no browser runs
    assert file.headers["content-disposition"].startswith("attachment")


def test_keys_label_and_the_corrected_rate_follows(browser, tmp_path):
    path = tmp_path / "s.db"
    run = withstand.run({**SPEC, "limit": 10, "defense": "none"}, store=path, name="kitchen")
    items = queue(run.store, run.row, "calibration")
    with served(path) as base:
        tab = opened(browser, base)
        watch = tab.context.new_page()
        watch.on("console", lambda message: tab.messages.append(message.text))
        watch.on("pageerror", lambda error: tab.messages.append(str(error)))
        place = f"{base}/runs/{run.row.key[:16]}"
        watch.goto(f"{place}/calibration")
        assert watch.locator("[id^=corrected-]").count() == 0
        tab.goto(f"{place}/label")
        body = tab.locator("main").inner_text()
        assert not re.search(r"broken|refused|verdict is|score", body)  # blind
        tab.keyboard.press("y")  # not before it was read
        assert run.store.labels(run.row.key) == []
        tab.keyboard.press("r")
        tab.wait_for_selector(".turn.completion .t")
        tab.get_by_role("button", name="Show all texts").click()
        tab.wait_for_load_state()
        for number, item in enumerate(items):
            wrong = number % 5 == 4  # people see more than the judge does, now and then
            success = (item.case.outcome == "success") != wrong
            if 5 < number < len(items) - 1:  # each by a key would be a page
                labeling.add(run.store, run.row, item, "success" if success else "failure", "ana", "calibration")
                continue
            if number == len(items) - 1:
                tab.reload()
            assert item.case.completion.split()[0] in tab.locator(".turn.completion .t").inner_text()
            tab.keyboard.press("u" if number == 0 else "y" if success else "n")
            tab.get_by_text(f"{number + 1} of {len(items)} labeled").wait_for()
        assert tab.get_by_text("All done").count() == 1
        votes = [(label["labeler"], label["vote"]) for label in run.store.labels(run.row.key)]
        assert len(votes) == len(items) > 16
        assert {name for name, _ in votes} == {"ana"}
        assert {vote for _, vote in votes} == {"success", "failure", "unsure"}
        watch.get_by_text(f"{len(items)} labels").wait_for()  # it follows by itself
        shown = watch.locator("[id^=corrected-]").all_inner_texts()
        raw = [f"{100 * cell['asr']:.0f}%" for cell in run.cells if not cell["benign"]]
        assert len(shown) == len(raw)
        assert shown != raw
        watch.get_by_role("button", name="Keep this calibration").click()
        watch.wait_for_load_state()
        kept = [c["asr_corrected"] for c in withstand.load("kitchen", path).cells if not c["benign"]]
        assert [f"{100 * c['rate']:.0f}%" for c in kept] == shown
        assert sum(rate["labels"] for rate in kept) == len(items) - 1
        assert tab.messages == []


def test_the_page_labels_until_the_interval_is_as_wide_as_wanted(browser, tmp_path):
    """As `withstand label --width`: what is said of each cell, the looks, and that it ends at one."""
    path = tmp_path / "s.db"
    run = withstand.run({**SPEC, "defense": "none", "attack": "direct", "limit": 40}, store=path, name="kitchen")
    with served(path) as base:
        tab = opened(browser, base)
        tab.goto(f"{base}/runs/{run.row.key[:16]}/label")
        tab.get_by_role("button", name="Show all texts").click()
        tab.wait_for_load_state()
        tab.get_by_text("How many labels?").click()
        tab.get_by_label("label until every interval").fill("40")
        tab.get_by_role("button", name="Use it").first.click()
        tab.get_by_text("no label yet; about").wait_for()
        (plan, *_) = label_plan(run.store, run.row, 0.4)
        assert plan.in_words(0.4) in tab.locator("main").inner_text()
        *items, last = queue(run.store, run.row, "calibration", wanted={plan.index: plan.wanted})
        for item in items:  # each of them would be a page
            labeling.add(run.store, run.row, item, "failure", "ana", "calibration")
        tab.reload()
        tab.get_by_text(f"{len(items)} of {sum(plan.wanted)} labeled").wait_for()
        assert last.case.completion.split()[0] in tab.locator(".turn.completion .t").inner_text()
        tab.keyboard.press("n")
        tab.get_by_text("narrow enough").wait_for()
        assert tab.get_by_text("All done").count() == 1
        assert {label["looks"] for label in run.store.labels(run.row.key)} == {plan.looks}
        assert tab.messages == []


def test_the_live_calibration_is_that_of_the_command(path):
    """What the page works out from stored verdicts is what `withstand calibrate` finds by asking the judge."""
    from withstand.registry import find
    from withstand.results.calibrate import calibrate

    run = withstand.load("kitchen", path)
    items = queue(run.store, run.row, "calibration")
    for number, item in enumerate(items):
        vote = "success" if (item.case.outcome == "success") != (number % 6 == 0) else "failure"
        labeling.add(run.store, run.row, item, vote, "ben", "calibration")
    calibration, _ = calibrate(
        find.build("judge", "kitchen"), "kitchen", labeling.labels_of(run.store, run.row), "run:kitchen", run.store
    )
    with client(path) as web:
        page = web.get(f"/runs/{run.row.key[:16]}/calibration").text
    words = re.sub(r"<[^>]+>", " ", page)
    for name in ("accuracy", "sensitivity", "specificity"):
        assert re.search(rf"{name}\s+{100 * getattr(calibration.agreement, name):.0f}%", words), name
    assert f"{calibration.agreement.kappa:.2f}" in words
    shown = [float(rate) for rate in re.findall(r'id="corrected-[^>]*>\s*([\d.]+)%', page)]
    cells = [cell["asr_corrected"] for cell in withstand.load("kitchen", path).cells if not cell["benign"]]
    assert shown == pytest.approx([100 * cell["rate"] for cell in cells], abs=0.51)


def test_keys_walk_through_cases_and_filters_need_no_reload(browser, path):
    run = withstand.load("kitchen", path)
    with served(path) as base:
        tab = opened(browser, base)
        tab.goto(f"{base}/runs/{run.row.key[:16]}/cases")
        broken = sum(case["outcome"] == "success" and not run.cells[case["cell"]]["benign"] for case in run.cases())
        tab.select_option("select[name=outcome]", "harm:broken")
        tab.get_by_role("status").get_by_text(f"{broken} case").wait_for()
        assert "outcome=harm%3Abroken" in tab.url
        assert len([url for url in tab.asked if ".css" in url]) == 2  # the page itself was loaded once
        tab.keyboard.press("Escape")
        tab.locator("a.case").first.click()
        tab.wait_for_selector(".outcome")
        first = tab.url
        tab.keyboard.press("j")
        tab.wait_for_url(lambda url: url != first)
        assert tab.locator(".outcome").inner_text() == "broken"
        tab.keyboard.press("k")
        tab.wait_for_url(first)
        tab.keyboard.press("r")
        tab.wait_for_selector(".turn.completion .t")
        tab.keyboard.press("u")
        tab.wait_for_url("**/cases?outcome=harm%3Abroken")
        assert tab.messages == []


def test_pages_read_without_scripts(browser, path):
    run = withstand.load("kitchen", path)
    with served(path) as base:
        tab = opened(browser, base, java_script_enabled=False)
        tab.goto(f"{base}/runs/{run.row.key[:16]}/cases")
        tab.select_option("select[name=outcome]", "harm:broken")
        tab.get_by_role("button", name="Find").click()
        tab.wait_for_url("**outcome=harm%3Abroken**")
        tab.locator("a.case").first.click()
        tab.get_by_role("button", name="Show text").click()
        tab.locator(".turn.completion .t").first.wait_for()  # a form and a redirect: the page is another one
        assert tab.locator(".turn.completion .t").count() == 1
