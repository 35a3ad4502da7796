"""A changed file of any format is read, or refused in words: 240 changes here, 10,000 in `make hostile`.

So is one that a command gets: 12 here, 3,000 there.
"""

from hostile import commands
from hostile.mutate import failures, formats


def test_no_changed_file_ends_otherwise_than_well_or_in_words() -> None:
    tried, failed = failures(240, seed=2)
    assert failed == []
    assert tried.keys() == formats().keys()
    assert tried.total() == 240


def test_no_command_on_a_changed_file_ends_with_a_code_that_is_not_documented() -> None:
    tried, failed = commands.failures(12, seed=3)
    assert failed == []
    assert len(tried) > 6
