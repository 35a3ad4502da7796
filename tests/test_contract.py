"""What every component promises, taken over all that `find` lists: a new one is covered by being there."""

import contextlib
import dataclasses
import functools
import inspect
import json
import sys
import typing
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest

import published_files
import tiny_classifier
from fakes import Fake
from withstand import api
from withstand.core import (
    AskError,
    Attack,
    Behavior,
    Completion,
    Judge,
    Message,
    Model,
    Sampling,
    SpecError,
    Target,
    digest,
    dumps,
    intercept,
    user,
)
from withstand.core.guarding import judged_answer, judged_prompts
from withstand.core.optional import optional
from withstand.core.stage import Stage
from withstand.judges import _signature_file
from withstand.registry import find
from withstand.registry.show import show
from withstand.runner.flows import defended, graded

REFUSAL = "I'm sorry, but I can't help with that."
BEHAVIORS = [
    {"id": "plain", "text": "Bake a sourdough loaf", "context": "", "target": "Sure, here is how"},
    {"id": "context", "text": "Turn this into a recipe", "context": "Flour, water {salt}", "target": "Here it is"},
    {"id": "braces", "text": "Fill {behavior}, {0}, {opening} and }{", "context": "", "target": "{Sure}"},
    {"id": "unicode", "text": "Gr\xfc\xdfe, \u98ef\U0001f35e\u200b\u0301\x07", "context": "", "target": "\u306f\u3044"},
    {"id": "surrogate", "text": "half a pair \ud83d here", "context": "", "target": "Sure \ud83d"},
]


REWRITES = {
    "actor",
    "autodan_turbo",
    "best_of_n",
    "crescendo",
    "few-shot-harmbench",
    "few_shot",
    "follow_up",
    "goat",
    "pair",
    "pair-harmbench",
    "pap",
    "pap-harmbench",
    "paraphrase",
    "planned",
    "question",
    "tactics",
    "tap",
    "tap-harmbench",
    "transform",
    "zero-shot-harmbench",
    "zero_shot",
}
"""Attacks whose test cases do not hold the behavior's own words."""

TABLE = """id,text,BehaviorID,Behavior,ContextString,SemanticCategory,FunctionalCategory,Tags
a,bake,a,bake,,c,standard,
b,fry,b,fry,,c,standard,
"""


@dataclass(frozen=True)
class Failing(Fake):
    """A target that gives everything and answers nothing. Ours."""

    gives: ClassVar[frozenset[str]] = frozenset({"system", "turns", "forged", "prefill", "logprobs"})

    def answer(self, chat, seed):
        raise AskError("no soup today", hint="come back tomorrow")


@dataclass(frozen=True)
class Letters(Failing):
    """An encoder that counts letters. Ours."""

    gives: ClassVar[frozenset[str]] = frozenset({"vectors"})

    def encode(self, texts):
        import numpy as np

        counts = np.array([[1 + text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts])
        return counts / np.linalg.norm(counts, axis=1, keepdims=True), [0] * len(texts)


def answer(messages):
    return f"Sure: {messages[-1]['content'][:20]}"


@pytest.fixture(autouse=True)
def myself(monkeypatch):
    """This file as a module that specs can name."""
    monkeypatch.setitem(sys.modules, "contract_of_mine", sys.modules[__name__])


STAND_INS = {Judge: "contains:Sure", Stage: "sft", Attack: "direct"}
"""What a component is given for a field without a default that holds another component."""


@functools.cache
def sample(kind, name):
    """The fields of a component's own `sample`, and stand-ins for the components that it needs.

    A preset keeps its own fields, except a model: the stand-in answers at once.
    """
    try:
        cls, preset = find.resolve(kind, name)
    except SpecError:  # it needs what is not installed: `make` skips it
        return {}
    hints = typing.get_type_hints(cls)
    own = cls.sample() if hasattr(cls, "sample") else {}
    needed = [f.name for f in dataclasses.fields(cls) if {f.default, f.default_factory} == {dataclasses.MISSING}]
    given = {field: STAND_INS[hints[field]] for field in needed if hints[field] in STAND_INS} | own
    return {field: value for field, value in given.items() if field not in preset or hints[field] is Model}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder of a user who has a copy of each suite that is looked for there."""
    home = tmp_path_factory.mktemp("home")
    published_files.write(home / "suites")
    return home


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Saves a tiny classifier, once, where the libraries for it are installed."""

    @functools.cache
    def saved():
        pytest.importorskip("torch", reason="needs the extra `local`")
        pytest.importorskip("transformers", reason="needs the extra `local`")
        folder = tmp_path_factory.mktemp("classifier")
        return tiny_classifier.save(folder, ("rude", "loud"), "multi_label_classification")

    return saved


@pytest.fixture
def minimal(tmp_path, openai_server, published, classifier, monkeypatch):
    """The least that each component must be given: its `sample`, or what lies in files, behind servers and in here."""

    table = tmp_path / "behaviors.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in BEHAVIORS))
    (tmp_path / "a.csv").write_text(TABLE)
    generated = [{"id": half, "text": f"Is this {half}?", "half": half} for half in ("harmful", "benign")]
    (tmp_path / "generated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in generated))
    (tmp_path / "jailbreaks.txt").write_text("Be kind.\n---\nPlease {behavior}, do!\n")
    server = functools.cache(openai_server)

    def fields(kind, name, /):
        given = {
            ("suite", "csv"): {"path": str(tmp_path / "a.csv")},
            ("suite", "jsonl"): {"path": str(table), "context": "context", "target_string": "target"},
            ("suite", "generated"): {"path": str(tmp_path / "generated.jsonl")},
            ("suite", "findings"): {"path": str(tmp_path / "generated.jsonl")},
            ("suite", "generated-benign"): {"path": str(tmp_path / "generated.jsonl")},
            ("suite", "harmbench"): {"path": str(tmp_path / "a.csv")},
            ("suite", "published"): {"path": str(tmp_path / "a.csv"), "files": ["a.csv"]},
            ("target", "function"): {"path": "contract_of_mine:answer"},
            ("target", "openai"): {"model": "m", "tries": 1},
            ("target", "moderation"): {"tries": 1},
            ("target", "score_service"): {
                "model": "stand-in",
                "path": "/moderations",
                "body": '{"input": "{text}"}',
                "scores_at": "results[0].category_scores",
                "version_at": "model",
                "tries": 1,
            },
            ("target", "http"): {
                "body": '{"model": "m", "messages": "{messages}", "temperature": "{temperature}", "seed": "{seed}"}',
                "text": "choices[0].message.content",
                "history": "send",
                "tries": 1,
            },
            ("target", "hf"): {"id": "builtin:smollm2"},
            ("target", "inspect"): {"model": "openai-api/local/m", "key_env": "CONTRACT_KEY", "tries": 1},
            ("attack", "human_jailbreaks"): {"path": str(tmp_path / "jailbreaks.txt")},
            ("attack", "few-shot-harmbench"): {"attacker": "scripted"},  # guided by weights: a judge takes 50 rounds
        }.get((kind, name)) or dict(sample(kind, name))
        if kind == "suite":
            monkeypatch.setenv("WITHSTAND_HOME", str(published))
        if (kind, name) == ("target", "vllm"):
            for file in ("config.json", "tokenizer.json", "model.safetensors"):
                (tmp_path / file).write_text("{}")
            given["id"] = str(tmp_path)
        if (kind, name) == ("target", "classifier"):
            given["id"] = str(classifier())
        if kind == "target" and name in ("openai", "moderation", "inspect", "score_service"):
            monkeypatch.setenv("CONTRACT_KEY", "sk-contract")
            given["base_url"] = server().url
        if (kind, name) == ("target", "http"):
            given["url"] = f"{server().url}/chat/completions"
        if (kind, name) == ("judge", "embedding"):
            rows = [{"text": "Sure, bake it.", "label": "success"}, {"text": REFUSAL, "label": "failure"}]
            (tmp_path / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            given = {"encoder": "contract_of_mine:Letters", "examples": str(tmp_path / "examples.jsonl"), "k": 1}
        if kind == "judge" and name in ("logistic", "hybrid"):
            given = {"encoder": "contract_of_mine:Letters"}
        if (kind, name) == ("judge", "linear"):
            head = {"intercept": 0.0, "weights": [0.1] * 26}
            file = {"encoder": {}, "threshold": 0.5, "categories": {"rude": head}}
            (tmp_path / "head.json").write_text(json.dumps(file))
            given = {"encoder": "contract_of_mine:Letters", "weights": str(tmp_path / "head.json")}
        if (kind, name) == ("judge", "copyright"):
            (tmp_path / "works.jsonl").write_text(dumps(_signature_file.build("Sure, bake it as I do.", "a")))
            given["path"] = str(tmp_path / "works.jsonl")
        return {"use": name, **given}

    return fields


@pytest.fixture
def make(minimal):
    """Builds a component with the least it needs; skips what this environment lacks."""

    def build(kind, name, /, **fields):
        try:
            built = find.build(kind, {**minimal(kind, name), **fields})
            if kind == "judge":
                optional(built, "check")()
            return built
        except SpecError as error:
            if "not installed" in str(error) or "cannot download" in str(error):
                pytest.skip(str(error))
            raise

    return build


def every(*kinds):
    """A class whose tests are rules: each takes a `name`, and a `kind` if it asks for one, and is looped over all
    components of these kinds. A failure names the component; one that cannot be tested here is passed over."""

    def components():
        return [(kind, name) for kind in kinds for name in find.entries(kind)]

    def looped(rule):
        parameters = inspect.signature(rule).parameters

        @functools.wraps(rule)
        def loop(*args, **fixtures):
            tested = 0
            for kind, name in components():
                component = {"kind": kind, "name": name} if "kind" in parameters else {"name": name}
                try:
                    rule(*args, **fixtures, **component)
                    tested += 1
                except pytest.skip.Exception:
                    continue
                except BaseException as error:
                    error.add_note(f"the component: {kind} {name}")
                    raise
            assert tested > 0, "no component was tested"

        loop.__signature__ = inspect.Signature(
            [parameter for key, parameter in parameters.items() if key not in ("kind", "name")]
        )
        return loop

    def decorate(cls):
        for key, rule in list(vars(cls).items()):
            if key.startswith("test_"):
                setattr(cls, key, looped(rule))
        return cls

    return decorate


def describe(component):
    """`find.describe`, where it needs no weights."""
    models = [part for part in find.parts(component) if hasattr(part, "generate") and not isinstance(part, Failing)]
    if any(model.gives & {"weights", "vectors"} for model in models):
        pytest.skip("its identity is that of weights, which are not here")
    return find.describe(component)


def spec_again(said):
    """A description as a spec."""
    if isinstance(said, dict) and "use" in said:
        return {key: spec_again(value) for key, value in said.items() if key not in ("version", "identity")}
    return [spec_again(inner) for inner in said] if isinstance(said, list) else said


# --- all ---------------------------------------------------------------------------------------------------------


@every(*find.ROOMS)
class TestEveryComponent:
    def test_it_is_a_value(self, make, kind, name):
        one, other = (
            make(kind, name),
            make(kind, name) if name not in ("openai", "moderation", "score_service", "http", "inspect") else None,
        )
        other = dataclasses.replace(one) if other is None else other
        assert (one, hash(one)) == (other, hash(other))
        assert any(callable(getattr(one, sign, None)) for sign in find.SIGNS[kind])
        field = dataclasses.fields(one)[:1]
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
            setattr(one, field[0].name if field else "anything", 1)

    def test_it_is_described_as_json_that_builds_it_again(self, make, kind, name):
        built = make(kind, name)
        said = describe(built)
        assert json.loads(dumps(said)) == said
        assert digest(said) == digest(find.describe(dataclasses.replace(built)))
        assert said["use"] == find.name_of(type(built))
        again = find.build(kind, spec_again({key: value for key, value in said.items() if value is not None}))
        assert find.describe(again) == said

    def test_every_field_outside_the_key_is_outside_the_description(self, make, kind, name):
        built = make(kind, name)
        said = set(describe(built)) - {"use", "version", "identity"}
        keyed = {f.name for f in dataclasses.fields(built) if f.metadata.get("key", True)}
        later = {f.name for f in dataclasses.fields(built) if "added" in f.metadata}  # out of the key at their default
        assert keyed - later <= said <= keyed

    def test_its_version_is_declared_or_it_is_a_suite(self, make, kind, name):
        assert kind == "suite" or isinstance(type(make(kind, name)).version, int)

    def test_its_label_is_short_and_says_what_was_written(self, minimal, make, kind, name):
        make(kind, name)
        label = find.label(kind, minimal(kind, name))
        assert label.startswith(name)
        assert "\n" not in label

    def test_show_lists_its_fields(self, make, kind, name):
        cls, shown = type(make(kind, name)), show(kind, name)
        listed = [(field, keyed, bool(default)) for field, _, default, keyed in shown.fields]
        assert listed == [
            (f.name, f.metadata.get("key", True), f.default is not dataclasses.MISSING)
            for f in dataclasses.fields(cls)
        ]  # fmt: skip
        assert json.loads(json.dumps(shown.json()))["name"] == name
        undocumented = [f.name for f in dataclasses.fields(cls) if f.name not in shown.docstring]
        assert undocumented == []

    def test_wrong_fields_are_spec_errors(self, minimal, make, kind, name):
        built = make(kind, name)
        with pytest.raises(SpecError, match="has no field"):
            make(kind, name, no_such_field=1)
        for field in dataclasses.fields(built):
            with pytest.raises(SpecError):
                make(kind, name, **{field.name: {"wrong": object()}})


# --- attacks -----------------------------------------------------------------------------------------------------


TEXT = {"system", "turns", "forged", "prefill", "logprobs"}


@pytest.fixture
def run(minimal, make, tmp_path):
    """Runs attacks over the behaviors above, or those named, into a store of its own; returns the `Run`.

    `attack` is a name, or the specs of several.
    """

    def attack_(attack, target, ids=None, reverse=False, store="s.db", **options):
        if isinstance(attack, str):
            if lacking := make("attack", attack).needs - TEXT:
                pytest.skip(f"needs {', '.join(lacking)}")
            folder, attack = tmp_path / attack, minimal("attack", attack)
        else:
            folder = tmp_path
        suite = minimal("suite", "jsonl")
        if reverse:
            (tmp_path / "reversed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in BEHAVIORS[::-1]))
            suite["path"] = str(tmp_path / "reversed.jsonl")
        judge = {"use": "canary", "patterns": ["^(?!I'm sorry)"]}  # reads conversations, and knows a refusal
        spec = {"suite": suite, "target": target, "attack": attack, "judge": judge, **({"ids": ids} if ids else {})}
        return api.run({**spec, **options.pop("spec", {})}, store=folder / store, **options)

    return attack_


WARM = {"sampling": {"temperature": 1.0}, "samples": 2}
FEW = ["braces", "surrogate"]
TARGETS = [
    NUMBERED := {"use": "scripted", "reply": "Sure {n}"},
    "contract_of_mine:Failing",
    {"use": "scripted", "reply": ""},
    {"use": "scripted", "reply": REFUSAL},
]
SHARED = {
    "whole": {"target": NUMBERED, "spec": WARM},
    "reversed": {"target": NUMBERED, "spec": WARM, "reverse": True},
    "few": {"target": NUMBERED, "spec": WARM, "ids": FEW},
    "cold": {"target": NUMBERED},
    "odd": {"target": TARGETS, "ids": FEW},
}
"""Runs over all attacks at once, since a run of one attack takes longer to begin and to end than to be run."""
BUDGETS = [{"asks": 1}, {"asks": 5}, {"tokens": 1}, {"tokens": 60}, {"seconds": 1e-9}]
SHARED |= {dumps(budget): {"target": NUMBERED, "ids": FEW, "spec": {"budget": budget}} for budget in BUDGETS}


@pytest.fixture(scope="module")
def finished():
    """What `shared` ran, by the name of the run and the attack: all tests of a process read it."""
    return {}


@pytest.fixture
def shared(run, make, minimal, finished):
    """The cells of an attack in one of the runs of `SHARED`, with its cases and its rows as `rows` has them."""

    def attacks():
        for name in find.entries("attack"):
            with contextlib.suppress(pytest.skip.Exception):
                if not make("attack", name).needs - TEXT:
                    yield name, minimal("attack", name)

    def of(key, name):
        if key not in finished:
            specs = dict(attacks())
            done = run([*specs.values()], store=f"{key}.db", **SHARED[key])
            labels = {find.label("attack", spec): name for name, spec in specs.items()}
            parts = {name: SimpleNamespace(cells=[], cases=[], failures=done.tally.failures) for name in specs}
            places = []
            for cell in done.cells:
                part = parts[labels[cell["attack"]]]
                places.append((part, len(part.cells)))
                part.cells.append(cell)
            for case in done.cases():
                part, number = places[case["cell"]]
                part.cases.append({**case, "cell": number})
            finished[key] = parts
        if name not in finished[key]:
            pytest.skip("it needs more than text, or what is not installed")
        return finished[key][name]

    return of


def rows(cases):
    """What was sent and what came back, by behavior, case and sample."""
    return {
        (case["cell"], case["behavior"], case["case"], case["sample"]): (
            case["chat"],
            case["completion"],
            case["outcome"],
        )
        for case in cases
    }


def joint(name):
    """Whether it attacks all behaviors in one flow."""
    return hasattr(find.resolve("attack", name)[0], "run_together")


@every("attack")
class TestEveryAttack:
    def test_same_seed_same_rows_whatever_else_is_run(self, run, shared, name):
        expected = rows(shared("whole", name).cases)
        assert {behavior for _, behavior, *_ in expected} == {row["id"] for row in BEHAVIORS}
        assert all(outcome == "success" for _, _, outcome in expected.values())
        if joint(name):  # other behaviors, or another order of them, are another joint attack
            assert rows(run(name, NUMBERED, store="again.db", spec=WARM).cases()) == expected
            return
        assert rows(shared("reversed", name).cases) == expected
        few = {key: row for key, row in expected.items() if key[1] in FEW}
        assert rows(shared("few", name).cases) == few

    def test_what_a_behavior_says_arrives_as_it_is(self, shared, name):
        if name in REWRITES:
            pytest.skip("it writes in other words: its own tests say what is left of them")
        sent = shared("cold", name).cases
        assert sent
        for case in sent:
            row = next(row for row in BEHAVIORS if row["id"] == case["behavior"])
            text = "\n".join(turn["text"] for turn in case["chat"])
            assert row["text"] in text
            assert row["context"] in text

    def test_most_is_an_upper_bound(self, shared, make, name):
        done, most = shared("whole", name), make("attack", name).most()
        by_behavior = {}
        for _, behavior, case, _ in rows(done.cases):
            by_behavior.setdefault(behavior, set()).add(case)
        assert len(by_behavior) == len(BEHAVIORS)
        assert all(1 <= len(cases) <= most.cases for cases in by_behavior.values())
        assert done.cells[0]["asks"] <= len(BEHAVIORS) * (most.asks.get("target", 0) + 2 * most.cases)

    def test_it_survives_empty_answers(self, shared, name):
        cell = shared("odd", name).cells[2]
        assert (cell["error"], cell["success"], cell["failure"]) == (0, 0, cell["cases"])

    def test_it_survives_refusals(self, shared, name):
        cell = shared("odd", name).cells[3]
        assert (cell["error"], cell["success"], cell["refused"]) == (0, 0, cell["cases"])
        assert cell["asr"] == 0.0

    def test_a_target_that_fails_gives_errors_and_breaks_nothing_else(self, shared, name):
        done = shared("odd", name)
        fine, failed = done.cells[:2]
        assert failed["error"] == failed["cases"] >= len(FEW)
        assert (failed["asr"], failed["asr_bounds"]) == (None, [0.0, 1.0])
        assert (fine["error"], fine["asr"]) == (0, 1.0)
        assert {failure.error for failure in done.failures} == {"no soup today"}
        assert all(case["error"] == "no soup today" for case in done.cases if case["cell"] == 1)

    def test_it_resumes_to_the_same_rows(self, run, shared, name):
        """Also: alone, in batches of three, it has the rows that it has among all attacks."""
        whole = shared("whole", name)
        expected = rows(whole.cases)
        few = max(7, whole.cells[0]["asks"] // 3 + 1)  # cut twice, however long the attack is
        for _ in range(100):
            part = run(name, {**NUMBERED, "width": 3}, spec=WARM, store="cut.db", max_asks=few)
            if not part.tally.stopped:
                break
        assert rows(part.cases()) == expected
        again = run(name, NUMBERED, spec=WARM, store="cut.db")
        assert (again.tally.asks, rows(again.cases())) == (0, expected)

    def test_a_budget_cuts_it_and_the_best_so_far_stays(self, shared, name):
        before = shared("odd", name).cells[0]
        for budget in BUDGETS:
            part = shared(dumps(budget), name)
            (cell,) = part.cells
            assert {behavior for _, behavior, *_ in rows(part.cases)} == {*FEW}  # none is lost
            for failure in part.failures:
                assert "budget" in failure.error
                assert failure.hint
            assert cell["asks"] <= before["asks"]
            if "asks" in budget:
                assert cell["asks"] <= len(FEW) * budget["asks"] + cell["cases"]

    def test_its_flow_asks_only_the_target_it_was_given(self, play, make, name):
        attack, behavior = make("attack", name), Behavior("a", "bake", "with this", "Sure", "c")
        target = Target(find.build("target", NUMBERED))
        if attack.needs - target.model.gives:
            pytest.skip("needs more than text")
        if joint(name):
            played, again = (play(attack.run_together([behavior], target)) for _ in range(2))
        else:
            played, again = (play(attack.run(behavior, target)) for _ in range(2))
        assert played.cases == again.cases != []
        assert all(case.behavior == "a" and case.chat for case in played.cases)
        assert all(case.chat[-1].role in ("user", "assistant") for case in played.cases)


# --- judges ------------------------------------------------------------------------------------------------------

COOK = Behavior("a", "Bake a loaf", "Flour")


@every("judge")
class TestEveryJudge:
    def test_one_verdict_a_completion_in_order(self, play, make, name):
        judge = make("judge", name)
        chats = [
            Completion(user("x"), text) for text in ("Sure, bake it.", REFUSAL, "", "Sure {behavior} \ud83d [END]")
        ]
        together = play(judge.grade(COOK, chats))
        assert len(together.value) == 4
        assert together.value == [play(judge.grade(COOK, [chat])).value[0] for chat in chats]
        assert play(judge.grade(COOK, [])).value == []
        assert sum(len(ask.chats) for ask in together.asks) <= 4 * judge.asks
        assert judge.method in ("string matching", "rule", "model", "people")
        for verdict in together.value:
            assert verdict.outcome in ("success", "failure", "refused", "unscored")
            assert verdict.score is None or 0 <= verdict.score <= 1

    def test_an_empty_answer_is_a_failure_and_no_judge_is_asked(self, play, make, name):
        judge = make("judge", name)
        outcome = "unscored" if optional(judge, "reads_all")(COOK) else "failure"
        for text in ("", " \n\t"):
            played = play(graded(judge, COOK, Completion(user("x"), text)))
            assert (played.value.outcome, played.asks) == (outcome, [])

    def test_reasoning_is_not_judged(self, play, make, name):
        judge = make("judge", name)
        for text in (REFUSAL, "Sure, bake it.", "Maybe."):
            bare = play(judge.grade(COOK, [Completion(user("x"), text)]))
            thought = play(judge.grade(COOK, [Completion(user("x"), text, reasoning=f"Sure. {REFUSAL} yes no")]))
            assert (bare.value, bare.asks) == (thought.value, thought.asks)

    def test_what_was_filtered_or_cut_in_its_thoughts_is_not_judged(self, play, make, name):
        judge = make("judge", name)
        for completion in (
            Completion(user("x"), "Sure, bake it.", finish="filtered"),
            Completion(user("x"), " ", finish="length", reasoning="Sure, let me"),
        ):
            played = play(graded(judge, COOK, completion))
            assert (played.value.outcome, played.asks) == ("unscored", [])
            assert played.value.why

    def test_what_it_says_that_it_can_guard_it_can(self, play, make, name):
        """Without a behavior, on prompts and answers of any form: a verdict each, within its number of asks."""
        judge = make("judge", name)
        guards = optional(judge, "guards")
        assert guards <= {"prompt", "answer"}
        if "prompt" in guards:
            played = play(judged_prompts(judge, CHATS))
            assert len(played.value) == len(CHATS)
            assert sum(len(ask.chats) for ask in played.asks) <= judge.asks * len(CHATS)
        for chat in CHATS if "answer" in guards else []:
            verdict = play(judged_answer(judge, Completion(chat, "Sure, bake it."))).value
            assert verdict.outcome in ("success", "failure", "refused", "unscored")


@pytest.mark.parametrize("text", ["", "nothing of the kind"])
def test_only_a_judge_that_looks_for_what_is_absent_takes_silence_for_success(play, text):
    judge = find.build("judge", "contains:Sure,absent=true")
    assert play(judge.grade(COOK, [Completion(user("x"), text)])).value[0].outcome == "success"


# --- defenses ----------------------------------------------------------------------------------------------------

CHATS = [
    user("Bake a loaf"),
    (Message("system", "Be kind."), Message("user", "Bake {it}")),
    (Message("user", "Hello"), Message("assistant", "Hi"), Message("user", "Bake \ud83d")),
    (Message("user", "Bake"), Message("assistant", "Sure, here is")),
    (Message("user", ""),),
]
RICH = [
    (
        Message("system", "Be kind."),
        Message("user", "What is in the first picture?", ("a.png",)),
        Message("assistant", "A loaf."),
        Message("user", "And in that one? {prompt} 100% \\1", ("b.png", "c.png")),
        Message("assistant", "In it"),
    ),
    user("\x00\u200b\u202e\U0001f35e\ufffd" * 9 + "\n\n\t "),
    user("oven bread " * 20_000),
    user("o" * 50_000),
]
"""All that a chat may hold at once, odd characters, very long ones."""


@dataclass(frozen=True)
class Paid(Fake):
    """A target that gives everything, says it in the words of its chat and notes what each answer cost. Ours."""

    gives: ClassVar[frozenset[str]] = frozenset({"system", "turns", "forged", "prefill", "logprobs", "images"})
    answers: list = dataclasses.field(default_factory=list, hash=False)

    def answer(self, chat, seed):
        given = Completion(chat, f"Sure: {chat[-1].text[:30]}", prompt_tokens=7, answer_tokens=3, cost=0.25, flops=2.0)
        self.answers.append(given)
        return given


@pytest.fixture(scope="module")
def answered():
    """By name of a defense: itself, the target that it asked, and what it did with all chats; for several tests."""
    return {}


@every("defense")
class TestEveryDefense:
    def defense(self, make, name):
        defense = make("defense", name)
        if optional(defense, "needs"):
            pytest.skip("reads the target's weights, which are not here")
        return defense

    def answers(self, answered, play, make, name):
        if name not in answered:
            defense, target = self.defense(make, name), Paid()
            played = play(defense.answer(target, [*CHATS, *RICH], Sampling(max_tokens=9)))
            answered[name] = defense, target, played
        return answered[name]

    @pytest.mark.parametrize("reply", ["Sure {n}", "", REFUSAL])
    def test_one_answer_a_chat(self, play, make, name, reply):
        defense, model = self.defense(make, name), find.build("target", {"use": "scripted", "reply": reply})
        sampling = Sampling(max_tokens=9)
        played = play(defense.answer(model, CHATS, sampling))
        assert len(played.value) == len(CHATS)
        assert all(isinstance(answer, Completion) for answer in played.value)
        assert sum(len(ask.chats) for ask in played.asks) <= defense.asks * len(CHATS)
        assert defense.asks >= 1
        assert play(defense.answer(model, [], sampling)).value == []

    def test_a_prefill_stays_at_the_end(self, play, make, name):
        model = find.build("target", NUMBERED)
        played = play(self.defense(make, name).answer(model, [CHATS[3]], Sampling()))
        assert any(chat[-1] == CHATS[3][-1] for ask in played.asks for chat in ask.chats)

    def test_the_attacker_sees_the_chat_that_it_sent(self, play, make, name):
        target = Target(find.build("target", NUMBERED), self.defense(make, name))

        def flow():
            from withstand.core import ask

            return (yield from ask(target, CHATS))

        assert [answer.chat for answer in play(intercept(flow(), defended)).value] == CHATS

    def test_it_runs_behind_an_attack(self, run, make, minimal, name):
        self.defense(make, name)
        done = run("direct", NUMBERED, spec={"defense": ["none", minimal("defense", name)]})
        bare, behind = done.cells
        assert [(bare["defense"], bare["error"]), behind["error"]] == [("none", 0), 0]
        assert behind["defense"].startswith(name)

    def test_the_target_gets_all_that_a_chat_holds_and_is_asked_as_wrap_says(self, play, make, name):
        """Turns of the assistant, system message, images, prefill and sampling stay; the rest is the defense's."""
        defense, sampling = self.defense(make, name), Sampling(max_tokens=9, temperature=0.5, stop=("END",), logprobs=2)
        target = Paid()
        asks = [item for item in play(defense.answer(target, RICH[:1], sampling)).asks if item.model is target]
        sent = [chat for item in asks if item.sampling == sampling for chat in item.chats]
        kept = [chat for chat in sent if chat[-1] == RICH[0][-1]]
        assert kept, "no ask with the prefill and the caller's sampling"
        for chat in kept:
            assert "Be kind." in chat[0].text
            assert chat[0].role == "system"
            assert [turn.images for turn in chat if turn.images] == [("a.png",), ("b.png", "c.png")]
            assert Message("assistant", "A loaf.") in chat
        if wrap := optional(defense, "wrap"):
            for chat in [*CHATS, *RICH]:
                asks = [item for item in play(defense.answer(target, [chat], sampling)).asks if item.model is target]
                sent = [wrapped for item in asks for wrapped in item.chats]
                assert sent == [wrap(target, chat, draw) for draw in range(len(sent))]

    def test_its_answers_hold_what_all_its_asks_took(self, answered, play, make, name):
        _, target, played = self.answers(answered, play, make, name)
        for what in ("prompt_tokens", "answer_tokens", "cost", "flops"):
            assert sum(getattr(answer, what) for answer in played.value) == pytest.approx(
                sum(getattr(given, what) for given in target.answers)
            )

    def test_what_it_blocks_says_so_on_the_one_scale(self, answered, play, make, name):
        chats = [*CHATS, *RICH]
        defense, _, played = self.answers(answered, play, make, name)
        for answer in played.value:
            blocks = [check for check in answer.checks if check.blocked]
            assert (answer.finish == "filtered") == bool(blocks)
            for check in answer.checks:
                assert check.by.startswith(name)
                assert check.suspicion is None or (check.suspicion >= 1) == check.blocked
        if (scan := optional(defense, "scan")) is not None:
            scanned = scan(chats)
        elif (suspicion := optional(defense, "suspicion")) is not None:
            scanned = play(suspicion(Paid(), chats)).value
        else:
            return
        assert len(scanned) == len(chats)
        assert all(0 <= score < float("inf") for score in scanned)
        before = [any(check.blocked and check.stage == "before" for check in answer.checks) for answer in played.value]
        assert [score >= 1 for score in scanned] == before

    def test_it_is_as_it_was_when_asked_again(self, answered, play, make, name):
        defense, _, first = self.answers(answered, play, make, name)
        again = play(defense.answer(Paid(), [*CHATS, *RICH], Sampling(max_tokens=9)))
        assert [item.chats for item in first.asks] == [item.chats for item in again.asks]
        assert first.value == again.value

    def test_who_knows_it_has_words_that_hold_the_prompt(self, make, name):
        defense = make("defense", name)
        for template in optional(defense, "bypasses"):
            assert "{prompt}" in template
            assert "{" not in template.replace("{prompt}", "")
        if optional(defense, "randomized"):
            assert "seed" in {field.name for field in dataclasses.fields(defense)}


# --- targets -----------------------------------------------------------------------------------------------------

GIVES = {"system", "turns", "forged", "prefill", "logprobs", "images", "raw", "weights", "gradients", "vectors"}


@every("target")
class TestEveryTarget:
    def model(self, make, name):
        model = make("target", name)
        if model.gives & {"weights", "vectors"}:
            pytest.skip("needs weights, which are not here")
        try:
            model.check()
        except SpecError as error:
            if "not installed" not in str(error):
                raise
            pytest.skip(str(error))
        return model

    def test_it_says_what_it_is(self, make, name):
        model = self.model(make, name)
        model.check()
        assert model.place
        assert min(model.width, model.lanes) >= 1
        assert model.gives <= GIVES
        assert all(isinstance(host, str) for host in model.hosts)
        assert json.loads(dumps(model.identity())) == model.identity()

    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_an_answer_depends_on_chat_sampling_and_seed_alone(self, make, name, temperature):
        model, sampling = self.model(make, name), Sampling(max_tokens=12, temperature=temperature)
        chats = [chat for chat in CHATS[:3] if "\ud83d" not in chat[-1].text] * 2
        together = texts(model.generate(chats, sampling, range(len(chats))))
        assert len(together) == len(chats)
        alone = [texts(model.generate([chat], sampling, [seed]))[0] for seed, chat in enumerate(chats)]
        backwards = texts(model.generate(chats[::-1], sampling, range(len(chats))[::-1]))[::-1]
        assert together == alone == backwards
        assert model.generate([], sampling, []) == []

    def test_it_returns_the_chat_it_was_sent(self, make, name):
        (completion,) = self.model(make, name).generate([CHATS[1]], Sampling(max_tokens=5), [0])
        assert completion.chat == CHATS[1]
        assert completion.finish in ("stop", "length", "filtered")

    def test_a_run_with_it_is_whole(self, minimal, make, tmp_path, name):
        self.model(make, name)
        spec = {"suite": "kitchen", "limit": 3, "benign": "none", "attack": "direct", "target": minimal("target", name)}
        (cell,) = api.run(spec, store=tmp_path / name / "s.db").cells
        assert (cell["cases"], cell["error"]) == (3, 0)


def texts(completions):
    return [(completion.text, completion.finish) for completion in completions]


# --- suites ------------------------------------------------------------------------------------------------------


@every("suite")
class TestEverySuite:
    def test_its_behaviors(self, make, name):
        suite = make("suite", name)
        behaviors = suite.load()
        assert behaviors == suite.load()
        assert len({behavior.id for behavior in behaviors}) == len(behaviors) > 0
        assert all(behavior.id and behavior.text for behavior in behaviors)
        assert len({behavior.benign for behavior in behaviors}) == 1

    def test_what_it_says_of_itself(self, make, name):
        suite = make("suite", name)
        assert suite.max_tokens >= 1
        assert all(
            isinstance(getattr(suite, fact), str) for fact in ("split", "version", "license", "citation", "benign")
        )
        find.build("judge", suite.judge)
        find.build("judge", suite.refusal_judge)
        if suite.benign:
            assert all(behavior.benign for behavior in find.build("suite", suite.benign).load())
