"""The codes behind the links of `transform`: pure functions on text, each with its inverse.

An inverse gives back what its code was given, within the limits that stand beside it. What is not in the code raises
`ValueError` or comes back as it is; of an answer that was cut it reads what is there.
"""

import base64
import codecs
import json
import re
from collections.abc import Callable

Code = Callable[[str], str]

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
LEET = str.maketrans("aeiostAEIOST", "431057" * 2)
UNLEET = str.maketrans("431057", "aeiost")
# Words that nearly every English answer has; all of them have a letter that leetspeak writes as a digit.
COMMON = re.compile(
    r"\b(?:an|and|are|as|can|for|if|in|is|it|not|of|on|or|that|the|this|to|with|you|your)\b", re.IGNORECASE
)
SIGNS = """.- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --..
----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----.
.-.-.- --..-- ..--.. .----. -.-.-- -..-. -.--. -.--.- .-... ---... -.-.-. -...- .-.-. -....- ..--.- .-..-. .--.-."""
MORSE = dict(zip(ALPHABET + "0123456789" + ".,?'!/()&:;=+-_\"@", SIGNS.split(), strict=True))


def octets(text: str) -> bytes:
    """UTF-8; half a surrogate pair survives."""
    return text.encode("utf-8", "surrogatepass")


def utf8(data: bytes) -> str:
    """The inverse of `octets`, less a character that was cut at the end."""
    return codecs.getincrementaldecoder("utf-8")("surrogatepass").decode(data)


def in_runs(pattern: str, decode: Code) -> Code:
    """`decode` for the whole text; else for each match of `pattern` in it, since models put words around a code."""

    def strictly(text: str) -> str:
        decoded = decode("".join(text.split()))
        if text.strip() and not decoded:  # too short to be one: "No" is an answer
            raise ValueError("nothing of it can be decoded")
        return decoded

    def replaced(match: re.Match[str]) -> str:
        try:
            return strictly(match[0])
        except ValueError:
            return match[0]

    def decoded(text: str) -> str:
        try:
            return strictly(text)
        except ValueError:
            return re.sub(pattern, replaced, text)

    return decoded


def to_base64(text: str) -> str:
    return base64.b64encode(octets(text)).decode()


def from_base64(text: str) -> str:
    return utf8(base64.b64decode(text[: len(text) // 4 * 4], validate=True))


def to_hex(text: str) -> str:
    return octets(text).hex(" ")


def from_hex(text: str) -> str:
    return utf8(bytes.fromhex(text[: len(text) // 2 * 2]))


def to_binary(text: str) -> str:
    return " ".join(f"{octet:08b}" for octet in octets(text))


def from_binary(text: str) -> str:
    return utf8(bytes(int(text[i : i + 8], 2) for i in range(0, len(text) - 7, 8)))


def letters(code: str) -> Code:
    """Each ASCII letter becomes the one at its place in `code`, in its own case."""
    table = str.maketrans(ALPHABET + ALPHABET.upper(), code + code.upper())
    return lambda text: text.translate(table)


def backwards(text: str) -> str:
    return text[::-1]


def from_leet(text: str) -> str:
    """In lower case where it was a digit. The digits of a plain answer ("40 g of rye") are numbers."""
    if COMMON.search(text):
        raise ValueError("some of its words are plain")
    return text.translate(UNLEET)


def to_morse(text: str) -> str:
    """What Morse has no sign for stays as it is."""
    lines = (line.lower().split(" ") for line in text.split("\n"))
    return "\n".join(" / ".join(" ".join(MORSE.get(c, c) for c in word) for word in words) for words in lines)


def from_morse(text: str) -> str:
    """In lower case."""
    tokens = text.split()
    if 2 * sum(bool(re.fullmatch("[.-]+|/", token)) for token in tokens) < len(tokens):
        raise ValueError("most of it is no Morse code")
    back = {code: letter for letter, code in MORSE.items()}
    lines = (re.split(" ?/ ?", line) for line in text.split("\n"))
    return "\n".join(" ".join("".join(back.get(c, c) for c in word.split(" ")) for word in words) for words in lines)


def to_spaces(text: str) -> str:
    return "\n".join(" ".join(line) for line in text.split("\n"))


def from_spaces(text: str) -> str:
    return "\n".join(line if line[1::2].strip(" ") else line[::2] for line in text.split("\n"))


def to_pig_latin(text: str) -> str:
    """With a hyphen, so that it can be read back: "oven bread" is "oven-ay ead-bray"."""
    return re.sub("(?ai)([b-df-hj-np-tv-z]*)([a-z]*)", lambda m: f"{m[2]}-{m[1]}ay" if m[0] else "", text)


def from_pig_latin(text: str) -> str:
    """Exact where the text had no hyphen."""
    # A word is read from its first letter alone: else a text without a hyphen would be read from each of its letters.
    return re.sub("(?ai)(?:(?<![a-z])|(?=-))([a-z]*)-([b-df-hj-np-tv-z]*)ay(?![a-z])", r"\2\1", text)


def to_code(text: str) -> str:
    parts = "".join(f"        {json.dumps(part)},\n" for part in re.split(r"(?<=\s)(?=\S)", text))
    return f'def message():\n    parts = [\n{parts}    ]\n    return "".join(parts)'


def from_code(text: str) -> str:
    """Two halves of a surrogate pair come back as the one character that they make."""
    string = r'"(?:[^"\\]|\\.)*"'
    match = re.search(rf"\bparts = \[((?:\s*{string}\s*,?)*)", text)
    if not match:
        raise ValueError("there is no list of parts in it")
    return "".join(json.loads(part) for part in re.findall(string, match[1]))
