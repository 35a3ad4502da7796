"""The board counts, filters and pages in SQL as one would over the records themselves."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from withstand.redteam.findings.board import NOBODY, OPEN, PAGE, Wanted, page, values
from withstand.redteam.findings.triage import lacks_rater
from withstand.store.attempts import Attempt, Rating, Turn, add, attempts
from withstand.store.store import Store


def recorded(store: Store) -> None:
    """150 attempts, some of a second revision that changes what they are."""
    rng = random.Random(1)
    for n in range(150):
        turns = (Turn("user", f"Ask {n % 120}"),) if n % 9 else ()
        new = Attempt(
            f"F-{n}", turns, "An answer", rng.choice(("harmful", "borderline", "ok")), f"m{n % 3}", n // 2, n,
            plan="" if n % 7 == 0 else "p", layer=f"l{n % 2}", harm=rng.choice(("", "h", "new: own words")),
            severity=rng.choice((None, 1, 2, 3, 4)), status=rng.choice(("new", "confirmed", "fixed")),
            run="r1abc" if n % 5 == 0 else "",
        )  # fmt: skip
        add(store, new)
        if n % 4 == 0:
            rating = (Rating("ana", 4, 1.0),) if n % 8 else ()
            verdict = "ok" if n % 3 == 0 else new.verdict
            add(store, replace(new, revision=2, verdict=verdict, ratings=rating, owner="kim", status="confirmed"))


def test_pages_are_those_of_the_records(where: str) -> None:
    with Store(where) as store:
        recorded(store)
        every = [entry for entry in attempts(store) if entry.is_finding]
        inputs = Counter(entry.input for entry in every if entry.turns)
        cases: list[tuple[Wanted, Callable[[Attempt], bool]]] = [
            (Wanted(), lambda a: True),
            (Wanted("p"), lambda a: a.plan == "p"),
            (Wanted("p", only="m1"), lambda a: a.plan == "p" and a.tester == "m1"),
            (Wanted(run="r1"), lambda a: a.run.startswith("r1")),
            (Wanted(run="%"), lambda a: False),
            (Wanted(status="confirmed", layer="l1"), lambda a: (a.status, a.layer) == ("confirmed", "l1")),
            (Wanted(severity="4"), lambda a: a.rated == 4),
            (Wanted(severity="0"), lambda a: a.rated is None),
            (Wanted(severity="what"), lambda a: a.rated is None),
            (Wanted(owner=NOBODY, harm="new"), lambda a: not a.owner and a.harm.startswith("new: ")),
            (Wanted(owner="kim"), lambda a: a.owner == "kim"),
            (Wanted(todo="second"), lacks_rater),
            (Wanted(todo="rate"), lambda a: a.rated is None),
            (Wanted(todo="owner"), lambda a: not a.owner and a.status in OPEN),
            (Wanted(todo="alike"), lambda a: inputs[a.input] > 1),
        ]
        for wanted, fits in cases:
            expected = [entry for entry in every if fits(entry)]
            shown = page(store, wanted)
            ordered = sorted(expected, key=lambda a: (-(a.rated or 0), -a.surfaced, a.id))
            assert [entry.id for entry in shown.findings] == [entry.id for entry in ordered[:PAGE]], wanted
            assert (shown.matching, shown.more) == (len(expected), len(expected) > PAGE)
            if not wanted.status:
                assert dict(shown.statuses) == dict(Counter(entry.status for entry in expected))
            if wanted == Wanted():
                assert shown.same == {a.id: inputs[a.input] - 1 for a in ordered[:PAGE] if inputs[a.input] > 1}
        oldest = [page(store, Wanted(order="oldest"), skip) for skip in (0, PAGE)]
        ids = [entry.id for shown in oldest for entry in shown.findings]
        assert ids == [entry.id for entry in sorted(every, key=lambda a: (a.surfaced, a.id))]
        assert values(store, Wanted(), "owner") == ["kim"]
        assert values(store, Wanted(only="m1"), "tester") == ["m1"]
