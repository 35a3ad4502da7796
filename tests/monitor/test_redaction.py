"""What is masked in a text, what is not, and that no text takes long."""

import pytest

from cases import walk_cases
from clocks import subquadratic
from withstand.monitor.intake.redaction import is_card, redact

DAYS = "2026-03-01 12:30, 20260301, 01.03.2026, 350 g, 1,500 ml"


@walk_cases(
    ("text", "masked"),
    [
        ("mail jo.o+k@soup.example.com, call +49 (0)30 123 456 78.", "mail [mail], call +[phone]."),
        ("4111 1111 1111 1111, 4111-1111-1111-1112", "[card], [phone]"),  # the second fails Luhn's check
        ("password: hunter2x; api key = abcdefgh", "password: [key]; api key = [key]"),
        ("the secret ingredient is basil, password manager", "the secret ingredient is basil, password manager"),
        ("https://jo:pw@soup.example/x?api_key=abc&y=1", "https://[credentials]@soup.example/x?api_key=[key]&y=1"),
        ("192.168.1.20:80, 2001:db8::1, at 12:30:45", "[ip]:80, [ip], at 12:30:45"),
        ("sk-abcdefghijklmnopqrstuv ghp_abcdefghijklmnop1234 AKIAABCDEFGHIJKLMNOP", "[key] [key] [key]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc, d41d8cd98f00b204e9800998ecf8427e", "[key], [key]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- soup", "[key] soup"),
        ("DE89 3704 0044 0532 0130 00 and 123-45-6789", "[account] and [account]"),
        (DAYS, DAYS),
        ("soup-of-the-day-with-bread-and-butter-2026", "soup-of-the-day-with-bread-and-butter-2026"),
        ("tel. \uff10\uff13\uff10 \uff11\uff12\uff13 \uff14\uff15\uff16\uff17", "tel. [phone]"),  # wide digits
    ],
)  # fmt: skip
def test_what_is_personal_is_masked_and_nothing_else(text, masked):
    assert redact(text) == masked
    assert redact(masked) == masked


def test_luhns_check():
    assert is_card("4111111111111111")
    assert not is_card("4111111111111112")
    assert not is_card("42")


@pytest.mark.parametrize("part", ["1 ", "a@", "a:", "1.1.1.1.", "DE89 AAAA ", "://a:", "-", "sk-", "password: "])
def test_the_work_grows_with_the_length(part):
    assert subquadratic(lambda size: redact(part * (size // len(part))), 40_000)
