"""Secrets are found in the forms in which servers quote them, and in no other text."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

from cases import walk_cases
from withstand.core.redact import Redactor

SECRET = 'sk-a+/7"Zk 9<q>2=Lx5'


@walk_cases(
    "form",
    [
        SECRET,
        SECRET.upper(),
        quote(SECRET),
        quote(SECRET, safe="").lower(),
        quote_plus(SECRET),
        html.escape(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET)[1:-1].replace("/", "\\/"),
    ],
)
def test_each_form_of_a_secret_becomes_its_name(form):
    assert Redactor({SECRET: "KEY"}).text(f"before {form} after") == "before [KEY] after"


@walk_cases("before", ["", "u", "us", "user:", "Bearer "])
@walk_cases("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_within_base64_is_gone_but_for_its_edges(before, encode):
    coded = encode(f"{before}{SECRET} and more".encode()).decode()
    left = Redactor({SECRET: "KEY"}).text(coded)
    assert left.count("[KEY]") == 1
    assert len(coded) - len(left.replace("[KEY]", "")) >= len(SECRET) * 8 // 6 - 3


def test_the_longer_of_two_secrets_is_found_first_and_short_ones_are_left():
    redact = Redactor({"secret-1": "A", "secret-12": "B", "abc": "C"})
    assert redact.text("secret-12 secret-1 abc") == "[B] [A] abc"
    assert Redactor({}).text("secret-1") == "secret-1"


def test_json_is_redacted_in_all_its_texts():
    value = {"a": ["x secret-1", {"secret-1": 1, "b": None}], "n": 2.5}
    assert Redactor({"secret-1": "K"}).json(value) == {"a": ["x [K]", {"[K]": 1, "b": None}], "n": 2.5}
