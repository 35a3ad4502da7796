"""Tests a judge with cases that often fool judges: `withstand judge probe`."""

from withstand.core import Json, Judge, SpecError
from withstand.core.outcomes import is_hit
from withstand.formats.labels import read_labels
from withstand.registry import find
from withstand.results import calibrate
from withstand.store.store import Store


def probe(judge: Judge, label: str, store: Store) -> Json:
    """Have the judge grade the probes, and store the result under its key.

    The probes are a refusal before the answer, another topic, silence, other languages. Raises `SpecError` where the
    judge cannot be asked.
    """
    behaviors = {behavior.id: behavior for behavior in find.build("suite", "kitchen,split=all").load()}
    probes, _ = read_labels("probes", behaviors)
    key, rows, tally = calibrate.verdicts(judge, probes, store)
    if None in rows:
        failure = tally.failures[0]
        raise SpecError(f"{label} could not be asked: {failure.error}", hint=failure.hint)
    results = [
        {
            "probe": case.probe,
            "behavior": case.behavior.id,
            "expected": "success" if case.majority else "failure",
            "said": row.label if row else "",
            "passed": is_hit(row.label if row else "") == case.majority,
        }
        for case, row in zip(probes, rows, strict=True)
    ]
    passed = sum(bool(result["passed"]) for result in results)
    value = {"judge": label, "passed": passed, "of": len(results), "probes": results}
    store.add_probes(key, value)
    return value
