"""Logs into columns: nothing is lost or counted twice, whatever the log is like."""

import json
import random
import re

import pytest

from monitored import START, content, exchange, job, policy, rows, run, screened, write
from withstand.core import SpecError
from withstand.core.refusal import opening_refusal
from withstand.monitor.intake.columns import categories_by_name
from withstand.monitor.intake.salt import FILE
from withstand.monitor.traffic import NAME


def kinds(seen):
    return {(row["kind"], row["effect"]): row["lines"] for row in seen["happened"].value["problems"]}


def test_an_exchange_becomes_a_row_with_features_and_without_names(tmp_path):
    completion = "I'm sorry, but I can't help with that."
    log = write(tmp_path / "a.jsonl", [
        exchange(1, prompt="Sell the miracle pan to jo@soup.example, call 030 123 4567", completion=completion,
                 key="sk-kitchen", model="ladle", n_prompt_tokens=11, latency_ms=12.5, blocked=False),
        exchange(2, completion="", prompt="Mix flour and milk", account="", id="550e8400-e29b-41d4-a716-446655440000"),
        exchange(3, id="x000012345", app="for jo@soup.example", model="ladle-4-0125-20260301"),
    ])  # fmt: skip
    run(job(tmp_path, log, settings=screened(tmp_path)))
    names = "id, ts, account, key, model, prompt_tokens, latency_ms, blocked, refused, prompt_chars, prompt, completion"
    first, second, third = rows(tmp_path, f"SELECT {names} FROM exchange ORDER BY seq")
    assert first[4:8] == ("ladle", 11, 12.5, False)
    assert first[8:] == (
        bool(opening_refusal(completion)),
        58,
        "Sell the miracle pan to [mail], call [phone]",
        completion,
    )
    assert first[0:2] == ("x1", START + 60)
    assert all(re.fullmatch("[0-9a-f]{20}", name) for name in first[2:4])
    assert first[2] != first[3]
    assert second[2] == ""
    assert (second[0], third[0], third[4]) == (
        "550e8400-e29b-41d4-a716-446655440000",
        "x000012345",
        "ladle-4-0125-20260301",
    )  # figures of a name are no phone's
    assert second[8] is None  # no answer neither refuses nor complies
    labels = rows(
        tmp_path, "SELECT seq, category, side, score, flagged, labeler, stage, chosen FROM label ORDER BY ALL"
    )
    assert labels == [
        (1, "rude", "completion", 0.0, False, "cooks", 0, "all"),
        (1, "spam", "prompt", 1.0, True, "pan", 0, "all"),
        (2, "spam", "prompt", 0.0, False, "pan", 0, "all"),  # an empty answer was not cleared
        (3, "rude", "completion", 0.0, False, "cooks", 0, "all"),
        (3, "spam", "prompt", 0.0, False, "pan", 0, "all"),
    ]
    [(audit,)] = rows(tmp_path, "SELECT audit FROM exchange WHERE seq = 1")
    assert 0 <= audit < 1
    raw = b"".join(path.read_bytes() for path in (tmp_path / "monitor").iterdir())
    for secret in (b"jo@soup", b"123 4567", b"cook1@", b"sk-kitchen"):
        assert secret not in raw


def test_without_text_nothing_of_a_text_is_kept(tmp_path):
    log = write(tmp_path / "a.jsonl", [exchange(1, prompt="Sell the miracle pan")])
    seen = run(job(tmp_path, log, settings=screened(tmp_path, text=False)))
    assert rows(tmp_path, "SELECT prompt, completion, prompt_chars FROM exchange") == [(None, None, 20)]
    assert rows(tmp_path, "SELECT * FROM skeleton") == []
    assert rows(tmp_path, "SELECT flagged FROM label WHERE category = 'spam'") == [(True,)]  # screened before
    assert seen["happened"].value["without_text"] == 1


def test_a_copy_is_read_once_and_what_may_be_none_is_kept_and_counted(tmp_path):
    plain = {"id": None, "ts": START}  # neither an id nor parts of a second
    log = write(tmp_path / "a.jsonl", [
        exchange(1), exchange(2), exchange(1),  # line 3: a restarted writer
        exchange(2, prompt="Another question"),  # line 4: the id again
        exchange(5, **plain), exchange(5, **plain),  # line 6: twice in a second, or a copy
        exchange(7, **plain, latency_ms=7.5), exchange(7, **plain, latency_ms=7.5),  # line 8: a copy
        exchange(9, id=None, ts=START + 0.25), exchange(9, id=None, ts=START + 0.25),  # line 10: a copy
    ])  # fmt: skip
    seen = run(job(tmp_path, log))
    assert kinds(seen) == {("copy", "passed over"): 3, ("id again", "kept"): 1, ("same line again", "kept"): 1}
    assert [row[0] for row in rows(tmp_path, "SELECT line FROM exchange ORDER BY seq")] == [1, 2, 4, 5, 6, 7, 9]
    assert rows(tmp_path, "SELECT line FROM problem WHERE kind = 'copy' ORDER BY line") == [(3,), (8,), (10,)]
    second = write(tmp_path / "b.jsonl", [exchange(5, **plain), exchange(1, ts=f"{START + 60:.3f}")])
    seen = run(job(tmp_path, log, second))  # another log: there it is a copy
    assert kinds(seen)["copy", "passed over"] == 5
    assert "5 lines are copies of ones read before." in seen["happened"].answer
    assert rows(tmp_path, "SELECT count(*), max(seq) FROM exchange") == [(7, 7)]


def test_labels_of_a_log_are_of_the_policys_categories_where_it_maps_to_them(tmp_path):
    assert categories_by_name(policy(tmp_path))["harassment_threatening"] == "rude"
    log = write(tmp_path / "a.jsonl", [
        exchange(1, labels={"spam": 0.5, "harassment/threatening": 0.2, "harassment_threatening": 0.9, "burnt": 1},
                 labeler="filter", labeler_version="3", policy_version="9"),
        exchange(2, labels={"spam": None}), exchange(3, labels={"spam": 7}),
    ])  # fmt: skip
    seen = run(job(tmp_path, log))
    labels = rows(
        tmp_path, "SELECT seq, category, side, score, flagged, labeler, version, stage FROM label ORDER BY ALL"
    )
    assert labels == [
        (1, "burnt", "exchange", 1.0, True, "filter", "3, policy 9", -1),
        (1, "rude", "exchange", 0.9, True, "filter", "3, policy 9", -1),
        (1, "spam", "exchange", 0.5, True, "filter", "3, policy 9", -1),
    ]
    assert kinds(seen)["unknown category", "kept"] == 1
    assert "Map the categories" in " ".join(seen["happened"].advice)
    personal = {"to ann@soup.example": 1, "spam": 0.9}
    names = {
        "labeler": "by ann@soup.example",
        "labeler_version": "key sk-0123456789abcdef01",
        "policy_version": "+49 30 1234567",
    }
    run(job(tmp_path, write(tmp_path / "p.jsonl", [exchange(2, labels=personal, **names)])))
    assert rows(
        tmp_path, "SELECT DISTINCT category, labeler, version FROM label WHERE labeler <> 'filter' ORDER BY ALL"
    ) == [
        ("spam", "by [mail]", "key [key], policy [phone]"),
        ("to [mail]", "by [mail]", "key [key], policy [phone]"),
    ]
    assert rows(tmp_path, "SELECT count(*) FROM problem WHERE why LIKE '%soup.example%'") == [(0,)]
    again = write(tmp_path / "b.jsonl", [exchange(2, labels={"spam": 0.7}, labeler="later"), exchange(2), exchange(1)])
    run(job(tmp_path, again))  # a log that was labeled later: no exchange is new, its labels are
    assert rows(tmp_path, "SELECT seq, score FROM label WHERE labeler = 'later'") == [(2, 0.7)]
    assert rows(tmp_path, "SELECT count(*) FROM exchange") == [(3,)]
    run(job(tmp_path, write(tmp_path / "c.jsonl", [exchange(2, labels={"spam": 0.7}, labeler="later")])))
    assert rows(tmp_path, "SELECT count(*) FROM label") == [(6,)]


def test_wrong_clocks_are_counted_and_move_neither_the_series_nor_its_end(tmp_path):
    log = write(tmp_path / "a.jsonl", [
        exchange(0), exchange(1, ts=12.0), exchange(2), exchange(3, ts=4.2e9), exchange(4, ts=START - 7200),
        exchange(5), exchange(6, ts=START + 400 * 86_400), *map(exchange, range(7, 40)),
    ])  # fmt: skip
    seen = run(job(tmp_path, log))
    value = seen["happened"].value
    assert (value["begin"], value["end"]) == (START - 7200, START + 60 * 39)
    assert value["outside"] == {"exchanges": 1, "first": [{"log": log, "line": 7, "ts": START + 400 * 86_400}]}
    assert seen["happened"].state == "note"
    clocks = [(kind, line) for kind, line in rows(tmp_path, "SELECT kind, line FROM problem ORDER BY line")]
    assert clocks == [
        ("clock before 2000", 2), ("clock after 2100", 4), ("clock goes back", 5), ("clock goes back", 8)
    ]  # fmt: skip
    times = [ts for (ts,) in rows(tmp_path, "SELECT ts FROM exchange ORDER BY seq LIMIT 4")]
    assert times == [START, START, START + 120, START + 120]  # that of the line before
    first = write(tmp_path / "b.jsonl", [exchange(50, ts=1.0), exchange(51), exchange(52, ts=2.0)])
    run(job(tmp_path, first))
    assert rows(tmp_path, "SELECT ts FROM exchange WHERE source = 2") == [(START + 60 * 51,)] * 3
    seen = run(job(tmp_path, write(tmp_path / "c.jsonl", [exchange(60, ts=1.0)])))
    assert kinds(seen)["no sound time", "lost"] == 1


def test_lines_that_cannot_be_read_are_counted_with_their_numbers(tmp_path):
    bad = ['{"ts": 1, "acc', "\0\0\0", "soup", "", '{"ts": 5}', json.dumps(exchange(3, prompt="x" * 30_000))]
    log = write(tmp_path / "a.jsonl", [exchange(1), *bad, exchange(9, prompt="\ud800 soup \0")])
    seen = run(job(tmp_path, log))
    value = seen["happened"].value
    effects = {effect: sum(row["lines"] for row in value["problems"] if row["effect"] == effect)
               for effect in ("lost", "passed over")}  # fmt: skip
    assert value["lines"] == 8
    assert value["exchanges"] + sum(effects.values()) == 8
    assert effects == {"lost": 4, "passed over": 1}
    assert seen["happened"].state == "alarm"
    assert "Mend the log" in seen["happened"].advice[0]
    first = {row["kind"]: row["first"] for row in value["problems"]}
    assert first["half-written line"] == [f"{log}:2"]
    assert first["text cut"] == [f"{log}:7"]
    [(length, kept)] = rows(tmp_path, "SELECT prompt_chars, length(prompt) FROM exchange WHERE line = 7")
    assert (length, kept) == (30_000, 20_000)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(job(empty, write(empty / "e.jsonl", [])))["happened"].state == "unknown"


def test_a_changed_salt_is_refused_and_says_why(tmp_path):
    log = write(tmp_path / "a.jsonl", [exchange(1)])
    run(job(tmp_path, log))
    salt = tmp_path / "monitor" / FILE
    assert salt.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "monitor" / NAME).stat().st_mode & 0o077 == 0
    with pytest.raises(SpecError, match="an account would have two names"):
        run(job(tmp_path, log, salt="another salt, from the environment"))
    with pytest.raises(SpecError, match="5 characters"):
        run(job(tmp_path, log, salt="short"))
    salt.chmod(0o644)
    with pytest.raises(SpecError, match="can be read by others"):
        run(job(tmp_path, log))
    salt.unlink()
    with pytest.raises(SpecError, match="not the one"):  # a new one would be made, and name nobody as before
        run(job(tmp_path, log))


def test_equal_logs_give_equal_columns_whatever_the_batches(tmp_path, monkeypatch):
    from withstand.monitor.intake import read

    records = [exchange(number, id=f"x{number % 47}") for number in range(60)]
    contents = []
    for name, size, limit in (("a", read.SIZE, read.ROWS), ("b", 2_000, 1), ("c", 3_000, 25)):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setattr(read, "SIZE", size)
        monkeypatch.setattr(read, "ROWS", limit)
        log = write(tmp_path / "same.jsonl", records)
        seen = run(job(folder, log, settings=screened(folder), salt="the same salt for all of them"))
        contents.append((content(folder), json.dumps(seen["happened"].value, sort_keys=True)))
    assert contents[0] == contents[1] == contents[2]


def test_each_line_of_a_mangled_log_is_an_exchange_or_counted(tmp_path):
    draw = random.Random(5)
    mangled = []
    for number in range(150):
        line = bytearray(
            json.dumps(exchange(number, ts=draw.choice([START + number, "soon", -1, 1e300, None]))).encode()
        )
        for _ in range(draw.choice([0, 0, 1, 4])):
            at = draw.randrange(len(line))
            line[at : at + draw.choice([0, 1, 30])] = draw.choice(
                [b"\0", b"\xff\xfe", b"\\ud800", b'"', b"}", b"9" * 40]
            )
        mangled.append(bytes(line).replace(b"\n", b" "))
    log = tmp_path / "a.jsonl"
    log.write_bytes(b"\n".join(mangled) + b"\n")
    value = run(job(tmp_path, log, form="plain"))["happened"].value
    left_out = sum(row["lines"] for row in value["problems"] if row["effect"] != "kept")
    assert value["lines"] == len(mangled) == value["exchanges"] + left_out
    assert value["exchanges"] > 10
    assert left_out > 10
    listed = {line for (line,) in rows(tmp_path, "SELECT line FROM problem")}
    kept = {line for (line,) in rows(tmp_path, "SELECT line FROM exchange")}
    assert listed | kept == set(range(1, 151))  # each by its number


def test_hours_without_a_line_are_no_calm_hours(tmp_path):
    """A logger that was dead, all blocked, and no answer: said, and nothing to be calm about. Nights are no gap."""
    every = [exchange(number, ts=START + 600 * number) for number in range(4 * 144)]
    day = [line for line in every if (line["ts"] - START) % 86_400 < 12 * 3_600]
    assert run(job(tmp_path, write(tmp_path / "a.jsonl", day)))["happened"].state == "calm"
    (tmp_path / "monitor").rename(tmp_path / "nights")
    dead = [line for line in every if not START + 216_000 <= line["ts"] < START + 250_000]
    seen = run(job(tmp_path, write(tmp_path / "b.jsonl", dead)))["happened"]
    assert seen.state == "note"
    assert "No exchange is there from 2026-02-27 19:00 UTC to 2026-02-28 03:00 UTC, where 48 are usual" in seen.answer
    (tmp_path / "monitor").rename(tmp_path / "dead")
    ahead = [{**line, "ts": line["ts"] + 365 * 86_400} if at % 50 == 0 else line for at, line in enumerate(every)]
    seen = run(job(tmp_path, write(tmp_path / "d.jsonl", ahead)))["happened"]
    assert (seen.state, "from 2026-03-01 07:00 UTC to 2027-02-25 06:00 UTC" in seen.answer) == ("note", True), (
        seen.answer
    )
    (tmp_path / "monitor").rename(tmp_path / "ahead")
    mute = [{**line, "completion": None, "blocked": True} for line in every]
    seen = run(job(tmp_path, write(tmp_path / "c.jsonl", mute)))["happened"]
    assert seen.state == "note"
    assert "100% were blocked. 100% have no answer" in seen.answer


def test_a_word_with_hidden_characters_in_it_is_flagged_by_a_rule(tmp_path):
    hidden = [
        "mira\u200bcle pan",
        "\uff4diracle pan",
        "".join(chr(0xE0000 + ord(letter)) for letter in "miracle pan") + "!",
    ]
    log = write(tmp_path / "a.jsonl", [exchange(at, prompt=text) for at, text in enumerate([*hidden, "a soup"])])
    run(job(tmp_path, log, settings=screened(tmp_path)))
    query = "SELECT flagged FROM label WHERE labeler = 'pan' ORDER BY seq"
    assert rows(tmp_path, query) == [(True,), (True,), (True,), (False,)]
