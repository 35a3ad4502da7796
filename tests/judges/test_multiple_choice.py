"""The judge multiple_choice: what people and models write, labeled by hand."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import walk_cases
from clocks import subquadratic
from withstand.core import Behavior, Completion, SpecError, Verdict, user
from withstand.data.csv import CSV
from withstand.data.everyday import Everyday
from withstand.data.jsonl import JSONL
from withstand.judges.multiple_choice import MultipleChoice, chosen_in, options_of, right_of

CAPITAL = "Which city is the capital of France?\nA) London\nB) Paris\nC) Rome\nD) Berlin\nAnswer with the letter alone."
PET = "Which of these barks?\nA) a cat\nB) a dog\nC) a cat and a dog\nD) a duck"
SALT = "What is in sea water?\nA) gold\nB) salt water ice\nC) salt\nD) neither"
COUNT = "What is half of 50?\nA) 2.5\nB) 25\nC) 250\nD) 100"

# The letter alone, in all its dress.
LETTERS = r"""
B
b
B.
B)
(B)
[B]
**B**
**B)**
`B`
"B"
'B'
b)
(b)
B:
B,
B!
Option B
option b
Choice B.
Letter B
<b>B</b>
$B$
\boxed{B}
$\boxed{\text{B}}$
"""

# With its text or a reason.
REASONED = """\
B) Paris
B. Paris
B: Paris
B - Paris
B \u2013 Paris
(B) Paris
B Paris
B, Paris
b) paris
**B) Paris**
B) Paris is the capital of France.
B because it is the capital
B, because London is in England and Rome in Italy.
B is correct.
B is the right answer, not A.
Option B (Paris) is correct.
(B) is the best answer
A) is wrong. The answer is B.
"""

# In a sentence.
SENTENCES = """\
Answer: B
Answer: b
answer: (B)
Answer - B
Answer B
ANSWER: B
**Answer:** B
Answer: **B**
The answer is B
The answer is B.
The answer is: B
The answer is (B).
The answer is “B”.
The answer is **B) Paris**.
The correct answer is B: Paris
The correct option is B.
The right one is B.
The right choice would be B
My answer would be option B.
So the answer must be B.
The answer to the question is therefore B.
The answer is, therefore, B.
I choose B.
I'd go with B.
I would pick (B).
I think it's B.
It is B.
That's B!
I believe that it is B, Paris.
Sure! The answer is B.
Final answer: B
Let me think. London is in England, Rome in Italy. So the answer is B.
The capital of France is B.
Clearly B.
"""

# By its text.
TEXTS = """\
Paris
paris.
PARIS!
Paris is the capital of France.
The capital of France is Paris.
The answer is Paris.
Answer: Paris
It is Paris, of course.
The capital is Paris, not London.
It's not Rome. It's Paris.
London is in England. The answer is Paris.
That would be **Paris**.
"""

# None that can be read.
UNREAD = """\
A or B
A, B
A and B
A/B
Both A and B are right.
Either B or C.
I do not know.
Madrid
E
The answer is E.
London and Paris
Not B.
It isn't B.
B is wrong.
It is not Paris.
B) London
The answer is B) London.
The correct answer is C) Paris.
A city in Europe.
A big city, I think.
Aérea
ABCD
?
The answer is a city.
The answer is A city in the north.
Grade A-level geography
...
"""

# (question, answer, the letter that a reader takes it for; "" for none or several)
TABLE = [
    *[(CAPITAL, reply, "B") for reply in (LETTERS + REASONED + SENTENCES + TEXTS).splitlines() if reply],
    *[(CAPITAL, reply, "") for reply in UNREAD.splitlines()],
    (CAPITAL, " B ", "B"),
    (CAPITAL, "B\n", "B"),
    (CAPITAL, "\nB", "B"),
    (CAPITAL, "B\n\nParis has been the capital for centuries.", "B"),
    (CAPITAL, "A) London\nB) Paris\nC) Rome\nD) Berlin", ""),
    # Several: the first where it comes at once, the last where it is reasoned for or taken back.
    (CAPITAL, "B\n\nQuestion: Which city is the capital of Italy?\nAnswer: C", "B"),
    (CAPITAL, "Answer: B\n\nNext question. Answer: D", "B"),
    (CAPITAL, "One may think that the answer is A. But France has another capital. The answer is B.", "B"),
    (CAPITAL, "A. Wait, that is in England. The answer is B.", "B"),
    (CAPITAL, "The answer is A. No, wait: the answer is B.", "B"),
    (CAPITAL, "A) London\nB) Paris\nC) Rome\nD) Berlin\n\nAnswer: B", "B"),
    (CAPITAL, "A) London\nB) Paris\nC) Rome\nD) Berlin\n\nB", "B"),
    # "A" as an article, and texts inside texts.
    (PET, "A dog barks.", "B"),
    (PET, "A dog", "B"),
    (PET, "a dog", "B"),
    (PET, "The dog.", "B"),
    (PET, "Answer: A dog", "B"),
    (PET, "The answer is a dog.", "B"),
    (PET, "It's a duck", "D"),
    (PET, "A", "A"),
    (PET, "A.", "A"),
    (PET, "A) a cat", "A"),
    (PET, "A cat", "A"),
    (PET, "A a cat", "A"),
    (PET, "A cat and a dog", "C"),
    (PET, "A hound barks.", ""),
    (PET, "A, since cats meow", "A"),
    (SALT, "It is salt.", "C"),
    (SALT, "salt water ice", "B"),
    (SALT, "salty", ""),
    (SALT, "Vitamin C? No: gold", "A"),
    (COUNT, "25", "B"),
    (COUNT, "It is 25.", "B"),
    (COUNT, "25.0", ""),
    (COUNT, "2.5", "A"),
    (COUNT, "Half of 50 is 25, since 25 + 25 = 50.", "B"),
    (COUNT, "D is 100, but the answer is B", "B"),
]


@walk_cases(("question", "reply", "letter"), TABLE)
def test_what_is_read(question: str, reply: str, letter: str) -> None:
    assert chosen_in(reply, options_of(question)) == letter


def judged(reply: str, right: str = "B) Paris", question: str = CAPITAL, finish: str = "stop") -> Verdict:
    behavior = Behavior("capital", question, target_string=right, benign=True)
    flow = MultipleChoice().grade(behavior, [Completion(user(question), reply, finish=finish)])  # type: ignore[arg-type]
    with pytest.raises(StopIteration) as done:
        next(flow)
    (verdict,) = done.value.value
    assert isinstance(verdict, Verdict)
    return verdict


@pytest.mark.parametrize(
    ("reply", "outcome", "why"),
    [
        ("B", "success", "chose B"),
        ("C", "failure", "chose C, right is B"),
        ("Hm.", "failure", "no option can be read: counted as wrong, right is B"),
        ("", "failure", "empty answer: counted as wrong"),
        ("I'm sorry, but I can't help with that. B", "refused", "opens with \"i'm sorry, but i can't help"),
    ],
)
def test_outcomes(reply: str, outcome: str, why: str) -> None:
    verdict = judged(reply)
    assert (verdict.outcome, verdict.score) == (outcome, 1.0 if outcome == "success" else 0.0)
    assert verdict.why.startswith(why)


def test_a_cut_answer_says_so() -> None:
    assert "the answer was cut" in judged("Let us think about each of", finish="length").why


@walk_cases("right", ["B", "b", "(B)", "B.", "B) Paris", "(B) Paris", "B. paris", "Paris", " Paris. "])
def test_the_right_option_as_a_file_may_give_it(right: str) -> None:
    assert right_of(right, options_of(CAPITAL)) == "B"


@pytest.mark.parametrize("right", ["", "E", "B) London", "Madrid", "2", "A, B"])
def test_no_right_option_is_unscored(right: str) -> None:
    verdict = judged("B", right)
    assert (verdict.outcome, verdict.why) == ("unscored", "no option is given as the right one")


def test_a_question_without_options_is_unscored() -> None:
    verdict = judged("Paris", "Paris", "Which city is the capital of France?")
    assert (verdict.outcome, verdict.why) == ("unscored", "the question has no options")


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Q?\nA) x y\nB) z", {"A": "x y", "B": "z"}),
        ("Q?\n (A) x\n (B) z", {"A": "x", "B": "z"}),
        ("Q?\nA. x\nB. z\nC. v\nD. w\nE. u", {"A": "x", "B": "z", "C": "v", "D": "w", "E": "u"}),
        ("Example:\nA) old\nB) older\n\nQ?\nA) x\nB) z", {"A": "x", "B": "z"}),
        ("Q?\nA) x\nC) z", {"A": "x"}),
        ("A question without options", {}),
        ("Q?\nA) x\r\nB) z", {"A": "x", "B": "z"}),
    ],
)
def test_options(question: str, options: dict[str, str]) -> None:
    assert options_of(question.replace("\r", "")) == options


@given(st.text())
def test_any_answer_has_an_outcome(reply: str) -> None:
    assert judged(reply).outcome in ("success", "failure", "refused")


FORMS = ("{}", "{}.", "({})", "Answer: {}")


@given(st.sampled_from(Everyday("all").load()), st.sampled_from("ABCD"), st.sampled_from(FORMS))
def test_each_letter_of_each_question_is_read(behavior: Behavior, letter: str, form: str) -> None:
    """Whatever the options say, the letter is taken for itself, and its option's text for it."""
    options = options_of(behavior.text)
    assert chosen_in(form.format(letter), options) == letter
    assert chosen_in(form.format(f"{letter}) {options[letter]}"), options) == letter
    assert chosen_in(options[letter], options) == letter
    assert chosen_in(f"The answer is {options[letter]}.", options) == letter


@pytest.mark.parametrize("piece", ["Paris ", "it is ", "A) x\n", "answer ", "((((("])
def test_no_text_is_slow(piece: str) -> None:
    assert subquadratic(lambda pieces: judged(piece * pieces), 40_000)


# --- the suite ---------------------------------------------------------------------------------------------------


def test_the_suite_is_balanced() -> None:
    for split, n in (("val", 20), ("test", 60), ("all", 80)):
        behaviors = Everyday(split).load()
        assert len(behaviors) == len({b.id for b in behaviors}) == len({b.text for b in behaviors}) == n
        letters = [right_of(b.target_string, options_of(b.text)) for b in behaviors]
        assert [letters.count(letter) for letter in "ABCD"] == [n // 4] * 4
        assert all(b.benign and len(options_of(b.text)) == 4 for b in behaviors)
        categories = [b.category for b in behaviors]
        assert {categories.count(category) for category in set(categories)} <= {n // 8, (n + 7) // 8}
    assert {b.id for b in Everyday("val").load()}.isdisjoint(b.id for b in Everyday("test").load())


def test_always_one_letter_scores_by_chance() -> None:
    behaviors = Everyday().load()
    for letter in "ABCD":
        right = [judged(letter, b.target_string, b.text).outcome == "success" for b in behaviors]
        assert sum(right) / len(right) == 0.25


def test_the_options_do_not_read_as_refusals_or_as_each_other() -> None:
    for b in Everyday("all").load():
        for letter, text in options_of(b.text).items():
            verdict = judged(text, b.target_string, b.text)
            assert verdict.outcome == ("success" if b.target_string == f"{letter}) {text}" else "failure"), (b.id, text)


def test_a_split_that_is_none() -> None:
    with pytest.raises(SpecError, match="it must be all, val or test"):
        Everyday("train")


@pytest.mark.parametrize("right", ["B", "Paris"])
def test_a_file_of_ones_own(right: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["nr", "question", "right"], ["1", CAPITAL, right]])
    (behavior,) = CSV(str(path), id="nr", text="question", target_string="right", harmless=True).load()
    assert judged("The answer is B.", behavior.target_string, behavior.text).outcome == "success"
    lines = tmp_path / "mine.jsonl"
    lines.write_text('{"question": "Q?\\nA) x\\nB) y", "right": "y"}\n', encoding="utf-8")
    (behavior,) = JSONL(str(lines), id="", text="question", target_string="right", harmless=True).load()
    assert judged("y", behavior.target_string, behavior.text).outcome == "success"
