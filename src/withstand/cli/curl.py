"""A call of curl as the fields of the target `http`: where the prompt goes is guessed, secrets become variables."""

import getopt
import json
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from withstand.core import Json, SpecError, bounded
from withstand.models import _wire

DATA = ("--data", "--data-raw", "--data-ascii", "--data-binary", "--json")
SENT = (
    *DATA, "--request", "--header", "--url", "--cacert", "--cert", "--key", "--cookie", "--user-agent", "--referer",
    "--max-time",
)  # fmt: skip
REFUSED = {
    "--user": "send the header instead, with a variable: -H 'Authorization: Basic ${NAME}'",
    "--proxy": "set HTTPS_PROXY in the environment",
    "--insecure": "name the server's certificate: --cacert FILE",
    "--form": "multipart forms cannot be sent; has the application a form in JSON?",
    "--upload-file": "files cannot be sent",
}
SHORT = {
    "-X": "--request", "-H": "--header", "-d": "--data", "-E": "--cert", "-b": "--cookie", "-A": "--user-agent",
    "-u": "--user", "-x": "--proxy", "-F": "--form", "-m": "--max-time", "-o": "--output", "-k": "--insecure",
    "-G": "--get", "-T": "--upload-file", "-e": "--referer",
}  # fmt: skip
LETTERS = "X:H:d:E:b:A:u:x:F:m:o:kGT:e:sSLviNfg"
"""The options of one letter; a colon behind one that takes a value. Those that are in no other list change nothing."""
WORDS = [
    *(f"{name[2:]}=" for name in SENT), "user=", "proxy=", "form=", "upload-file=", "insecure", "get", "output=",
    "connect-timeout=", "retry=", "silent", "show-error", "location", "verbose", "include", "no-buffer", "fail",
    "compressed", "http1.1", "http2", "globoff",
]  # fmt: skip
PROMPT = ("message", "prompt", "query", "question", "input", "user_input", "userInput", "text", "content", "q", "msg")
SESSION = re.compile(r"(session|conversation|thread|chat)([-_]?id)?", re.IGNORECASE)
SECRET = re.compile(r"api[-_]?key|access[-_]?key|^key$|token$|secret|passw", re.IGNORECASE)
"""Names in a body or a URL; for headers there is `_wire.SECRET`."""


def fields(command: str) -> dict[str, Any]:
    """The fields of the target. Raises `SpecError` for what cannot be sent, or where no prompt is found.

    Secrets in headers, URL and body become ${NAME}; their values are nowhere in what is returned.
    """
    given, urls = _options(command)
    if len(urls) != 1:
        raise SpecError(
            f"the call of curl has {len(urls)} URLs", hint="write one: curl https://app.example.org/chat ..."
        )
    url = urls[0] if "://" in urls[0] else f"http://{urls[0]}"
    headers = [_header(line) for line in _lines(given)]
    named = {line.partition(":")[0].lower() for line in headers}
    body = "&".join(_data(name, value) for name, value in given if name in DATA)
    names = [name for name, _ in given]
    if "--json" in names:
        headers += [line for line in ("Accept: application/json",) if "accept" not in named]
    elif body and "--get" not in names and "content-type" not in named:
        headers.append("Content-Type: application/x-www-form-urlencoded")
    if "--get" in names:
        url, body = f"{url}{'&' if '?' in url else '?'}{body}", ""
    last = dict(given)
    method = last.get("--request") or ("POST" if body else "GET")
    target: dict[str, Any] = {"use": "http", "url": _form(url, url.partition("?")[2]), "method": method}
    target |= _placed(body, target["url"])
    target |= {"headers": headers} if headers else {}
    cert = last.get("--cert", "")
    if ":" in cert[2:] and not Path(cert).exists():  # a colon at 1 is a drive of Windows
        raise SpecError("curl's --cert has a password", hint="name a key that has none")
    files = {"ca": last.get("--cacert", ""), "cert": cert, "cert_key": last.get("--key", "")}
    target |= {name: value for name, value in files.items() if value}
    if last.get("--max-time", "").replace(".", "", 1).isdecimal():
        target["timeout"] = float(last["--max-time"])
    return target


def _options(command: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Options by their long names, with values, and the URLs."""
    if "$'" in command:
        raise SpecError("the call of curl has quotes of the form $'...'", hint="write them as '...'")
    try:
        words = shlex.split(re.sub(r"\\\r?\n", " ", command))
    except ValueError as error:
        raise SpecError(f"the call of curl cannot be read: {error}", hint="put it into quotes as a whole") from error
    if words[:1] != ["curl"]:
        raise SpecError("--curl wants a whole call", hint="as --curl 'curl https://app.example.org/chat -d ...'")
    try:
        options, urls = getopt.gnu_getopt(words[1:], LETTERS, WORDS)
    except getopt.GetoptError as error:
        name = f"--{error.opt}" if len(error.opt) > 1 else SHORT.get(f"-{error.opt}", f"-{error.opt}")
        if "argument" in error.msg:
            raise SpecError(f"curl's {name} lacks its value", hint="put the call into quotes as a whole") from error
        raise SpecError(f"curl's {name} is not supported", hint="leave it out") from error
    given = [(SHORT.get(name, name), value) for name, value in options]
    if refused := next((name for name, _ in given if name in REFUSED), ""):
        raise SpecError(f"curl's {refused} is not taken over", hint=REFUSED[refused])
    return given, [*(value for name, value in given if name == "--url"), *urls]


def _lines(given: list[tuple[str, str]]) -> list[str]:
    """The headers, those with options of their own too."""
    own = {"--cookie": "Cookie", "--user-agent": "User-Agent", "--referer": "Referer"}
    lines = [value for name, value in given if name == "--header"]
    typed = any(line.lower().startswith("content-type:") for line in lines)
    if not typed and any(name == "--json" for name, _ in given):
        lines.append("Content-Type: application/json")
    return [*lines, *(f"{own[name]}: {value}" for name, value in given if name in own)]


def _header(line: str) -> str:
    name, _, value = (part.strip() for part in line.partition(":"))
    if not _wire.SECRET.search(name):
        return f"{name}: {value}"
    scheme, blank, rest = value.partition(" ")
    kept = f"{scheme} " if blank and scheme.isalpha() and "=" not in rest else ""
    return f"{name}: {kept}{_variable(name, rest if kept else value)}"


def _variable(name: str, value: str) -> str:
    """The variable to use for a secret: the one that stands there, or one named after where it stands."""
    if shell := re.fullmatch(r"\$\{?(\w+)\}?", value):
        return f"${{{shell[1]}}}"
    return f"${{APP_{re.sub(r'[^A-Z0-9]+', '_', name.upper()).strip('_')}}}"


def _data(name: str, value: str) -> str:
    if not value.startswith("@") or name == "--data-raw":
        return value
    try:
        text = bounded.read_text(value[1:])
    except OSError as error:
        raise SpecError(
            f"cannot read {value[1:]}: {error}", hint="name a text file, or write the data itself"
        ) from error
    return text if name in ("--data-binary", "--json") else re.sub(r"[\r\n]", "", text)


def _placed(body: str, url: str) -> dict[str, Any]:
    """Body and history, with {prompt}, {messages} and {session} where they belong."""
    try:
        value = json.loads(body)
    except ValueError:
        body = _form(body, body)
        history = "session" if "{session}" in body + url else "last"
        if "{prompt}" not in body + url:
            raise _lost() from None
        return {"body": body, "history": history} if body else {"history": history}
    if not any(gap in body for gap in ("{prompt}", "{messages}", "{history}")):
        if not (turns := [inner for inner in _objects(value) if _is_turns(inner.get("messages"))]):
            objects = _objects(value)
            holders = ((inner, name) for name in PROMPT for inner in objects if isinstance(inner.get(name), str))
            holder, name = next(holders, ({}, ""))
            if not name:
                raise _lost()
            holder[name] = "{prompt}"
        elif all(turn["role"] != "system" for turn in turns[0]["messages"]):
            turns[0]["messages"] = "{messages}"
        else:  # its system message stays
            turns[0]["messages"][-1]["content"] = "{prompt}"
    for inner in _objects(value):
        for name in [name for name, held in inner.items() if isinstance(held, str)]:
            if SESSION.fullmatch(name):
                inner[name] = "{session}"
            elif SECRET.search(name) and not _wire.GAP.fullmatch(inner[name]):
                inner[name] = _variable(name, inner[name])
    body = json.dumps(value, ensure_ascii=False)
    sends = "{messages}" in body or "{history}" in body
    return {"body": body, "history": "send" if sends else "session" if "{session}" in body else "last"}


def _form(text: str, pairs: str) -> str:
    """A form or a URL whose name=value pairs hold gaps: {prompt}, {session}, variables for secrets."""
    names = [name for name, _ in parse_qsl(pairs, keep_blank_values=True)]
    prompt = "" if "{prompt}" in text else next((name for name in PROMPT if name in names), "")
    for name in names:
        value = "{prompt}" if name == prompt else "{session}" if SESSION.fullmatch(name) else ""
        if match := re.search(rf"(?:^|[?&]){re.escape(name)}=([^&#]*)", text):
            if SECRET.search(name) and not value:
                value = _variable(name, match[1])
            if value:
                text = text[: match.start(1)] + value + text[match.end(1) :]
    return text


def _objects(value: Json) -> list[dict[str, Json]]:
    """The objects in a JSON value, outermost first."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [*([value] if isinstance(value, dict) else []), *(deeper for inner in inside for deeper in _objects(inner))]


def _is_turns(value: Json) -> bool:
    return isinstance(value, list) and bool(value) and all(
        isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in value
    )  # fmt: skip


def _lost() -> SpecError:
    return SpecError(
        "the call of curl has no place for the prompt", hint='write {prompt} there: -d \'{"ask": "{prompt}"}\''
    )
