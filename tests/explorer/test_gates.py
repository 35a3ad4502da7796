"""The history of a gate, and two versions chosen in the list of runs."""

import re
from pathlib import Path

import pytest

import withstand
from explorer_web import client
from withstand.explorer.gates import stem
from withstand.results.decide import decide
from withstand.results.limits import limits_of

TOYS = str(Path(__file__).parent.parent / "toys")


@pytest.fixture(scope="module")
def nightly(tmp_path_factory):
    """Three builds with a gate, the second of them bad; nobody writes to it."""
    folder = tmp_path_factory.mktemp("nightly")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(TOYS)
        import withstand_toys

        for number, broken in enumerate(([3], range(40), [1, 5]), 1):
            spec = withstand_toys.spec_of_outcomes(folder, 110, f"v{number}", success=broken)
            withstand.run(spec | {"gate": {"max_asr": 0.1}}, store=folder / "n.db", name=f"nightly-{number}")
    return folder / "n.db"


def test_a_gate_shows_what_became_of_each_build(nightly):
    run = withstand.load("nightly-3", nightly)
    official = decide(run.store, run.row, limits_of(run.row.plan["gate"], {}), history="nightly-")
    with client(nightly) as web:
        assert 'href="/gates?builds=nightly-"' in web.get("/gates").text
        page = web.get("/gates?builds=nightly-").text
        rows = re.findall(r"<tr><th class=\"label\".*?</tr>", page, re.DOTALL)
        shown = [(re.search(r">(nightly-\d)<", row)[1], re.findall(r'class="decision \w+">(\w+)', row)) for row in rows]
        assert shown == [("nightly-3", ["PASS", "PASS"]), ("nightly-2", ["FAIL", "FAIL"]),
                         ("nightly-1", ["PASS", "PASS"])]  # fmt: skip
        assert f'nightly-3: <span class="decision pass">{official.overall}</span>' in page
        assert official.lines[0].why in page
        assert "UNDECIDED" in web.get("/gates?builds=nightly-&max_asr=0.03").text  # another limit, for this page
        for query, status in (
            ("builds=weekly-", 404),
            ("builds=nightly-&max_asr=often", 400),
            ("builds=&max_asr=1", 200),
        ):
            assert web.get(f"/gates?{query}").status_code == status, query


def test_two_chosen_runs_are_compared_with_the_verdict_of_their_gates(nightly):
    with client(nightly) as web:
        keys = re.findall(r'name="run" value="([0-9a-f]+)"', web.get("/").text)  # newest first
        assert len(keys) == 3
        for chosen in ([], keys[:1], keys, [keys[0], keys[0]]):
            assert web.get("/compare", params={"run": chosen}).status_code == 400
        answer = web.get("/compare", params={"run": keys[:2]})
        assert answer.headers["location"] == f"/runs/{keys[1]}/compare?with={keys[0]}"
        page = web.get(answer.headers["location"]).text
        assert re.findall(r"<p>(\w+), nightly-(\d): <span class=\"decision \w+\">(\w+)", page) == [
            ("this", "2", "FAIL"), ("that", "3", "PASS")
        ]  # fmt: skip
        assert "Gate of each spec" not in web.get(f"/runs/{keys[0]}/compare").text


@pytest.mark.parametrize(
    ("name", "expected"),
    [("nightly-12", "nightly-"), ("v1.2.3", "v1."), ("app_2026-11-29T04:00", "app_"), ("main@4f00ab12", "main@"),
     ("kitchen-a5c6a5", "kitchen-"), ("release-v2.1", "release-"), ("kitchen", ""), ("baseline-decade", "baseline-")],
)  # fmt: skip
def test_builds_are_told_by_their_names(name, expected):
    assert stem(name) == expected
