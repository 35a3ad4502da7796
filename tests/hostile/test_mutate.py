"""A changed file of any format is read, or refused in words: 300 changes here, 10,000 in `make hostile`."""

from hostile.mutate import failures, formats


def test_no_changed_file_ends_otherwise_than_well_or_in_words() -> None:
    tried, failed = failures(300, seed=2)
    assert failed == []
    assert tried.keys() == formats().keys()
    assert tried.total() == 300
