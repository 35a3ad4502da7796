"""What a limit would have stopped: a log of ten rows by hand, in three ways to enforce it, and the two ends."""

import itertools
import json

import numpy as np
import pytest
from click.testing import CliRunner

from traffic_rows import write
from withstand.cli.main import cli
from withstand.core import SpecError
from withstand.monitor.limits.limit import KINDS, Limit, enforced
from withstand.monitor.limits.simulate import Candidate, Share, simulate
from withstand.monitor.traffic import PERSON_STAGE, Traffic

HOUR = 3_600.0
SPAMMER, COOK = [0, 1, 2, 3, 25], [20, 21, 22, 23, 26]


@pytest.fixture
def traffic(tmp_path):
    with Traffic(tmp_path / "monitor") as opened:
        yield opened


def ten_rows(traffic, **more):
    rows = [
        {"account": who, "ts": HOUR * hour, **more} for who, hours in (("s", SPAMMER), ("c", COOK)) for hour in hours
    ]
    write(traffic, rows, [{"seq": at, "flagged": at <= 5} for at in range(1, 11)])


def tried(text, *kinds, tokens=False):
    return [Candidate(text, Limit.read(text), kind, tokens) for kind in kinds or KINDS]


def test_ten_rows_by_hand(traffic):
    """3 a day. Fixed: the fourth of each day. Sliding: the cook's 26 h too, for 20 to 22 h are in its 24 hours. Bucket:
    one refills in 8 hours, so that at 26 h the cook has 0.75. In a queue the spammer's 3 h is answered at 24 h (fixed
    and sliding) or 8 h (bucket); the cook's 23 h at 24 h (fixed), or after the log's end at 26 h."""
    ten_rows(traffic)
    fixed, sliding, bucket = simulate(traffic, tried("3/day")).cuts
    assert [cut.requests.cut for cut in (fixed, sliding, bucket)] == [2, 3, 3]
    assert [cut.violating for cut in (fixed, sliding, bucket)] == [Share(1, 5)] * 3
    assert [cut.benign for cut in (fixed, sliding, bucket)] == [Share(1, 5), Share(2, 5), Share(2, 5)]
    assert [cut.tokens for cut in (fixed, sliding, bucket)] == [Share(60, 300), Share(90, 300), Share(90, 300)]
    assert [cut.waiting.cut for cut in (fixed, sliding, bucket)] == [0, 2, 2]
    assert [cut.waiting_violating.cut for cut in (fixed, sliding, bucket)] == [0, 0, 0]
    assert [cut.delay / HOUR for cut in (fixed, sliding, bucket)] == pytest.approx([11, 21, 5])
    assert (fixed.violating_accounts, fixed.benign_accounts) == (Share(1, 1), Share(1, 1))
    assert [cut.on_front for cut in (fixed, sliding, bucket)] == [True, False, False]


def test_limits_that_hold_together_tokens_and_money(traffic):
    ten_rows(traffic)
    assert (
        simulate(traffic, tried("3/day+2/h", "fixed")).cuts[0].requests
        == simulate(traffic, tried("3/day", "fixed")).cuts[0].requests
    )
    # 30 tokens each: 61 are used up after three requests
    [cut] = simulate(traffic, tried("61/day", "fixed", tokens=True), prices=(1e6, 0)).cuts
    assert (cut.requests.cut, cut.money) == (2, Share(20, 100))
    [cut] = simulate(traffic, tried("60/day", "fixed", tokens=True)).cuts
    assert (cut.requests.cut, cut.money) == (4, None)


def test_who_is_limited_and_what_is_not_known(traffic):
    ten_rows(traffic, key="k")
    write(traffic, [{"account": "x", "ts": HOUR * 5, "key": ""}] * 4)
    result = simulate(traffic, tried("1/week", "sliding"), per="key")
    assert (result.uncovered, result.cuts[0].requests, result.cuts[0].unscreened) == (4, Share(9, 14), Share(0, 4))
    assert "flagged by screeners in any category" in result.counted
    with pytest.raises(SpecError, match="no exchange was screened in rude"):
        simulate(traffic, tried("1/week"), category="rude")


def test_audits_correct_what_counts_as_violating(traffic):
    write(
        traffic, [{"account": "a" if at < 20 else "b", "ts": 60.0 * at} for at in range(80)],
        [{"seq": at, "flagged": at <= 20} for at in range(1, 81)],
    )  # fmt: skip
    people = {"labeler": "person ada", "stage": PERSON_STAGE, "chosen": "audit"}
    write(traffic, [], [{"seq": at, "flagged": at <= 15 or at == 80, **people} for at in range(1, 81)])
    # whoever labels says something of every side and category
    others = (("spam", "completion"), ("rude", "prompt"), ("rude", "completion"))
    write(traffic, [], [
        {"seq": at, "category": category, "side": side, **people}
        for at in range(1, 81) for category, side in others
    ])  # fmt: skip
    result = simulate(traffic, tried("10/day", "fixed"))
    [cut] = result.cuts
    # 10 of 20 flagged and 50 of 60 unflagged are cut; 3/4 and 1/60 of them violate
    assert cut.violating.cut == pytest.approx(10 * 0.75 + 50 / 60)
    assert cut.violating.total == pytest.approx(16)
    assert cut.benign.cut + cut.violating.cut == pytest.approx(60)
    assert "15 of 20 flagged and 1 of 60 unflagged ones violate" in result.counted


def test_heavy_users_are_those_who_ask_much_and_are_flagged_no_more_than_others(traffic):
    rows = [{"account": f"u{at}", "ts": 1000.0 + at} for at in range(50)]
    rows += [{"account": who, "ts": 2000.0 + 10 * at} for who in ("mixer", "spammer") for at in range(30)]
    write(traffic, rows, [{"seq": at, "flagged": at > 80} for at in range(1, 111)])
    [cut] = simulate(traffic, tried("20/day", "sliding")).cuts
    assert (cut.heavy, cut.violating, cut.benign_accounts) == (Share(10, 30), Share(10, 30), Share(1, 51))


def test_each_way_obeys_its_limit_and_actors_left_out_of_the_replay_are_never_stopped(traffic):
    """Brute force on random times: a window never holds more than the number, and nothing is stopped without need."""
    draw = np.random.default_rng(3)
    every = {}
    for actor in range(30):
        every[f"a{actor}"] = np.sort(draw.integers(0, 400, draw.integers(1, 40))).astype(float).tolist()
    write(traffic, [{"account": who, "ts": ts} for who, times in every.items() for ts in times],
          [{"seq": at} for at in range(1, 1 + sum(map(len, every.values())))])  # fmt: skip
    for kind, text in itertools.product(KINDS, ("3/min", "3/min+8/h")):
        limits = Limit.read(text)
        stopped = 0
        for times in every.values():
            result = enforced(times, [1.0] * len(times), limits, kind, tokens=False)
            stopped += sum(result.stopped)
            served, admitted = result.served, [ts for ts, no in zip(times, result.stopped, strict=True) if not no]
            assert served == sorted(served)
            assert all(late >= ts for late, ts in zip(served, times, strict=True))
            for flow in (admitted, served):
                for ts in flow:
                    inside = sum(ts - 60 < past <= ts for past in flow)
                    assert inside <= (3 if kind == "sliding" else 6)
                    if kind == "fixed":
                        assert sum(past // 60 == ts // 60 for past in flow) <= 3
        assert simulate(traffic, tried(text, kind)).cuts[0].requests.cut == stopped > 0


def test_a_limit_that_is_none_is_an_error_with_an_example():
    assert Limit.read("100/min+1_000/day") == (Limit(100, 60), Limit(1000, 86_400))
    for text in ("20", "0/day", "20/fortnight", "", "5/min+x", "-1/day"):
        with pytest.raises(SpecError, match="is none"):
            Limit.read(text)


def test_the_command_shows_benign_cost_and_both_ends_beside_what_is_stopped(traffic):
    ten_rows(traffic)
    traffic.close()
    words = ["monitor", "limits", str(traffic.folder), "--limit", "3/day", "--window", "fixed", "--price", "10", "0"]
    shown = CliRunner().invoke(cli, words, standalone_mode=False)
    assert shown.exception is None
    for part in (
        "3/day",
        "20%",
        "11 h 00 min",
        "Of 10 requests: 5 violating, 5 benign",
        "0.00 of 0.00",
        "If they queue",
    ):
        assert part in shown.stdout
    value = json.loads(CliRunner().invoke(cli, [*words, "--json"], standalone_mode=False).stdout)
    assert value["cuts"][0]["benign"] == {"cut": 1.0, "total": 5.0}
    grid = CliRunner().invoke(cli, ["monitor", "limits", str(traffic.folder), "--tokens"], standalone_mode=False)
    assert "1000000/day" in grid.stdout
