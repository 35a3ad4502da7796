"""Redaction: mail addresses, phone, card and account numbers, keys, addresses of machines and passwords in URLs.

Each is replaced by its kind in brackets. It errs towards redacting: a long order number goes with the phone numbers.
Names of people and streets are not found. Every pattern is linear in the text: repeats are possessive, or have a limit
and a fixed beginning.

Measured on one core: 5 us for a prompt of 300 characters without digits, 20 us with numbers in it, 30 ms for a million
characters (bench/monitor_intake.py).
"""

import re
from ipaddress import AddressValueError, IPv6Address

CREDENTIALS = re.compile(r"(?<=://)[^\s/@:?#]{0,200}:[^\s/@]{1,200}(?=@)")
PARAMETER = re.compile(
    r"([?&](?:access_?token|api_?key|auth|key|pass(?:word)?|pwd|secret|sig(?:nature)?|token)=)[^\s&#\"'<>]++",
    re.IGNORECASE,
)
MAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]++@[\w-]{1,63}+(?:\.[\w-]{1,63}+)++")
PEM = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:(?!-----END)[\s\S])*+(?:-----END [A-Z ]{0,40}-----)?")
KEY = re.compile(
    r"\b(?:sk|pk|rk)[-_][\w-]{16,}+"  # OpenAI, Anthropic, Stripe
    r"|\b(?:gh[opusr]|github_pat|glpat|hf|npm|xox[abprs])[-_][\w-]{16,}+"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{30,}+"
    r"|\beyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]*+)?"  # a JSON web token
)
NAMED = re.compile(
    r"\b(?:api[_ -]?key|access[_ -]?token|auth[_ -]?token|secret(?:[_ -]?key)?|pass(?:word|wd)|pwd|bearer)\b"
    r"([\"']?\s?(?:[:=]| is| )\s?[\"']?)([^\s\"',;\[]{6,200}+)",
    re.IGNORECASE,
)
LONG = re.compile(r"(?<![A-Za-z0-9_+/=-])[A-Za-z0-9_+/=-]{32,}+")
IPV4 = re.compile(r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?!\.?\w)")
IPV6 = re.compile(r"(?<![\w:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
IBAN = re.compile(r"\b[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
DIGITS = re.compile(r"\d(?:[ ()/.-]{0,2}\d){6,}+")
"""Seven digits or more, as phones and cards are written."""
ABROAD = re.compile(r"(?<!\w)\+\d(?:[ ()/.-]{0,2}\d){7,}+")
"""A phone number with the code of its country: no version of a model begins so."""
DAY = re.compile(r"(?:(?:19|20)\d\d[-/.]?[01]\d[-/.]?[0-3]\d|[0-3]?\d[-/.][01]?\d[-/.](?:19|20)\d\d)(?: \d{1,4})?")
"""A day, perhaps with an hour behind it."""
SOCIAL = re.compile(r"\d{3}-\d\d-\d{4}")
RUN = re.compile(r"[A-Za-z0-9_+/=.-]{19}")
"""A text without such a run has no key that `KEY` and `LONG` name."""
NAMES = ("pass", "pwd", "key", "token", "secret", "bearer")
FIGURES = b"0123456789"


def redact(text: str) -> str:
    """The text with `[mail]`, `[phone]`, `[card]`, `[account]`, `[key]`, `[ip]`, `[credentials]` in place of what they
    name. A text that is redacted stays as it is."""
    if "://" in text:
        text = CREDENTIALS.sub("[credentials]", text)
    if "=" in text:
        text = PARAMETER.sub(r"\1[key]", text)
    if "-----BEGIN" in text:
        text = PEM.sub("[key]", text)
    if "@" in text:
        text = MAIL.sub("[mail]", text)
    if RUN.search(text):
        text = LONG.sub(_long, KEY.sub("[key]", text))
    lower = text.lower()
    if any(name in lower for name in NAMES):
        text = NAMED.sub(_named, text)
    # the cheap look first: most texts have few figures or none
    if _figures(text) >= 4:
        text = DIGITS.sub(_digits, IPV4.sub("[ip]", IBAN.sub(_iban, text)))
    if text.count(":") > 1:
        text = IPV6.sub(_ipv6, text)
    return text


def redact_name(name: str) -> str:
    """An id, or the name of a model or an application, without what is personal in it. Its figures are the name's."""
    if "@" in name or "=" in name:
        name = PARAMETER.sub(r"\1[key]", MAIL.sub("[mail]", CREDENTIALS.sub("[credentials]", name)))
    if "+" in name:
        name = ABROAD.sub("[phone]", name)
    return KEY.sub("[key]", name) if RUN.search(name) else name


def _figures(text: str) -> int:
    """How many digits a text has, of any script where it is not ASCII."""
    if not text.isascii():
        return sum(map(str.isdigit, text))
    raw = text.encode()
    return len(raw) - len(raw.translate(None, FIGURES))


def is_card(digits: str) -> bool:
    """Whether these digits are 13 to 19 and pass Luhn's check (ISO/IEC 7812-1)."""
    if not 13 <= len(digits) <= 19:
        return False
    total = 0
    for at, digit in enumerate(map(int, reversed(digits))):
        total += digit if at % 2 == 0 else digit * 2 - 9 * (digit > 4)
    return total % 10 == 0


def _digits(match: re.Match[str]) -> str:
    digits = "".join(filter(str.isdigit, match[0]))
    if is_card(digits):
        return "[card]"
    if SOCIAL.fullmatch(match[0]):
        return "[account]"
    return match[0] if DAY.fullmatch(match[0]) else "[phone]"


def _iban(match: re.Match[str]) -> str:
    """ISO 13616: the letters as numbers from 10, the first four characters last, are 1 modulo 97."""
    text = match[0].replace(" ", "")
    number = int("".join(str(int(character, 36)) for character in text[4:] + text[:4]))
    return "[account]" if number % 97 == 1 else match[0]


def _ipv6(match: re.Match[str]) -> str:
    try:
        IPv6Address(match[0])
    except AddressValueError:
        return match[0]
    return "[ip]" if match[0] != "::" else match[0]


def _long(match: re.Match[str]) -> str:
    """A run of 32 characters or more with a part that mixes letters and digits: a key or a hash, no long word."""
    parts = re.split("[_+/=-]", match[0])
    mixed = any(len(part) >= 8 and not part.isalpha() and not part.isdigit() for part in parts)
    return "[key]" if mixed else match[0]


def _named(match: re.Match[str]) -> str:
    """What is called a password or a key; "the secret ingredient" and "password manager" are none."""
    between, value = match[1], match[2]
    if ":" in between or "=" in between or not value.rstrip(".!?").replace("-", "").isalpha():
        return f"{match[0][: -len(value)]}[key]"
    return match[0]
