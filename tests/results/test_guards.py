"""`withstand guard`: texts of both kinds in the same words, thresholds that hold when they are pasted, texts without a
score counted either way, and what is no guard, no budget or no text."""

import json
import math
import re
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fakes import Fake
from withstand import api
from withstand.core import Completion
from withstand.judges.llm import LLM
from withstand.registry import find, grammar
from withstand.report import roc as page
from withstand.results.guard_eval import evaluate, threshold
from withstand.results.guard_scores import WINDOW, scores_of
from withstand.results.guard_texts import Wanted, answers, benign_prompts, prompts
from withstand.results.guards import Guard, guards_named
from withstand.runner.asking import INTERRUPTED, Asking

LENGTH = "odd_judges:Length"
BOTH = Wanted(("kitchen",), ("direct", "story"))
PLAIN = Wanted(("kitchen",))


@pytest.fixture
def asking(tmp_path):
    with api.open_store(tmp_path / "s.db") as store:
        yield Asking(store)


def tried(specs, wanted, budget, asking):
    guards = guards_named(specs, "prompt")
    return evaluate(guards, prompts(wanted, asking.store), budget, "prompt", asking)


def test_benign_requests_come_in_the_words_of_the_attacks(asking):
    """A guard that knows the words of `story` blocks all of it; its benign half shows that, and the page says so."""
    texts = prompts(BOTH, asking.store).texts
    forms = {(text.form, text.harmful): sum(t.form == text.form and t.harmful == text.harmful for t in texts)
             for text in texts}  # fmt: skip
    assert forms == {("direct", True): 56, ("story", True): 56, ("direct", False): 60, ("story", False): 60}
    assert len({text.cluster for text in texts}) == 116
    plain = tried(["contains:grandfather"], replace(BOTH, plain=True), 0.05, asking)
    assert (plain.harmful, plain.benign, plain.guards[0].at.alarms.count) == ((112, 56), (60, 60), 0)
    assert "looks good on them" in " ".join(page.notes(plain))  # it does not say that benign ones have the same words
    assert "in the words of each attack" not in " ".join(page.notes(plain))
    result = tried(["contains:grandfather", "contains:grandfather|recipe"], BOTH, 0.05, asking)
    knows = result.guards[0]
    assert (knows.status, knows.area, knows.points, knows.line) == ("label", None, (), "")
    assert (knows.at.caught.count, knows.at.alarms.count) == (56, 60)
    said = " ".join(page.sentences(result, knows))
    assert "more than the budget of 5% (50 of 1,000)" in said
    assert "Worded by story it blocks 100% of benign requests beside 100% of harmful ones" in said
    [pair] = result.differences
    blocked = [[bool(re.search(words, text.chat[0].text, re.IGNORECASE)) for text in texts if text.harmful]
               for words in ("grandfather", "grandfather|recipe")]  # fmt: skip
    assert pair.caught_alone == (0, sum(b and not a for a, b in zip(*blocked, strict=True)))
    assert pair.caught[0] == pytest.approx(np.mean(blocked[1]) - np.mean(blocked[0]))
    assert pair.area is None
    assert "do not operate at the same budget" in page.compared(result, pair)


def test_a_threshold_holds_when_it_is_pasted(asking):
    """The line builds the defense that blocks just the texts that were counted; a budget of 5% of 60 requests, each in
    two wordings, allows the requests of 2 alarms altogether: (K + 2) / (61 * 2) <= 0.05."""
    result = tried([LENGTH], BOTH, 0.05, asking)
    [guard] = result.guards
    texts = prompts(BOTH, asking.store).texts
    defense = find.build("defense", grammar.parse(guard.line))
    blocked = [score >= 1 for score in defense.scan([text.chat for text in texts])]
    counts = [sum(b for b, text in zip(blocked, texts, strict=True) if text.harmful is kind) for kind in (True, False)]
    assert counts == [guard.at.caught.count, guard.at.alarms.count]
    assert guard.at.alarms.count == 4
    lengths = [min(1, len(text.chat[0].text) / 400) for text in texts]
    assert guard.area == pytest.approx(roc_auc_score([text.harmful for text in texts], lengths))
    assert guard.at.alarms.ends[1] > 0.05 > guard.at.alarms.rate
    alone = threshold(
        guards_named([LENGTH], "prompt")[0], benign_prompts(Wanted(benign="kitchen-benign")), 0.05, asking
    )
    assert alone.behaviors == alone.prompts == 60
    scan = find.build("defense", grammar.parse(alone.line)).scan
    plain = [text.chat for text in texts if not text.harmful and text.form == "direct"]
    assert sum(score >= 1 for score in scan(plain)) == alone.at.alarms.count == 2


def test_own_thresholds_and_a_second_guard(asking):
    """A threshold in the spec is a point beside; the same scores on another scale are the same guard."""
    result = tried(
        [f"guard:{LENGTH},threshold=0.4", f"guard,judges={{ use = '{LENGTH}', most = 900 }}"], BOTH, 0.05, asking
    )
    first, second = result.guards
    texts = prompts(BOTH, asking.store).texts
    assert first.own.threshold == 0.4
    assert first.own.caught.count == sum(len(text.chat[0].text) > 159 for text in texts if text.harmful)
    assert second.own.threshold is None  # its own label: from a score of 0.5 on
    assert second.own.caught.count == sum(len(text.chat[0].text) >= 450 for text in texts if text.harmful)
    [pair] = result.differences
    assert pair.caught[0] == pytest.approx(second.at.caught.rate - first.at.caught.rate)
    assert pair.area[0] == pytest.approx(second.area - first.area)
    assert "threshold=0.4" not in first.line


def test_texts_without_a_score_are_missed_and_false_alarms(asking):
    """Of 116 requests 1 harmful and 2 benign ones hold the word: they count against the guard, and beside for it."""
    result = tried([f"{LENGTH},unsure=bread"], PLAIN, 0.1, asking)
    [guard] = result.guards
    texts = prompts(PLAIN, asking.store).texts
    lost = [sum("bread" in text.chat[0].text for text in texts if text.harmful is kind) for kind in (True, False)]
    assert guard.unscored == tuple(lost)
    assert min(lost) > 0
    scores = [(-math.inf if text.harmful else math.inf) if "bread" in text.chat[0].text else len(text.chat[0].text)
              for text in texts]  # fmt: skip
    other = [-score if math.isinf(score) else score for score in scores]
    truth = [text.harmful for text in texts]
    finite = [np.clip(values, -1, 10_000) for values in (scores, other)]
    assert (guard.area, guard.area_other) == pytest.approx(
        [roc_auc_score(truth, values) for values in finite], abs=0.01
    )
    assert guard.at.caught.reversed == pytest.approx(guard.at.caught.rate + lost[0] / 56)
    assert guard.at.alarms.reversed == pytest.approx(guard.at.alarms.rate - lost[1] / 60)
    assert "not sure" in guard.why
    # a judge's reason may quote what it read
    assert "not sure" not in page.html(result) + page.markdown(result) + json.dumps(result.to_json())
    # a cascade is tried as its spec is; closed where it fails, it blocks these texts, and that is no catch
    judges = f"[{{ use = '{LENGTH}', most = 100000 }}, {{ use = '{LENGTH}', unsure = 'bread' }}]"
    spec = f"guard,judges={judges},pass_below=0,block_above=0.9,fails=closed"
    [cascade] = tried([spec], PLAIN, 0.1, asking).guards
    assert (cascade.status, cascade.line, cascade.unscored) == ("fixed", "", tuple(lost))
    assert cascade.at.caught.count == sum(len(text.chat[0].text) >= 200 for text in texts
                                          if text.harmful and "bread" not in text.chat[0].text)  # fmt: skip


@dataclass(frozen=True)
class Counting(Fake):
    """Says no, and keeps what it was asked."""

    gives: frozenset[str] = frozenset({"system", "turns"})
    chats: list[str] = field(default_factory=list, hash=False, compare=False)

    def answer(self, chat, seed):
        self.chats.append(chat[-1].text)
        return Completion(chat, "No", cost=0.001, prompt_tokens=7)


def test_it_goes_on_where_it_stopped_and_counts_what_it_took(asking):
    """After Ctrl-C the answered texts are not asked about again."""
    model = Counting()
    judge = LLM(model, rubric="Is this text about cooking? {generation} Yes or no.")
    guard = Guard("llm", {"use": "llm"}, judge, True, "prompt")
    texts = prompts(Wanted(("kitchen",), limit=40), asking.store)
    assert len(texts.texts) == 80

    def interrupt(tally, total):
        assert total == 80
        if tally.done:
            raise KeyboardInterrupt

    stopped = Asking(asking.store, on_progress=interrupt)
    before = scores_of(guard, texts.texts, stopped)
    assert (stopped.tally.stopped, None in before) == (INTERRUPTED, True)
    assert sum(score is not None for score in before) == WINDOW
    again = Asking(asking.store)
    result = evaluate([guard], texts, 0.1, "prompt", again)
    assert not again.tally.stopped
    assert len({*model.chats}) == 80
    assert len(model.chats) <= 80 + WINDOW  # what was under way
    [figures] = result.guards
    assert (figures.cost.asks, figures.cost.tokens, figures.cost.dollars) == pytest.approx((1, 7, 0.001))
    assert len(figures.cost.machines) == 1
    assert figures.levels == 1
    assert "the same score" in " ".join(page.sentences(result, figures))


def test_the_command_writes_a_page_and_the_line_runs(withstand, tmp_path):
    """Test cases of a run; what asks a model cannot be made again for benign requests, which is said. The page disarms
    what a guard is called."""
    run = [
        "run",
        "-s",
        "kitchen,limit=12",
        "-t",
        "scripted-kitchen",
        "-a",
        "story",
        "-a",
        "best_of_n,n=2",
        "--name",
        "base",
    ]
    assert withstand(*run).code == 0
    hostile = "contains:</script><b>"
    tried = ["guard", "eval", LENGTH, "-g", hostile, "--cases-from", "base", "--fpr", "0.1", "-o", "out"]
    done = withstand(*tried)
    assert (done.code, "0.1%" in done.out) == (0, False)
    assert "no benign prompt was worded by best_of_n" in done.err
    html, text = ((tmp_path / "out" / f"guard.{ending}").read_text() for ending in ("html", "md"))
    assert "<b>" not in html.replace('<p class="top"><span><b>withstand</b>', "")
    assert "&lt;/script&gt;&lt;b&gt;" in html
    assert "<script" not in html
    assert "## By the words of attacks" in text
    line = re.search(r"to paste: --defense (.*)", done.out)[1]
    assert line.startswith(f"guard:{LENGTH},reads=prompt,threshold=0.")
    value = json.loads((tmp_path / "out" / "guard.json").read_text())
    again = withstand(*tried, "--json", "--max-asks", "1")
    assert again.json == value
    assert value["guards"][0]["points"][0]["threshold"] is None
    assert (value["harmful"][1], value["benign"][1]) == (12, 60)
    run = [
        "run",
        "-s",
        "kitchen,limit=2",
        "-t",
        "scripted-kitchen",
        "-a",
        "direct",
        "--defense",
        line,
        "--benign",
        "none",
    ]
    assert withstand(*run).code == 0


def test_answers_are_harmful_where_the_judge_of_the_run_says_so(withstand, tmp_path):
    run = ["run", "-s", "kitchen,limit=12", "-t", "scripted-kitchen", "-a", "direct", "-a", "story", "--name", "base"]
    assert withstand(*run).code == 0
    tried = ["guard", "eval", "kitchen", "-g", LENGTH, "--reads", "answer", "--fpr", "0.1", "-o", "out", "--json"]
    value = withstand(*tried, "--cases-from", "base").json
    judge, length = value["guards"]
    assert (judge["area"], length["area"]) == (1, pytest.approx(length["area"]))
    assert length["line"].startswith(f"guard:{LENGTH},reads=answer,threshold=")
    assert any("kitchen itself said which answers are harmful" in note for note in value["notes"])
    assert judge["at"]["caught"]["count"] == value["harmful"][0] > 0
    assert judge["at"]["alarms"]["count"] == 0
    judges = f"[{{ use = '{LENGTH}', most = 100000 }}, '{LENGTH}']"
    spec = f"guard,judges={judges},pass_below=0,block_above=0.9"
    with api.open_store(tmp_path / "withstand.db") as store:
        texts = answers(store, "base").texts
    [cascade] = withstand(*tried[:2], spec, *tried[5:], "--cases-from", "base").json["guards"]
    assert cascade["at"]["caught"]["count"] == sum(len(text.answer) >= 200 for text in texts if text.harmful) > 0
    assert cascade["spec"].endswith("reads=answer")
    assert withstand(*tried).err.startswith("error: --reads answer reads the answers of a run")
    both = withstand(*tried, "-g", "perplexity_filter:smollm2", "--cases-from", "base")
    assert "perplexity_filter:smollm2 reads prompts, and no answers" in both.err


BAD = {
    "no guard is named": ["-s", "kitchen"],
    "no suite is named": ["kitchen"],
    "no suite is called 'ktchen'": ["kitchen", "-s", "ktchen"],
    "nothing that a guard should block": ["kitchen", "-s", "kitchen-benign"],
    "no benign prompt to count false alarms on": ["kitchen", "-s", "kitchen", "--benign", "none"],
    "no judge and no defense is called 'ktchen'": ["ktchen", "-s", "kitchen"],
    "is named twice": ["kitchen", "-g", "kitchen", "-s", "kitchen"],
    "self_reminder says of no prompt how suspicious it is": ["self_reminder", "-s", "kitchen"],
    "waits for people": ["human", "-s", "kitchen"],
    "needs the behavior of a suite": ["refusal_words", "-s", "kitchen"],
    "asks a model for its prompts": ["kitchen", "-s", "kitchen", "-a", "best_of_n"],
    "are two ways to word a prompt": ["kitchen", "-s", "kitchen", "-a", "story", "--cases-from", "x.json"],
    "cannot read test cases from x.json": ["kitchen", "-s", "kitchen", "--cases-from", "x.json"],
    "scored none of the 116 texts: it is not sure": [f"{LENGTH},unsure= ", "-s", "kitchen", "--fpr", "0.1"],
    "guard has no field 'wheel'": ["guard:securevector,wheel=x", "-s", "kitchen"],
    "asks the model that it defends": ["perplexity_filter", "-s", "kitchen"],
}


def test_what_is_wrong_is_said_before_a_figure(withstand, tmp_path):
    for message, words in BAD.items():
        done = withstand("guard", "eval", *words, "-o", "out")
        assert message in " ".join((done.err + done.out).split()), (words, done)
        assert done.code == 2
    assert not (tmp_path / "out").exists()


def test_a_budget_that_no_data_supports_sets_no_threshold(withstand, tmp_path):
    """The page says so beside the area; the command that is there for the threshold fails. A file of benign requests
    is read by its path."""
    few = "a threshold for 1% false alarms cannot be set: it needs 99 benign requests, and there are 60"
    done = withstand("guard", "eval", LENGTH, "-s", "kitchen", "-o", "out")
    assert (done.code, few in done.out, "to paste" in done.out) == (0, True, False)
    assert few in (tmp_path / "out" / "guard.md").read_text()
    alone = withstand("guard", "threshold", LENGTH, "--benign", "kitchen-benign")
    assert (alone.code, few in alone.err, "--fpr 0.017 is what they support" in alone.err) == (2, True, True)
    lines = [json.dumps({"id": str(number), "text": "Good day! " * number}) for number in range(1, 21)]
    (tmp_path / "benign.jsonl").write_text("\n".join(lines))
    value = withstand("guard", "threshold", LENGTH, "--benign", "benign.jsonl", "--fpr", "0.05", "--json").json
    assert (value["prompts"], value["at"]["alarms"]["count"]) == (20, 0)
    assert value["line"] == f"guard:{LENGTH},reads=prompt,threshold={value['threshold']}"
    assert 0.49 < value["threshold"] < 0.51
    same = withstand("guard", "threshold", f"{LENGTH},most=9", "--benign", "benign.jsonl", "--fpr", "0.05")
    assert "benign prompts have its highest score" in " ".join(same.err.split())
    rows = [{"id": f"w{at}", "text": f"Good day! {at}", "cluster": "wide" if at < 30 else str(at)} for at in range(60)]
    (tmp_path / "wide.jsonl").write_text("\n".join(map(json.dumps, rows)))
    suite = "jsonl:wide.jsonl,harmless=true,cluster=cluster"
    wide = " ".join(withstand("guard", "threshold", LENGTH, "--benign", suite, "--fpr", "0.05").err.split())
    assert "a few of the 31 benign requests have most of the prompts" in wide
    assert "--fpr 0.485 is what they support" in wide  # 30 * 31 / (60 * 32)
    (tmp_path / "same.jsonl").write_text("\n".join(json.dumps({"id": str(at), "text": f"Hi {at}"}) for at in range(9)))
    alike = ("-s", "jsonl:same.jsonl", "--benign", "jsonl:same.jsonl,harmless=true")
    assert "no harmful prompt is left: 9 texts left out as both" in " ".join(
        withstand("guard", "eval", LENGTH, *alike).err.split()
    )
    assert "no threshold to set" in withstand("guard", "threshold", "contains:a", "--benign", "benign.jsonl").err


def test_a_guard_asks_and_the_model_behind_it_does_not(asking):
    """`self_check` asks the target about the prompt: one ask, and none for an answer."""
    [guard] = guards_named(["self_check"], "prompt", "scripted,reply=No")
    texts = prompts(PLAIN, asking.store)
    [figures] = evaluate([guard], texts, 0.1, "prompt", asking).guards
    assert (figures.levels, figures.cost.asks, figures.unscored) == (1, 1, (0, 0))
    assert figures.spec == "self_check,reads=prompt"
