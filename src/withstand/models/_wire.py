"""One exchange over HTTP: templates with gaps, secrets that stay out of what is kept, TLS, server-sent events."""

import os
import re
import shlex
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from withstand.core import AskError, Json, SpecError
from withstand.core.errors import DownError, FatalAskError
from withstand.models._guard import ENCODINGS, GUARD, Limits, guarded, hooks
from withstand.models._paths import shown
from withstand.models._retry import Transient
from withstand.models._shared import built_once

GAP = re.compile(r"\$?\{\w+\}")
SECRET = re.compile(r"auth|cookie|token|secret|passw|credential|signature|session|key", re.IGNORECASE)
"""Names of headers and variables that hold what nobody may read."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def filled(template: Json, parts: Mapping[str, Json], quoted: Callable[[str], str] | None = None) -> Json:
    """The template with its gaps filled, in all its texts; a text that is one gap becomes the part itself.

    `quoted` is done to each part that goes into a text. What is put in is never read as a gap.
    """
    if isinstance(template, dict):
        return {name: filled(inner, parts, quoted) for name, inner in template.items()}
    if isinstance(template, list):
        return [filled(inner, parts, quoted) for inner in template]
    if not isinstance(template, str):
        return template
    if template in parts and quoted is None:
        return parts[template]

    def put(gap: re.Match[str]) -> str:
        text = shown(parts[gap[0]]) if gap[0] in parts else gap[0]
        return quoted(text) if quoted and gap[0] in parts else text

    return GAP.sub(put, template)


# --- secrets -----------------------------------------------------------------------------------------------------


def variables(*templates: str) -> list[str]:
    """The environment variables that templates name, as ${NAME}."""
    return sorted({name for template in templates for name in re.findall(r"\$\{(\w+)\}", template)})


def variable(name: str) -> str:
    """What a variable holds, or a `SpecError` that does not quote it."""
    if value := header_value(name):
        return value
    raise SpecError(f"the variable {name} is not set", hint=f"export {name}=...")


def header_value(name: str) -> str:
    """What a variable holds, "" where it is not set; `SpecError` for characters that no header may hold."""
    value = os.environ.get(name, "").strip()
    if not (value.isascii() and value.isprintable()):  # the HTTP library would quote it in its error
        raise SpecError(f"the variable {name} holds characters that a header cannot hold", hint="copy the value again")
    return value


def secrets_in(headers: Sequence[str], parts: Mapping[str, Json]) -> tuple[tuple[str, str], ...]:
    """What nobody may read of the parts that fill a request, each with its name: tokens, and variables that are called
    a secret by their own name or by that of their header."""

    def is_secret(gap: str) -> bool:
        names = [gap, *(line.partition(":")[0] for line in headers if gap in line)]
        return gap == "{token}" or (gap[0] == "$" and any(map(SECRET.search, names)))

    return tuple((str(value), gap.strip("${}")) for gap, value in parts.items() if is_secret(gap))


_tokens: dict[str, str] = {}
_asking = threading.Lock()


def token(command: str, timeout: float, refused: str = "") -> str:
    """What the command prints, kept until the application has `refused` it."""
    with _asking:
        if _tokens.get(command, refused) == refused:
            hint = "run it by hand: it must print the token alone, and end with 0"
            try:
                done = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=timeout, check=True)
            except (OSError, ValueError, subprocess.SubprocessError) as error:  # its output may hold the secret
                raise AskError(f"token_command failed: {type(error).__name__}", hint=hint) from None
            printed = done.stdout.strip()
            if not (printed and printed.isascii() and printed.isprintable()):
                raise AskError("token_command printed no token", hint=hint)
            _tokens[command] = printed
        return _tokens[command]


# --- the exchange ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """A response: its status, its headers (small letters) and cookies, and its body as text."""

    status: int
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """How an application is reached. `bare`: no proxy, for this machine itself."""

    lanes: int
    timeout: float
    ca: str
    cert: str
    cert_key: str
    bare: bool

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, limits: Limits) -> Reply:
        """Raises `Transient` where the connection failed, `AskError` where no other try would help."""
        http = library()
        try:
            response = client(self).request(
                method, url, headers={**ENCODINGS, **headers}, content=body or None, extensions={GUARD: limits}
            )
        except http.ConnectTimeout:
            raise Transient(f"no connection within {self.timeout:g} s", ends=DownError) from None
        except http.TimeoutException:
            raise Transient(f"no answer within {self.timeout:g} s") from None
        except http.RequestError as error:
            if "CERTIFICATE_VERIFY" in str(error):
                hint = "name the file of its authority's certificate: ca=FILE"
                raise FatalAskError(f"the certificate is not trusted: {error}", hint=hint) from None
            ends = DownError if isinstance(error, http.ConnectError) else FatalAskError
            raise Transient(f"the connection failed: {error or type(error).__name__}", ends=ends) from None
        except (http.InvalidURL, UnicodeError) as error:
            raise AskError(
                f"the chat cannot be sent: {error}",
                hint="it contains an unpaired surrogate character, or the URL is invalid",
            ) from None
        pairs = [line.partition(";")[0].partition("=") for line in response.headers.get_list("set-cookie")]
        cookies = {name.strip(): value.strip() for name, _, value in pairs}
        named = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, named, cookies, response.text)


def hint(reply: Reply, headers: Sequence[str], method: str) -> str:
    """What to do about a request that the application refused; the fields are those of the target."""
    named = ", ".join(variables(*headers)) or "none: write headers='Authorization: Bearer ${NAME}'"
    match reply.status:
        case 401 | 403:
            return f"may it be asked with these credentials? Variables: {named}"
        case 404:
            return "check the path in url, then `withstand target check`; a session may have run out"
        case 405:
            return f"check method, which is {method}"
        case status if status < 400:
            return f"set url to where the application is: {reply.headers.get('location', 'it does not say')[:200]}"
    return "check body and headers; statuses says what a status means, as statuses='400=filtered'"


def library() -> Any:
    """httpx, imported when it is needed."""
    import httpx

    return httpx


def tls(line: Line) -> ssl.SSLContext | bool:
    """What certificates are trusted and shown; True for the usual."""
    if not (line.ca or line.cert):
        return True
    try:
        context = ssl.create_default_context(cafile=line.ca or None)
        if line.cert:
            context.load_cert_chain(line.cert, line.cert_key or None, password="")  # it would ask at the terminal
    except OSError as error:
        files = ", ".join(filter(None, (line.ca, line.cert, line.cert_key)))
        raise SpecError(
            f"the certificates {files} cannot be used: {error}", hint="PEM files, and a key without a password"
        ) from error
    return context


@built_once
def client(line: Line) -> Any:
    """The client that all lanes share."""
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    http = library()
    try:
        return guarded(
            http.Client(
                timeout=line.timeout,
                limits=http.Limits(max_connections=line.lanes, max_keepalive_connections=line.lanes),
                follow_redirects=False,  # text goes to the host that was named, and to no other
                trust_env=not line.bare,
                verify=tls(line),
                event_hooks=hooks(),
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # keeps none: conversations share it
            )
        )
    except (ImportError, ValueError) as error:
        raise AskError(
            f"the proxy of the environment cannot be used: {error}", hint="see HTTPS_PROXY, ALL_PROXY, NO_PROXY"
        ) from None


def split(
    name: str,
    text: str,
    example: str = "https://app.example.org/chat",
    secret: str = "send a header with a variable: Authorization: Basic ${NAME}",
) -> SplitResult:
    """The parts of the URL in the field `name`, or a `SpecError` if it cannot be one. `secret`: where one belongs."""
    hint = f"write it as {example}"
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError as error:
        raise SpecError(f"{name} is {text!r}: {error}", hint=hint) from error
    if url.username or url.password:
        raise SpecError(f"{name} holds a user name or password", hint=secret)
    if url.scheme not in ("http", "https") or not url.hostname or "{" in url.netloc:
        raise SpecError(f"{name} is {text!r}, which is no http or https address", hint=hint)
    return url


def events(text: str) -> Iterator[tuple[str, str]]:
    """Name and data of each server-sent event. https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    for block in re.split(r"\n\n+", re.sub(r"\r\n?", "\n", text)):
        pairs = [line.partition(":") for line in block.split("\n")]
        fields = [(name, value.removeprefix(" ")) for name, _, value in pairs]
        data = [value for name, value in fields if name == "data"]
        if data:
            yield dict(fields).get("event", "message"), "\n".join(data)
