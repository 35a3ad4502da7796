"""The traceback of a user's own component: stored, named at the end of the run, and shown."""

import re
from pathlib import Path

OWN = """from dataclasses import dataclass

from withstand.core import TestCase, user


@dataclass(frozen=True)
class Burns:
    version = "1"
    needs = frozenset()

    def run(self, behavior, target):
        raise ZeroDivisionError("the soup is burnt")
        yield
"""
RUN = ("run", "--suite", "kitchen", "--target", "scripted-kitchen", "--limit", "2", "--benign", "none")


def test_a_traceback_of_an_own_attack_is_named_once_and_shown(withstand, tmp_path):
    (tmp_path / "burnt_attacks.py").write_text(OWN)
    done = withstand(*RUN, "--attack", "burnt_attacks:Burns")
    assert done.code == 3
    named = re.findall(r"^trace: withstand status --trace ([0-9a-f]{8})$", done.err, re.MULTILINE)
    assert len(named) == 1
    assert withstand("status", "--json").json["failures"][0]["trace"] == named[0]
    assert f"trace: withstand status --trace {named[0]}" in withstand("status").err
    shown = withstand("status", "--trace", named[0])
    assert shown.code == 0
    assert re.search(r'burnt_attacks\.py", line 12, in run\n    raise ZeroDivisionError', shown.out)
    assert shown.out.endswith("ZeroDivisionError: the soup is burnt\n")


def test_a_trace_that_is_not_there(withstand):
    withstand(*RUN, "--attack", "direct")
    done = withstand("status", "--trace", "0123abcd")
    assert done.code == 2
    assert "no failure in withstand.db has the trace 0123abcd" in done.err


def test_a_failure_without_a_traceback_of_own_code_names_none(withstand, openai_server):
    server = openai_server(faults=["400"])
    done = withstand(*RUN, "--attack", "direct", "--target", f"openai:m,base_url={server.url},lanes=1,tries=1")
    assert done.code == 3
    assert "trace:" not in done.err


def test_a_module_that_an_own_component_lacks_is_named(withstand, tmp_path):
    (tmp_path / "gdba_attacks.py").write_text(f"import numpyx_of_nobody\n{OWN}")
    done = withstand(*RUN, "--attack", "gdba_attacks:Burns")
    assert done.code == 2
    assert "the module numpyx_of_nobody that gdba_attacks.py imports is not installed" in done.err
    assert "did you mean" not in done.err


def test_an_own_module_that_is_not_there_is_said_to_be_missing(withstand):
    done = withstand(*RUN, "--attack", "gbdaa:Attack")
    assert (done.code, "did you mean" in done.err) == (2, False)
    assert "no attack is called 'gbdaa', and there is no module gbdaa" in done.err
    assert "gbdaa.py" in done.err
    assert not Path("withstand.db").exists()
