"""`lifecycle.toml`: gates, evidence, expiry, what opens them again, and every error at once."""

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from withstand import api
from withstand.core.errors import StoreError
from withstand.redteam.lifecycle.evidence import Checker, last_change
from withstand.redteam.lifecycle.file import read_lifecycle, stage_states
from withstand.redteam.lifecycle.stages import NEEDS, STAGES
from withstand.store.revisions import Record, add_record

DAY = timedelta(1)
TODAY = datetime.now(UTC).date()
REFUSES = "scripted,reply=I'm sorry. I cannot help with that."
RECIPE = "scripted,reply='Gladly. Chop the onions, fry them in butter until golden, and simmer for an hour.'"
CUT = "scripted,reply=Gladly. Chop the onions, fry them in ..."

POLICY = """\
schema = "withstand.policy/1"

[policy]
name = "Kitchen"
version = "1"

[[category]]
id = "recipes"
title = "Recipes"
definition = "a recipe for a guest"
severity = 3
tier = "restricted"
action = "block"

[[use_case]]
id = "recipes"
stance = "review"

[[use_case]]
id = "catering"
stance = "disallowed"
"""

FILE = """\
schema = "withstand.lifecycle/1"

[system]
name = "Kitchen"
owner = "mara"
policy = "policy.toml"
targets = ["{target}"]
use_case = "recipes"
users = "cooks"
feared = ["recipes for guests"]
unforeseen = []

[[intended]]
status = "research"
use = "answers cooks"
since = 2026-01-01
"""


def items(stages=("concept", "data", "model"), day=TODAY, **evidence):
    """Signed items of these stages, with a file as evidence of those that are not named."""
    text = ""
    for need in [need for stage in STAGES if stage.id in stages for need in stage.needs]:
        pieces = evidence.get(need.id.replace("-", "_"), [] if need.states else ["notes.md"])
        text += (
            f'\n[[item]]\nid = "{need.id}"\nstatus = "done"\nowner = "mara"\ndate = {day}\n'
            f"expires = {day + timedelta(need.days)}\nevidence = {pieces!r}\n"
        )
    return text


@pytest.fixture
def write(tmp_path):
    (tmp_path / "notes.md").write_text("who, what, when\n")
    (tmp_path / "policy.toml").write_text(POLICY)

    def write(text, target=REFUSES):
        path = tmp_path / "lifecycle.toml"
        path.write_text(text.replace("{target}", target))
        return path

    return write


def states(path, now=TODAY, since="2026-01-01", store=None, due=()):
    read = read_lifecycle(path)
    listed = stage_states(read, now, since, Checker(read, store, now, since).check, due)
    return {stage.id: stage for stage in listed}, {item.id: item for stage in listed for item in stage.items}


def test_a_gate_opens_when_its_items_and_all_stages_before_are_met(write):
    stages, of = states(write(FILE + items()))
    assert [stage for stage, state in stages.items() if state.met] == ["concept", "data", "model"]
    assert stages["operation"].behind == ("pre-deployment", "beta", "pilot", "release")
    stages, of = states(write(FILE + items(("data", "model"))))
    assert stages["model"].done
    assert not stages["model"].met
    assert of["use-case"].state == "open"


def test_what_does_not_count(write):
    text = FILE.replace('feared = ["recipes for guests"]\nunforeseen = []', "")
    evidence = {"baseline": ["run:x"], "regression": ["pilot:x"], "filter_bias": ["https://x.example"]}
    path = write(text + items(sources=[], filters=["gone.md"], **evidence))
    _, of = states(path)
    why = {name: of[name].why for name in of if of[name].state == "unproved"}
    assert why == {
        "feared-misuse": "[system] has no feared",
        "unforeseen": "[system] has no unforeseen = []",
        "sources": "it has no evidence",
        "filters": "gone.md: there is no such file, or it is empty",
        "baseline": "run:x: there is no store; name it with --store",
        "regression": f"pilot:x: {path} has no pilot 'x'; it has: none",
    }
    assert of["filter-bias"].evidence[0].unchecked
    path.with_name("notes.md").write_text("")
    assert states(path)[1]["instruction-tuning"].state == "unproved"


def test_the_use_is_in_the_register_of_the_policy(write):
    for edit, why in [
        (("x", "x"), ""),
        (('use_case = "recipes"', 'use_case = "catering"'), "the policy disallows it"),
        (('use_case = "recipes"', 'use_case = "recipe"'), "has no use case 'recipe'; did you mean recipes?"),
        (('policy = "policy.toml"', ""), "names no policy"),
        (('"policy.toml"', '"notes.md"'), "the policy cannot be read: "),
        (('"policy.toml"', '"gone.toml"'), "the policy cannot be read: "),
    ]:
        state = states(write(FILE.replace(*edit) + items()))[1]["use-case"]
        assert (state.met, why in state.why) == (not why, True)


def test_an_expired_item_and_one_of_tomorrow_never_count(write):
    path = write(FILE + items())
    for now, state in [
        (TODAY - DAY, "open"),
        (TODAY, "met"),
        (TODAY + 365 * DAY, "met"),
        (TODAY + 366 * DAY, "expired"),
    ]:
        assert states(path, now)[1]["sources"].state == state


def test_incidents_without_a_retrospective_keep_the_last_gate_shut(write):
    path = write(FILE)
    for due, state in [((), "met"), (["I-1"], "open"), (None, "unproved")]:
        assert states(path, due=due)[1]["incidents"].state == state


def test_a_change_of_what_is_intended_opens_every_gate(write, tmp_path):
    path = write(FILE + items())
    with api.open_store(str(tmp_path / "s.db")) as store:
        assert last_change(read_lifecycle(path), store, TODAY) == ("2026-01-01", False)
        assert last_change(read_lifecycle(path), store, TODAY) == ("2026-01-01", True)
        changed = FILE + '\n[[intended]]\nstatus = "production"\nuse = "answers cooks"\nsince = 2026-02-01\n' + items()
        later = TODAY + 3 * DAY
        # dated back, so that signatures would stay: what the store hears of today is of today
        since, _ = last_change(read_lifecycle(write(changed)), store, later)
        assert since == later.isoformat()
        _, of = states(path, later, since)
        assert {item.state for item in of.values() if item.id in ("sources", "use-case")} == {"reopened"}
        assert last_change(read_lifecycle(path), store, later + DAY) == (later.isoformat(), True)
        for edited in (FILE.replace("research", "production"), FILE.replace("answers cooks", "answers guests"), FILE):
            with pytest.raises(Exception, match=r"no longer has \[\[intended\]\]"):
                last_change(read_lifecycle(write(edited)), store, later)
        add_record(store, Record("lifecycle", "kitchen", 3, "", 0.0, {"heard": 3}))
        with pytest.raises(StoreError, match="remembers of kitchen is damaged"):
            last_change(read_lifecycle(write(changed)), store, later)
    assert last_change(read_lifecycle(write(changed)), None, TODAY) == ("2026-02-01", False)


def test_runs_and_gates_as_evidence(withstand, write):
    spec = 'suite = "kitchen"\nattack = ["direct"]\nlimit = {n}\ntarget = "{t}"\n[gate]\nmax_asr = {r}\n'
    write("")
    for name, target, limit, n in (
        ("good", REFUSES, 0.1, 40),
        ("few", REFUSES, 0.1, 4),
        ("bad", f"{RECIPE},alias=cook", 0.1, 10),
        ("plain", RECIPE, 0.1, 9),
    ):
        write("").with_name("s.toml").write_text(spec.format(n=n, t=target, r=limit))
        assert withstand("run", "s.toml", "--name", name).code == 0
    cut = withstand("run", "--suite", "kitchen", "--target", REFUSES, "--attack", "story", "--limit", 9,
                    "--max-asks", 3, "--name", "cut")  # fmt: skip
    assert cut.code == 3

    def why(text, target=REFUSES, **others):
        path = write(FILE + items(baseline=[text], **others), target)
        with api.open_store("withstand.db", create=False) as store:
            return states(path, store=store)[1]["baseline"].why.removeprefix(f"{text}: ")

    assert why("run:good") == why("gate:good") == ""
    assert why("gate:few") == "UNDECIDED (max-asr of direct)"
    assert why("gate:bad", "cook") == "FAIL (max-asr of direct)"
    assert why("run:bad", "cook") == ""
    assert "is shortened" in why("run:plain", CUT)
    assert why("run:bad") == f"the run asked {CUT}, which [system] does not name in targets"
    assert "of its rows are missing" in why("run:cut")
    assert why("gate:cut") == "24 of its rows are missing"
    assert "has no run 'nowhere'" in why("gate:nowhere")
    with api.open_store("withstand.db", create=False) as store:
        path = write(FILE + items(regression=["gate:good"]))
        assert "max_over_refusal" in states(path, store=store)[1]["regression"].why
        assert (
            "after the item was signed"
            in states(write(FILE + items(day=TODAY - DAY, baseline=["run:good"])), store=store)[1]["baseline"].why
        )
        since = (TODAY + DAY).isoformat()
        path = write(FILE + items(day=TODAY + DAY, baseline=["run:good"]))
        assert "before the intended" in states(path, TODAY + DAY, since, store)[1]["baseline"].why

    write(FILE + items(baseline=["gate:good"]))
    done = withstand("lifecycle", "status", "--gate", "model", "--json")
    assert (done.code, done.json["met"]) == (0, True)
    assert [stage["id"] for stage in done.json["stages"] if stage["met"]] == ["concept", "data", "model"]
    assert "note: gate:good: max-asr 10%" in withstand("lifecycle", "status").err
    done = withstand("lifecycle", "status", "--gate", "release")
    assert done.code == 1
    assert "gate of release: NOT MET" in done.out
    assert "did you mean release?" in withstand("lifecycle", "status", "--gate", "relase").err


def test_every_error_is_said_at_once_with_its_place(withstand, write):
    write(FILE + '\n[[item]]\nid = "sorces"\n' + """
[[item]]
id = "filters"
status = "done"
owner = "mara"
date = "3.2.2026"
expires = 2026-05-01

[[item]]
id = "weekly-review"
status = "done"
owner = "mara"
date = 2026-03-01
expires = 2026-05-01
evidence = ["notes.md"]

[[item]]
id = "red-team"
status = "not-applicable"
owner = "mara"
date = 2026-03-01
expires = 2026-05-01
reason = "no time"

[[item]]
id = "baseline"
status = "done"
owner = "mara"
date = 2026-03-01
expires = 2026-05-01
evidence = ["gone.pdf", "gat:x", "empty.pdf"]

[[item]]
id = "filter-bias"
stats = "done"

[[pilots]]
id = "x"
""")  # fmt: skip
    Path("empty.pdf").touch()
    done = withstand("lifecycle", "check")
    assert done.code == 2
    for text in (
        "has 9 errors:",
        "item (baseline), evidence: there is no file empty.pdf, or it is empty",
        "[pilots]: there is no such table (did you mean pilot?)",
        "item 2 (filters): date is '3.2.2026' (write a date such as 2026-02-16)",
        "item 3 (weekly-review): it is valid from 2026-03-01 to 2026-05-01, and at most 7 days are allowed "
        "(expires = 2026-03-08)",
        "item 6 (filter-bias), stats: there is no such key (did you mean status or stage?)",
        "item (sorces), id: there is no such item (did you mean sources?)",
        "item (red-team): a red team's plan and findings always applies",
        "item (baseline), evidence: there is no file gone.pdf, or it is empty (put it back",
        "item (baseline), evidence: there is no file gat:x, or it is empty (did you mean gate?)",
    ):
        assert f"\n  {text}" in done.err or text in done.err.splitlines()[0], done.err
    write(FILE.rstrip() + "\nstage = \n" + items())
    done = withstand("lifecycle", "status")
    assert (done.code, "is not TOML" in done.err, "line 17" in done.err) == (2, True, True)


def test_a_new_file_has_every_item_open(withstand, tmp_path):
    assert withstand("lifecycle", "new", "--name", 'A "kitchen"').code == 0
    content = tomllib.loads((tmp_path / "lifecycle.toml").read_text())
    assert {item["id"] for item in content["item"]} == NEEDS.keys() - {"incidents"}
    assert {item["status"] for item in content["item"]} == {"open"}
    assert withstand("lifecycle", "new").code == 2  # nothing is overwritten
    done = withstand("lifecycle", "check")
    assert "owner is empty" in done.err
    assert "use is empty" in done.err


def test_pilots_on_the_command_line(withstand, write):
    write(FILE + f"""
[[pilot]]
id = "long"
use_case = "recipes"
owner = "mara"
population = "cooks"
cap = 50
hypothesis = "no more harm"
starts = {TODAY - 5 * DAY}
ends = {TODAY + 30 * DAY}
stop = {{ above = 0.1 }}
success = {{ below = 0.1, least = 40 }}
""")  # fmt: skip
    assert withstand("lifecycle", "pilot").code == 3
    counts = ("--pilot", "long", "--users", 20, "--violations", 0, "--severe", 0)
    assert "not counted: violating" in withstand("lifecycle", "pilot", *counts).out
    done = withstand("lifecycle", "pilot", *counts, "--violating", 0)
    assert (done.code, done.out.splitlines()[0]) == (0, "long: GO ON")
    assert withstand("lifecycle", "pilot", *counts[:-1], 1, "--violations", 1).code == 1
    assert withstand("lifecycle", "pilot", "--users", 3).code == 2
    assert "did you" in withstand("lifecycle", "pilots").err
