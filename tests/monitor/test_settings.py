"""The file of a monitor, and its columns."""

from contextlib import suppress

import pytest

from withstand.core import SpecError
from withstand.monitor.settings import SCHEMA, read_settings
from withstand.monitor.traffic import NAME, Traffic
from withstand.redteam.policy.records import SCHEMA as POLICY
from withstand.redteam.policy.records import read_policy


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.toml"
    category = '[[category]]\nid = "spam"\ntitle = "Spam"\ndefinition = "bulk"\nseverity = 1\ntier = "monitored"\n'
    path.write_text(f'schema = "{POLICY}"\n[policy]\nname = "P"\nversion = "1"\n{category}action = "log"\n')
    return read_policy(path)


def test_all_errors_of_a_file_are_said_at_once(tmp_path, policy):
    path = tmp_path / "monitor.toml"
    screener = '[[screener]]\nid = "a"\njudge = "contains:x"\ncategory = "spom"\nafter = ["b"]\n'
    path.write_text(f'schema = "{SCHEMA}"\n[monitor]\naudit_rate = 0.0\n{screener}[alerts]\ndays = -1\n')
    with pytest.raises(SpecError) as caught:
        read_settings(path, policy)
    for wrong in ("audit_rate is 0.0", "no 'spom'", "no screener 'b' stands before", "are above 0"):
        assert wrong in str(caught.value)
    path.write_text(f'schema = "{SCHEMA}"\n[columns]\nts = "time"\n')
    settings = read_settings(path, policy)
    assert (settings.columns, settings.keeping.audit_rate, settings.screeners) == ({"ts": "time"}, 0.01, ())


def test_a_batch_stands_whole_or_not_at_all(tmp_path):
    with pytest.raises(SpecError, match="holds no traffic"):
        Traffic(tmp_path / "monitor", read_only=True)
    with Traffic(tmp_path / "monitor") as traffic:
        with suppress(ZeroDivisionError), traffic.transaction():
            traffic.database.execute("INSERT INTO problem VALUES (1, 1, 'a', 'b')")
            raise ZeroDivisionError
        assert traffic.rows("SELECT * FROM problem") == []
        with traffic.transaction():
            traffic.database.execute("INSERT INTO problem VALUES (1, 1, 'a', 'b')")
    with Traffic(tmp_path / "monitor", read_only=True) as traffic:
        assert traffic.rows("SELECT kind FROM problem") == [("a",)]
    assert (tmp_path / "monitor" / NAME).stat().st_mode & 0o077 == 0


def test_one_wrong_clock_moves_neither_the_beginning_nor_the_end_of_the_traffic(tmp_path):
    with Traffic(tmp_path) as traffic:
        assert traffic.span() is None
        traffic.database.execute("INSERT INTO exchange (seq, ts) SELECT i, 1.7e9 + 60 * i FROM range(100) t(i)")
        assert traffic.span() == (1.7e9, 1.7e9 + 60 * 99)
        traffic.database.execute("INSERT INTO exchange (seq, ts) VALUES (200, 3e9), (201, 1e9)")
        assert traffic.span() == (1.7e9, 1.7e9 + 60 * 99)
        traffic.database.execute("DELETE FROM exchange")  # a quiet service: its last day is no wrong clock
        traffic.database.execute("INSERT INTO exchange (seq, ts) SELECT i, 1.7e9 + 200_000 * i FROM range(10) t(i)")
        assert traffic.span() == (1.7e9, 1.7e9 + 200_000 * 9)
