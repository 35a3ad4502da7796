"""Which behaviors, which cells, what is refused up front, and what a run's key depends on."""

import csv
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import walk_cases
from withstand.core import Behavior, SpecError, digest
from withstand.runner.estimate import estimate
from withstand.runner.plan import make_plan
from withstand.runner.spec import run_spec
from withstand.runner.suites import check_offline, loopback, stratified
from withstand.runner.transfer import cases_file

KITCHEN = {"suite": "kitchen", "target": "scripted-kitchen", "attack": "direct"}


JUDGE = {"use": "llm", "model": "scripted"}


def plan(**change):
    return make_plan(run_spec({**KITCHEN, **change}))


def key(**change):
    return digest(plan(**change).json())


def ids(of):
    return [behavior.id for behavior in of.suites[0].behaviors]


def grid(of):
    return [
        (of.suites[c.suite].label, c.labels["target"], c.labels["defense"], c.labels["attack"], c.labels["judge"])
        for c in of.cells
    ]


@pytest.fixture
def table(tmp_path):
    """Writes a CSV of behaviors and returns its path."""

    def write(name, rows, columns=("id", "text")):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
        return str(tmp_path / name)

    return write


# --- behaviors ---------------------------------------------------------------------------------------------------


def test_a_limit_is_a_subset_of_a_larger_one_with_the_same_proportions():
    everything = plan()
    sizes = Counter(b.category for b in everything.suites[0].behaviors)
    assert len(ids(everything)) == 56
    for few, many in [(1, 5), (5, 20), (20, 40), (40, 56)]:
        assert ids(plan(limit=many))[:few] == ids(plan(limit=few))
    for limit in (8, 20, 40):
        chosen = Counter(b.category for b in plan(limit=limit).suites[0].behaviors)
        assert all(abs(chosen[name] - limit * size / 56) < 1.01 for name, size in sizes.items())


def test_the_choice_is_seeded():
    assert ids(plan(limit=20)) == ids(plan(limit=20))
    assert set(ids(plan(limit=20, seed=1))) != set(ids(plan(limit=20)))
    assert set(ids(plan(seed=1))) == set(ids(plan()))
    baking = {"where": {"category": "baking"}, "limit": 3}
    assert len({tuple(ids(plan(seed=seed, **baking))) for seed in range(4)}) > 1
    rare = [Behavior(str(i), "x", category="many") for i in range(50)] + [Behavior("rare", "x", category="one")]
    assert 0 < sum(any(b.id == "rare" for b in stratified(rare, seed)[:10]) for seed in range(60)) < 30


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.integers(0, 5))
def test_every_head_is_spread_as_the_whole(categories, seed):
    behaviors = [Behavior(str(i), "x", category=c) for i, c in enumerate(categories)]
    ordered = stratified(behaviors, seed)
    assert Counter(ordered) == Counter(behaviors)
    assert ordered == stratified(behaviors[::-1], seed)
    sizes = Counter(categories)
    for size in range(1, len(ordered) + 1):
        head = Counter(b.category for b in ordered[:size])
        assert all(abs(head[c] - size * n / len(ordered)) <= 2 for c, n in sizes.items())


def test_where_and_ids():
    baking = plan(where={"category": "baking"})
    assert {b.category for b in baking.suites[0].behaviors} == {"baking"}
    two = plan(where={"category": "baking|soups", "functional": "standard"})
    assert {(b.category, b.functional) for b in two.suites[0].behaviors} == {
        ("baking", "standard"),
        ("soups", "standard"),
    }
    assert {"context"} <= {t for b in plan(where={"tags": "context"}).suites[0].behaviors for t in b.tags}
    assert set(ids(plan(ids=["bagels", "sourdough_loaf"]))) == {"bagels", "sourdough_loaf"}
    assert {len(of.suites[1].behaviors) for of in (baking, two)} == {60}  # they do not speak of the twin


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"where": {"categry": "baking"}}, "--where filters by functional, category or tags, not by 'categry'", ""),
        ({"where": {"category": "bakery"}}, "kitchen has no category 'bakery'", "baking"),
        ({"ids": ["bagel"]}, "kitchen has no behavior 'bagel'", "did you mean bagels"),
        ({"ids": ["focaccia"], "suite": "kitchen,split=test"}, "kitchen has no behavior 'focaccia'", "check the split"),
        ({"where": {"category": "baking", "tags": "context"}, "ids": ["bagels"]}, "kitchen has no tags 'context'", ""),
        ({"suite": "kitchen,split=tset"}, "split is 'tset'", "did you mean test"),
        ({"suite": "kitchen,limit=many"}, "limit = 'many'", ""),
        ({"suite": "kitchen,limit=0"}, "limit", ""),
        ({"suite": "kitchen,where=baking"}, "where = 'baking'", ""),
        ({"target": "openai/x"}, "no target is called", "did you mean openai:x"),
        ({"target": "scripted", "attack": "prefil"}, "no attack is called", "prefill"),
        ({"defense": "self-remind"}, "no defense is called", "self_reminder"),
        ({"judge": "refusal"}, "no judge is called", "refusal_words"),
        ({"benign": "kitchen"}, "kitchen holds behaviors that are not benign", "--benign none"),
        ({"target": "function:json:dumps", "attack": "prefill"}, "prefill needs prefill, which function", "openai"),
        ({"target": "openai:m", "attack": ["direct", "prefill"]}, "prefill needs prefill", "prefill=continue"),
        ({"suite": "kitchen-talk", "target": "openai:m"}, "kitchen-talk needs its prompts sent raw", "style=instr"),
        ({"target": "function:nothing_like_it:f"}, "there is no module nothing_like_it", "PYTHONPATH"),
        ({"target": "function:json:nothing"}, "nothing", "module:name"),
        ({"target": [f"openai:m,base_url=http://{h}/v1" for h in "ab"]}, "two targets called openai:m", "served_as"),
        (
            {
                "defense": [
                    {"use": "self_check", "model": {"use": "openai", "model": "m", "base_url": f"http://{h}/v1"}}
                    for h in "ab"
                ]
            },
            "two defenses called self_check,model=openai:m would share their rows",
            "served_as",
        ),
        ({"defense": "backtranslation,threshold=-2"}, "backtranslation needs weights", "backtranslation:smollm2"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_up_front(change, message, hint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(SpecError) as error:
        plan(**change)
    assert message in str(error.value)
    assert hint in error.value.hint


def test_a_suite_without_a_judge_needs_one_and_raw_prompts_reach_what_continues_them(tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": {"text": "The soup", "toxicity": 0.1}}\n')
    suite = f"realtoxicityprompts:{tmp_path}"
    with pytest.raises(SpecError, match="realtoxicityprompts has no judge of its own") as error:
        plan(suite=suite)
    assert "--judge" in error.value.hint
    for target in (
        "scripted",
        "function:json:dumps,raw=true",
        {"use": "http", "url": "http://a", "body": "{prompt}", "raw": True},
    ):
        (cell,) = plan(suite=suite, judge="lexicon", target=target, attack="direct").cells
        assert cell.target.sampling.max_tokens == 20
    assert plan(suite=f"{suite},style=instruction", judge="lexicon", target="openai:m,base_url=http://h/v1").cells


def test_a_suites_own_choice_stands_instead_of_the_runs():
    of = plan(suite=[{"use": "kitchen", "limit": 3}, {"use": "kitchen", "split": "val", "ids": ["focaccia"]}], limit=7)
    assert [len(suite.behaviors) for suite in of.suites[:2]] == [3, 1]


# --- the grid ----------------------------------------------------------------------------------------------------


def test_the_product_and_a_targets_own_defense():
    of = plan(
        target=["scripted-kitchen", {"use": "scripted", "defense": "self_reminder"}],
        defense=["none", "self_reminder,closing=Think."],
        attack=["direct", "story"],
        benign="none",
    )
    assert grid(of) == [
        ("kitchen", target, defense, attack, "kitchen")
        for target, defense in [
            ("scripted-kitchen", "none"),
            ("scripted-kitchen", "self_reminder,closing=Think."),
            ("scripted", "self_reminder"),
        ]
        for attack in ("direct", "story")
    ]
    assert [cell.index for cell in of.cells] == list(range(6))
    assert of.cells[0].target.defense is None
    assert of.cells[4].target.defense is not None
    assert plan(target={"use": "scripted", "defense": "none"}, defense="self_reminder").cells[0].target.defense is None


def test_the_benign_twin_comes_once_per_target_and_defense_with_direct():
    of = plan(defense=["none", "self_reminder"], attack=["story", "role_play"], judge="contains:x")
    twins = [row for row in grid(of) if row[0] == "kitchen-benign"]
    assert twins == [
        ("kitchen-benign", "scripted-kitchen", defense, "direct", "refusal_words")
        for defense in ("none", "self_reminder")
    ]
    assert all(cell.benign == (of.suites[cell.suite].label == "kitchen-benign") for cell in of.cells)


def test_the_benign_twin_has_its_suites_split():
    assert [suite.suite.split for suite in plan(suite="kitchen,split=val").suites] == ["val", "val"]
    both = plan(suite=["kitchen,split=val", "kitchen,split=test"])
    assert [(suite.label, suite.suite.split) for suite in both.suites] == [
        ("kitchen", "val"), ("kitchen", "test"), ("kitchen-benign", "val"), ("kitchen-benign", "test"),
    ]  # fmt: skip
    assert [(cell.suite, cell.benign) for cell in both.cells] == [(0, False), (2, True), (1, False), (3, True)]


def test_a_twin_that_two_suites_share_is_run_once(table):
    harmful = table("harmful.csv", [("a", "bake"), ("b", "fry")])
    of = plan(suite=["kitchen", {"use": f"csv:{harmful}", "benign": "kitchen-benign"}])
    assert [row[0] for row in grid(of)] == ["kitchen", "kitchen-benign", "csv"]


def test_a_twin_of_ones_own(table):
    path = table("fine.csv", [("x", "hello")])
    of = plan(benign=f"csv:{path},harmless=true")
    assert [(row[0], row[3]) for row in grid(of)] == [("kitchen", "direct"), ("csv", "direct")]
    assert plan(benign="none").suites[1:] == ()
    assert len(plan(suite="kitchen-benign").cells) == 1


def test_a_twin_that_is_in_the_grid_by_itself_is_not_added():
    of = plan(suite=["kitchen", "kitchen-benign"])
    assert [row[0] for row in grid(of)] == ["kitchen", "kitchen-benign"]
    of = plan(suite=["kitchen", "kitchen-benign"], attack=["story"])
    assert [(row[0], row[3]) for row in grid(of)] == [
        ("kitchen", "story"), ("kitchen-benign", "direct"), ("kitchen-benign", "story"),
    ]  # fmt: skip


def test_two_files_of_one_kind_can_be_told_apart(table):
    paths = [table(name, [(name, "bake")]) for name in ("a.csv", "b.csv")]
    assert [row[0] for row in grid(plan(suite=[f"csv:{path}" for path in paths]))] == ["csv", "csv (2)"]


def test_max_tokens_is_the_suites_unless_said():
    assert {cell.target.sampling.max_tokens for cell in plan().cells} == {256}
    assert plan(sampling={"temperature": 0.5}).cells[0].target.sampling.max_tokens == 256
    assert {cell.target.sampling.max_tokens for cell in plan(sampling={"max_tokens": 7}).cells} == {7}


def test_a_judge_that_steers_is_seen_inside_of_a_router_too():
    attack = {"use": "pair", "attacker": "scripted", "judge": "kitchen"}
    for judge in ("kitchen", {"use": "ensemble", "judges": ["kitchen", "refusal_words"]}):
        assert plan(attack=attack, judge=judge).cells[0].notes == ("the final judge also steered the attack",)
    assert plan(attack=attack, judge="contains:oven").cells[0].notes == ()


def test_notes_and_warnings():
    judge = {"use": "llm", "model": "scripted"}
    assert plan(judge=judge, until_success=True).cells[0].notes == (
        "the final judge also steered the attack", "each attack stopped at its first success",
    )  # fmt: skip
    assert plan(judge=judge, until_success="advbench").cells[0].notes == ("each attack stopped at its first success",)
    assert "temperature 0" in plan(samples=3).warnings[0]
    assert plan(samples=3, sampling={"temperature": 1}).warnings == ()
    assert "no revision" in plan(target="function:json:dumps").warnings[0]
    assert plan(target="function:json:dumps,revision=1").warnings == ()


# --- hosts -------------------------------------------------------------------------------------------------------


def test_offline_allows_this_machine_only(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    here = {**KITCHEN, "target": "openai:m,base_url=http://127.0.0.1:9/v1"}
    assert make_plan(run_spec(here), offline=True).hosts == ("127.0.0.1",)
    assert plan(target="openai:m").hosts == ("api.openai.com",)
    for change in (
        {"target": "openai:m"},
        {"judge": {"use": "llm", "model": "openai:m"}},
        {"suite": "csv:http://example.invalid/a.csv"},
    ):
        with pytest.raises(SpecError, match="--offline, but prompts would be sent to"):
            make_plan(run_spec({**KITCHEN, **change}), offline=True)


@walk_cases(
    ("host", "here"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("[::1]", True),
        ("a.localhost", True),
        ("example.com", False), ("10.0.0.1", False), ("localhost.example.com", False), ("", False), ("0.0.0.0", False),
    ],
)  # fmt: skip
def test_what_is_this_machine(host, here):
    assert loopback(host) == here
    if not here:
        with pytest.raises(SpecError):
            check_offline([host])


# --- test cases from elsewhere -----------------------------------------------------------------------------------


def test_cases_from_a_file(tmp_path):
    path = tmp_path / "cases.json"
    turns = [
        {"role": "system", "content": "s"},
        {"role": "user", "text": "u"},
        {"role": "assistant", "content": "Sure"},
    ]
    path.write_text(json.dumps({"bagels": ["one", "two"], "sourdough_loaf": [turns]}))
    cases = cases_file(str(path)).cases
    assert [case.chat[0].text for case in cases["bagels"]] == ["one", "two"]
    assert [(m.role, m.text) for m in cases["sourdough_loaf"][0].chat] == [
        ("system", "s"), ("user", "u"), ("assistant", "Sure"),
    ]  # fmt: skip
    of = plan(cases_from=str(path), attack=[], ids=["bagels", "soda_bread"])
    assert [row[3] for row in grid(of)] == ["cases:cases.json", "direct"]
    assert of.warnings == ("cases:cases.json has no test case of 1 of 2 behaviors of kitchen: they count as errors",)
    with pytest.raises(SpecError, match=r"cases\.json needs prefill, which function:json:dumps does not give"):
        plan(cases_from=str(path), attack=[], target="function:json:dumps")
    with pytest.raises(SpecError, match=r"has no test case of any behavior in kitchen"):
        plan(cases_from=str(path), attack=[], ids=["soda_bread"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read test cases"),
        ("{", "bad JSON"),
        ("[]", "not an object of behavior ids"),
        ('{"a": "b"}', "a holds str, not a list"),
        ('{"a": [3]}', "neither text nor a list"),
        ('{"a": [[]]}', "neither text nor a list"),
        ('{"a": [[{"role": "me", "text": "x"}]]}', "neither text nor a list"),
        ('{"a": [[{"role": "user"}]]}', "neither text nor a list"),
        ('{"a": [["user"]]}', "neither text nor a list"),
    ],
)
def test_files_that_hold_no_cases(tmp_path, text, message):
    path = tmp_path / "cases.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SpecError, match=message):
        cases_file(str(path))


# --- keys --------------------------------------------------------------------------------------------------------

REMOTE = "openai:m,base_url=http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    "change",
    [
        {"target": f"{REMOTE},lanes=2"},
        {"target": f"{REMOTE},timeout=5,tries=1"},
        {"target": "openai:m,base_url=http://localhost:10/v1"},
        {"target": {"use": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}},
        {"target": f"{REMOTE},price_in=3,price_out=4"},
        {"attack": {"use": "direct"}},
        {"suite": ["kitchen"]},
        {"defense": "none"},
        {"judge": "kitchen"},
        {"judge": {"use": "kitchen"}},
        {"sampling": {"max_tokens": 256}},
        {"benign": "kitchen-benign"},
        {"limit": 1000},
    ],
    ids=str,
)
def test_what_does_not_change_a_runs_key(change):
    assert key(target=REMOTE) == key(**{"target": REMOTE, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"target": f"{REMOTE},revision=2"},
        {"target": f"{REMOTE},served_as=b"},
        {"target": f"{REMOTE},system=Be kind."},
        {"target": [REMOTE, "scripted"]},
        {"attack": "story"},
        {"attack": "direct,seed=1"},
        {"attack": ["direct", "story"]},
        {"suite": "kitchen,split=val"},
        {"limit": 5},
        {"defense": "self_reminder"},
        {"judge": "advbench"},
        {"sampling": {"max_tokens": 127}},
        {"sampling": {"temperature": 0.1}},
        {"samples": 2},
        {"seed": 1},
        {"budget": {"asks": 9}},
        {"until_success": True},
        {"until_success": "advbench"},
        {"benign": "none"},
        {"fresh": "now"},
    ],
    ids=str,
)
def test_what_changes_a_runs_key(change):
    assert key(target=REMOTE) != key(**{"target": REMOTE, **change})


def test_the_keys_of_a_cell_hold_what_decides_its_rows_and_no_more():
    def keys(**change):
        return plan(**{"target": REMOTE, **change}).cells[0].keys

    base = keys()
    for change, changed in [
        ({"sampling": {"temperature": 0.1}}, {"target"}),
        ({"sampling": {"max_tokens": 9}}, {"target"}),
        ({"defense": "self_reminder"}, {"target"}),
        ({"target": f"{REMOTE},revision=2"}, {"target"}),
        ({"fresh": "now"}, {"target"}),
        ({"attack": "story"}, {"attack"}),
        ({"seed": 1}, {"attack"}),
        ({"judge": "advbench"}, {"judge"}),
        ({"until_success": True}, {"until"}),
        ({"limit": 3}, set()),
        ({"samples": 3}, set()),
        ({"budget": {"asks": 3}}, set()),
        ({"target": f"{REMOTE},lanes=2,timeout=9"}, set()),
    ]:
        now = keys(**change)
        assert {name for name in base if base[name] != now[name]} == changed, change


def test_moving_a_file_does_not_change_the_key_and_changing_it_does(table, tmp_path):
    path = table("a.csv", [("a", "bake")])
    before = key(suite=f"csv:{path}")
    (tmp_path / "deep").mkdir()
    moved = tmp_path / "deep" / "a.csv"
    moved.write_bytes((tmp_path / "a.csv").read_bytes())
    assert key(suite=f"csv:{moved}") == before
    moved.write_text("id,text\na,fry\n")
    assert key(suite=f"csv:{moved}") != before


def test_names_of_runs(table):
    assert plan().name("abcdef012345") == "kitchen-abcdef"
    assert plan(suite=f"csv:{table('a.csv', [('a', 'x')])}").name("abcdef") == "csv-abcdef"


# --- draws -------------------------------------------------------------------------------------------------------


def test_draws_are_graded_and_differ_or_the_plan_says_why_not():
    warm = {"sampling": {"temperature": 1.0}, "until_success": True, "benign": "none"}
    for change, message in [
        ({"draws": 5}, "at temperature 0, where every draw of scripted.* is the same answer"),
        ({"draws": "auto"}, "at temperature 0"),
        ({"draws": "auto", **warm}, "the operations of scripted.* are not known"),
        ({"draws": 5, "sampling": {"temperature": 1.0}, "until_success": False}, "nothing grades the draws"),
        ({"draws": 0, **warm}, "draws"),
        ({"draws": "many", **warm}, "draws"),
    ]:
        with pytest.raises(SpecError, match=message):
            plan(**{"until_success": True, **change})
    one, five = plan(**warm), plan(**warm, draws=5)
    assert plan(**warm, draws=1).json() == one.json()
    assert five.cells[0].json()["sampling"]["draws"] == 5  # so that comparisons see it
    assert five.cells[0].notes[-1] == "5 draws graded each new best candidate, and its rate is at_k of all of them"
    assert {name for name, key in five.cells[0].keys.items() if key != one.cells[0].keys[name]} == {"draws"}
    most = [estimate(plan(**warm, judge=JUDGE, limit=4, draws=n), None)["asks"] for n in (1, 5)]
    assert most == [{"target": 8, "judge": 8}, {"target": 4 * 5 + 4, "judge": 4 * 5 + 4}]


# --- bounds ------------------------------------------------------------------------------------------------------


def test_bounds_hold_roles_samples_defense_and_budget():
    cell = estimate(plan(limit=4, attack="best_of_n,n=8", samples=2, benign="none"), None)["cells"][0]
    assert (cell["behaviors"], cell["cases"]) == (4, 32)
    assert cell["asks"]["target"] >= 32
    capped = estimate(plan(limit=4, attack="best_of_n,n=8", benign="none", budget={"asks": 5}), None)["cells"][0]
    assert capped["asks"]["target"] == 4 * 5
    judged = estimate(plan(limit=4, judge={"use": "llm", "model": "scripted"}, samples=3, benign="none"), None)
    assert judged["asks"] == {"target": 12, "judge": 12}
    assert judged["answer_tokens"] == 12 * 256
    assert (judged["seconds"], judged["cost"]) == (None, None)
    until = estimate(plan(limit=4, until_success=True, benign="none"), None)
    assert until["asks"]["target"] == 8
    story = estimate(plan(limit=4, attack="story", until_success=True, budget={"asks": 1}, benign="none"), None)
    assert story["asks"]["target"] == 4 + story["cells"][0]["cases"]  # the draws that grade a search are in its budget
