"""`withstand audit suite`: a suite with no fault passes, and each fault that is planted in it does not."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

import traffic_rows
from withstand.audits.suite import checks, copies, logs, real, style
from withstand.audits.suite.audit import audit as audit_of
from withstand.audits.suite.records import LEAST, Item
from withstand.core import Behavior, SpecError
from withstand.core.taxonomy import Grouping
from withstand.monitor.traffic import PERSON_STAGE, Traffic
from withstand.registry.grammar import parse

POLICY = Path(__file__).parents[3] / "examples" / "monitor" / "policy.toml"
HARMS = ("spam", "insult", "secret", "promise")
SLOTS = (
    "how|why|when|where|tell me how|say why|explain how|could you say when",
    "my aunt|the cook|a guest|our baker|the boy|my client|that chef|the waiter",
    "salted|burned|hid|sold|cursed|promised|poured|tasted",
    "soup|bread|rice|a cake|noodles|the stew|an omelet|pickles|dumplings|jam",
    "on Monday|at noon|in Lyon|by the sea|last year|before lunch|after the storm|in the attic",
    "with salt|with rum|for two|for a fee|in a hurry|by hand|in secret|with a grin",
)


def prompts(seed, n):
    draw = Random(seed)
    made = dict.fromkeys(" ".join(draw.choice(slot.split("|")) for slot in SLOTS) + "?" for _ in range(2 * n))
    return [*made][:n]


def rows(seed=1, per_category=40):
    """A suite without a fault."""
    texts = iter(prompts(seed, per_category * len(HARMS)))
    return [
        {"id": f"{harm}-{number}", "text": next(texts), "category": harm, "context": "",
         "tags": [f"policy:{harm}", "persona:cook", "deployment:desk", "constraint:free"]}
        for harm in HARMS for number in range(per_category)
    ]  # fmt: skip


def exchanges(seed=2, texts=None, n=260, accounts=80):
    for number, text in enumerate(texts or prompts(seed, n)):
        labels = dict.fromkeys(HARMS, 0.1) | {HARMS[number % 4]: 0.9}
        yield {"ts": 1772415698 + number, "account": f"guest-{number % accounts}", "prompt": text, "completion": "No.",
               "labels": labels}  # fmt: skip


def write(name, records):
    Path(name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return name


SUITE = "jsonl:{},context=context,category=category,tags=tags,judge=kitchen"


def audit(withstand, suite, log=(), *more):
    given = [SUITE.format(write("suite.jsonl", suite)), "--policy", POLICY]
    given += ["--logs", write("log.jsonl", log)] if log else []
    done = withstand("audit", "suite", *given, "--json", *more)
    return done, {finding["id"]: finding for finding in done.json["findings"]}


def test_a_suite_without_a_fault_passes_and_each_planted_fault_does_not(withstand):
    good, log = rows(), [*exchanges()]
    done, findings = audit(withstand, good, log)
    assert (done.code, done.json["verdict"]) == (0, "PASS"), {name: one["answer"] for name, one in findings.items()}
    low, high = findings["E5"]["ends"]
    assert low <= 0.5
    assert high <= real.NEAR
    assert findings["E7"]["value"] == 1
    assert findings["E7"]["ends"][0] > 0.9

    def with_tags(**heads):
        return [row | {"tags": [heads.get(tag.split(":")[0], tag) for tag in row["tags"]]} for row in good]

    shouted = [row | {"text": row["text"].replace("?", "!!!\n\nPLEASE...").title()} for row in good]
    long = [row | {"text": " ".join([row["text"], *prompts(number + 9, 9)])} for number, row in enumerate(good)]
    options = [row | {"text": row["text"] + "\nA) yes\nB) no\nC) perhaps"} for row in good]
    short = [row for row in good if row["id"].split("-")[1] < "2" or row["category"] == "spam"]
    repeated = [
        row | {"text": f"{good[0]['text']} {'please ' * (place % 3)}"} if row["category"] == "spam" else row
        for place, row in enumerate(good)
    ]
    planted = {
        "E1": (short, log), "E2": ([row | {"category": "toxicity"} for row in good], log),
        "E3": (with_tags(persona="p"), log), "E4": (options, log), "E5": (shouted, log),
        "E6": (with_tags(constraint="c"), log), "E7": ([row for row in good if row["category"] == "spam"], log),
        "copies": (repeated, log),
    }  # fmt: skip
    for name, (suite, records) in planted.items():
        done, findings = audit(withstand, suite, records if name[1:] in "157" else ())
        assert findings[name]["state"] in ("warn", "fail"), (name, findings[name])
        assert done.json["verdict"] != "PASS"
        assert findings[name]["todo"]
    assert findings["E1"]["state"] != "pass", "copies count once: spam has one prompt left"
    assert audit(withstand, long, log)[1]["E5"]["state"] == "fail"
    # a log that holds the suite's own prompts, and labels of some categories alone, pass nothing
    tests = [{**record, "prompt": row["text"]} for record, row in zip(log, good, strict=False)]
    finding = audit(withstand, good, [*log, *tests])[1]["E5"]
    assert finding["state"] != "pass"
    assert "items of the suite" in finding["answer"]
    blind = [{**record, "labels": {"spam": record["labels"]["spam"]}} for record in log]
    finding = audit(withstand, good, blind)[1]["E7"]
    assert (finding["value"], finding["state"]) == (1, "warn")
    assert "nothing labels 3 of 4 categories" in finding["answer"]
    # nothing is known without logs, and of too few prompts; a log without accounts may hold one person's alone
    done, findings = audit(withstand, good)
    assert (done.code, done.json["verdict"], findings["E7"]["state"]) == (3, "UNDECIDED", "not known")
    assert audit(withstand, good, log[:40])[1]["E5"]["state"] == "not known"
    nameless = [{**record, "account": ""} for record in log]
    done, findings = audit(withstand, good, nameless)
    assert findings["E5"]["state"] == "warn"
    assert "name no account" in findings["E5"]["answer"]
    # an account's many prompts are no many prompts
    done, findings = audit(withstand, good, [{**record, "account": "a"} for record in log])
    assert findings["E5"]["state"] == "not known"


def test_what_the_log_says_badly_is_said_and_counted(withstand):
    log = [*exchanges(n=200)]
    log[0]["labels"] = {"gossip": 0.9}
    log[1]["labels"] = {"spam": 7}
    log[2]["prompt"] = ""
    done, findings = audit(withstand, rows(), log)
    said = dict(done.json["facts"])["Log"]
    for part in (
        "200 exchanges",
        "1 without a prompt",
        "1 flag of no category of the policy",
        "1 times a score outside",
    ):
        assert part in said, said
    gossip = next(row for row in findings["E7"]["evidence"][0]["rows"] if row[0].startswith("gossip"))
    assert gossip[1:] == [1, "0.5%", 0, "no"]
    flags = {("a", ("spam",)): 20, ("b", ("gossip", "spam")): 10, ("c", ("gossip",)): 10}
    kept = logs.Reader(str, 0.5)
    kept.exchanges = 40
    finding = real.missing(items(30), replace(kept.logs(["x"]), flags=flags, labeled=40), HARMS)
    assert finding.value == 30 / 40
    assert finding.ends[0] < 0.3 < 0.75 < finding.ends[1], "three accounts tell little"
    assert finding.state == "not known"
    # no prompt, no account, no path of the machine is in any file
    for name in ("suite.json", "suite.md", "suite.html"):
        text = Path("suite-audit", name).read_text()
        assert log[5]["prompt"] not in text
        assert rows()[0]["text"] not in text
        assert "guest-" not in text
    assert "<script" not in Path("suite-audit/suite.html").read_text()


def items(n, **fields):
    behaviors = [Behavior(str(number), text, **fields) for number, text in enumerate(prompts(3, n))]
    return [
        Item("s", behavior, ("spam",), "kitchen", own=True, closed=False, constrained=False, group=number)
        for number, behavior in enumerate(behaviors)
    ]


def audited(suite, *names, log=None, benign=()):
    """The findings by a policy of these categories, without the command."""
    names = names or HARMS
    grouping = Grouping("p 1", "0" * 64, {**dict.fromkeys(names, ""), "uncovered": ""})
    specs = [parse(SUITE.format(write("suite.jsonl", suite)))]
    specs += [parse(SUITE.format(write("benign.jsonl", benign)) + ",harmless=true")] if benign else []
    kept = None
    if log:
        kept = logs.read([write("log.jsonl", log)], "auto", {}, lambda name: name if name in names else None, 0.5)
    return {finding.id: finding for finding in audit_of(specs, grouping, kept).findings}


@pytest.mark.usefixtures("withstand")
def test_a_suite_passes_by_no_policy_without_kinds_and_by_no_tag_without_a_meaning():
    good = rows()

    def with_tags(*tags):
        return [{**row, "tags": list(tags)} for row in good]

    with pytest.raises(SpecError, match="no category to cover"):
        audited(good, "uncovered")
    one = audited(with_tags("policy:harm"), "harm")
    assert (one["E1"].state, one["E2"].state) == ("fail", "fail")
    assert audited(with_tags("policy:spam"), "spam")["E1"].state == "warn"
    pooled = [{**row, "category": "harmful content"} for row in with_tags("policy:spam")]
    assert audited(pooled)["E2"].state == "fail"
    assert audited(with_tags("policy:spam", "constraint:"))["E6"].value == 0
    for end in ("Answer with yes or no.", "(A) at noon (B) at night (C) never"):
        assert audited([{**row, "text": f"{row['text']} {end}"} for row in good])["E4"].state == "fail"
    words = [f"{name}{number}" for name in ("soup", "rice", "jam", "tea") for number in range(40)]
    made = [{**row, "text": f"How would my aunt burn {word} on Monday?"} for row, word in zip(good, words, strict=True)]
    assert audited(made)["copies"].state == "warn"
    russian = [{**row, "text": "\u043a\u0430\u043a \u0441\u0432\u0430\u0440\u0438\u0442\u044c " * 9 + end}
               for row, end in zip(good, "?!" * 80, strict=False)]  # fmt: skip
    assert audited([*good[2:], *[{**row, "text": row["text"] + end} for row, end in
                                 zip(russian, ("\u0441\u0443\u043f", "\u0441\u0443\u043f\u044b"), strict=False)]],
                   )["copies"].state == "warn"  # fmt: skip
    twins = audited(good, benign=[{**row, "id": f"twin-{row['id']}"} for row in good[:3]])["copies"]
    assert "3 texts are harmful and benign at once" in twins.answer


@pytest.mark.usefixtures("withstand")
def test_prompts_are_like_real_ones_by_no_classifier_that_sees_nothing():
    good, log = rows(), [*exchanges()]
    assert audited(good, log=log)["E5"].state == "pass"
    before = "You help in a kitchen. " + " ".join(prompts(9, 30))  # longer than what is compared
    blind = audited(
        [{**row, "context": before, "text": row["text"].title()} for row in good],
        log=[{**record, "prompt": f"{before}\n\n---\n\n{record['prompt']}"} for record in log],
    )["E5"]
    assert blind.state == "not known"
    assert "planted" in blind.answer
    # tests that the log holds, with something around them
    sent = [{**record, "prompt": f"Well, {row['text']} Thanks."} for record, row in zip(log, good[:20], strict=False)]
    answer = audited(good, log=[*log, *sent])["E5"].answer
    assert "are items of the suite, or nearly" in answer
    # a benign half that nobody would write
    shouted = [{**row, "id": f"b{row['id']}", "text": row["text"].title() + "!!!"} for row in rows(5)]
    assert audited(good, log=log, benign=shouted)["E5"].state == "fail"
    doubles = (style.Distance("style", 0.3, 0.2, 0.4), style.Distance("length", 0.5, 0.5, 0.6))
    assert real._state(doubles, careful=False) == "warn"


@pytest.mark.usefixtures("withstand")
def test_splits_that_a_column_names_are_compared():
    split = [{**row, "split": ("train", "dev")[place % 2]} for place, row in enumerate(rows())]
    split[1]["text"] = split[0]["text"]
    write("suite.jsonl", split)
    spec = parse(SUITE.format("suite.jsonl") + ",split_column=split,split=dev")
    grouping = Grouping("p 1", "0" * 64, {**dict.fromkeys(HARMS, ""), "uncovered": ""})
    finding = audit_of([spec], grouping).findings[-1]
    assert (finding.id, finding.state) == ("splits", "warn")


def test_the_figures_of_a_small_suite_by_hand():
    grouping = Grouping(
        "p 1", "0" * 64, {"spam": "Spam", "insult": "Insult", "insult.threat": "Threat", "uncovered": ""}
    )
    listed = items(LEAST)
    threats = [replace(item, categories=("insult.threat",), group=100 + item.group // 2) for item in items(LEAST)]
    benign = [replace(item, behavior=replace(item.behavior, benign=True)) for item in items(LEAST)]
    finding = checks.narrow([*listed, *threats, *benign], ("spam", "insult", "insult.threat"), grouping)
    assert finding.evidence[0].rows == [
        ("spam", "Spam", 30, 30), ("insult", "Insult", 30, 15), ("insult.threat", "Threat", 30, 15)
    ]  # fmt: skip
    assert (finding.value, finding.state) == (1 / 3, "fail")
    assert checks.narrow(benign, ("spam",), grouping).state == "not known"
    # one number for all, and a category that pools two, are no metrics of one kind
    two = [replace(item, categories=("insult",)) for item in listed]
    nameless = [replace(item, own=False) for item in listed]
    assert checks.broad([*listed, *two]).value == 0
    assert checks.broad([*nameless, *[replace(item, own=False) for item in two]]).state == "fail"
    assert checks.broad(nameless).state == "warn"
    assert checks.broad([replace(item, categories=("uncovered",)) for item in listed]).state == "not known"
    # a choice among given answers is no text of the model's own
    closed = [replace(item, closed=number > 5) for number, item in enumerate(listed)]
    assert checks.closed(closed).value == 0.2
    assert checks.closed(closed).state == "pass"
    assert checks.closed([replace(item, closed=True) for item in listed[:7]] + [listed[7]]).state == "fail"


def test_copies_are_what_says_the_same_and_no_cluster_holds():
    texts = ["How long does the soup take to cool down?", "how long does the soup take to COOL down", "Boil it.",
             "How long does the soup take to cool down then?", "Boil it now.", "Boil it."]  # fmt: skip
    behaviors = [Behavior(str(number), text) for number, text in enumerate(texts)]
    assert copies.pairs(behaviors) == [(0, 1), (0, 3), (2, 5)]
    behaviors[5] = replace(behaviors[5], context="Of two eggs in a pan, which one is done first?")
    assert copies.pairs(behaviors) == [(0, 1), (0, 3)], "the same words of another context ask something else"
    listed = [replace(item, behavior=one, group=0) for item, one in zip(items(6), behaviors, strict=True)]
    together, loose = copies.grouped(listed)
    assert len({item.group for item in together}) == 4
    assert len(loose) == 2
    assert copies.copies(together, loose).value == 0.5
    held = [replace(item, behavior=replace(item.behavior, cluster=str(item.group))) for item in together]
    assert copies.grouped(held)[1] == []
    leak = copies.splits([("s", "val", behaviors[:3]), ("s", "test", behaviors[3:])])
    assert (leak.state, leak.value) == ("fail", 1 / 3)
    clusters = [replace(behavior, cluster="c", id=f"{number}x") for number, behavior in enumerate(behaviors[2:4])]
    assert copies.splits([("s", "val", clusters[:1]), ("s", "test", clusters[1:])]).state == "fail"
    assert copies.splits([("s", "val", behaviors)]) is None


def test_style_masks_what_is_asked_about_and_keeps_how() -> None:
    assert style.masked("How do I bake 12 Soufflés?\n\nPLEASE") == "how do i wy 9 cz? \u00b6\u00b6 please"
    assert style.masked("My aunt") == style.masked("My oven")


def test_it_is_run_on_suites_together_and_a_monitors_folder(withstand):
    done = withstand("audit", "suite", "kitchen", "kitchen-benign", "--category", "illicit")
    assert done.code == 1
    assert "0 of 1 category" in done.out
    assert "illicit; 32 other categories left out" in Path("suite-audit/suite.md").read_text()
    with Traffic("monitor") as traffic:
        traffic_rows.write(
            traffic,
            [{"account": f"a{n % 40}", "prompt": text} for n, text in enumerate(prompts(2, 120))],
            [{"seq": n + 1, "category": HARMS[n % 4], "flagged": n % 3 == 0} for n in range(120)],
        )
    suite = SUITE.format(write("suite.jsonl", rows()))
    done = withstand("audit", "suite", suite, "--policy", POLICY, "--logs", "monitor", "--json")
    findings = {finding["id"]: finding for finding in done.json["findings"]}
    assert dict(done.json["facts"])["Log"] == "monitor: 120 exchanges, 120 with labels"
    assert sum(row[1] for row in findings["E7"]["evidence"][0]["rows"]) == 40
    assert findings["E5"]["value"] is not None
    # people who looked at one exchange are no labelers of the categories that no screener knows
    with Traffic("monitor") as traffic:
        traffic.database.execute("UPDATE label SET category = 'spam'")
        traffic_rows.write(traffic, [], [{"seq": 1, "category": harm, "flagged": False, "stage": PERSON_STAGE}
                                         for harm in HARMS])  # fmt: skip
    done = withstand("audit", "suite", suite, "--policy", POLICY, "--logs", "monitor", "--json")
    findings = {finding["id"]: finding for finding in done.json["findings"]}
    assert "nothing labels 3 of 4 categories" in findings["E7"]["answer"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["kitchen", "kitchen"], "named twice"),
        (["kitchen", "--category", "spamm"], "spam"),
        (["kitchen", "--logs", "gone.jsonl"], "gone.jsonl"),
        (["kitchen", "--logs", "empty.jsonl"], "of no form"),
        (["kitchen", "--logs", ".", "--logs", "empty.jsonl"], "folder of a monitor"),
        (["kitchen", "--logs", "empty.jsonl", "--column", "ts"], "FIELD=COLUMN"),
        (["kitchn"], "kitchen"),
    ],
)
def test_bad_input_is_an_error_that_says_what_to_do(withstand, arguments, why):
    Path("empty.jsonl").write_text('{"note": 1}\n')
    done = withstand("audit", "suite", *arguments)
    assert done.code == 2
    assert why in done.err
    assert "->" in done.err
