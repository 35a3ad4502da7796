"""What models behind an OpenAI-compatible server have in common: where it is, its key, and one answer as JSON."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeVar
from urllib.parse import SplitResult

from withstand.core import AskError, Json, SpecError, at_least
from withstand.core.errors import DownError, FatalAskError, of_status, positive
from withstand.core.redact import Redactor, redactor
from withstand.models._guard import ENCODINGS, Limits, guarded, hooks
from withstand.models._pace import pace_of
from withstand.models._retry import LONGEST_ASKED, Transient, retrying, seconds_asked
from withstand.models._shared import built_once
from withstand.models._wire import LOOPBACK, header_value, split

if TYPE_CHECKING:
    import openai

T = TypeVar("T")

OFFICIAL = "api.openai.com"
BUSY = (429, 503, 529)
"""Statuses by which a server says that it has too much to do."""


@dataclass(frozen=True)
class Server:
    """The fields that decide how such a model is reached, and the calls.

    model: the name by which the server knows the model.
    base_url: the address of the server; usually ends in /v1. Default OpenAI's.
    key_env: the environment variable that holds the API key. Default "": OPENAI_API_KEY for api.openai.com, and no key
        for any other server, so that no server receives the key of another.
    revision: the version that the server runs (a date, a commit), if the name does not say it.
    lanes: most requests at once, 1 or more. Above 16 their number grows while more requests give more answers per
        second, and shrinks when the server reports that it is busy.
    rpm, tpm: most requests and tokens per minute; default 0: no limit.
    timeout: longest wait in seconds for the server's next byte, above 0.
    deadline: longest wait in seconds for a whole answer, above 0.
    tries: attempts per row, 1 or more. Connection errors, unreadable answers and the statuses 408, 409, 429 and 5xx are
        tried again.
    """

    width: ClassVar[int] = 1

    model: str
    base_url: str = field(default="https://api.openai.com/v1", metadata={"key": False})
    key_env: str = field(default="", metadata={"key": False})
    revision: str = ""
    lanes: int = field(default=8, metadata={"key": False})
    rpm: float = field(default=0.0, metadata={"key": False})
    tpm: float = field(default=0.0, metadata={"key": False})
    timeout: float = field(default=60.0, metadata={"key": False})
    deadline: float = field(default=600.0, metadata={"key": False})
    tries: int = field(default=6, metadata={"key": False})

    def __post_init__(self) -> None:
        split_url(self.base_url)
        at_least(0, self, "rpm", "tpm")
        at_least(1, self, "lanes", "tries")
        positive(self, "timeout", "deadline")

    @property
    def most_bytes(self) -> int:
        """Bytes of an answer's body, unpacked, at most."""
        return 64_000_000

    @property
    def host(self) -> str:
        return split_url(self.base_url).hostname or ""

    @property
    def place(self) -> str:
        url = split_url(self.base_url)
        default = {"http": 80, "https": 443}[url.scheme]
        return f"api:{self.host}" if url.port in (None, default) else f"api:{self.host}:{url.port}"

    @property
    def hosts(self) -> tuple[str, ...]:
        return (self.host,)

    def identity(self) -> Json:
        return {"revision": self.revision}

    def check(self) -> None:
        """Raises `SpecError` if api.openai.com would be asked without a key, or if the key holds invalid characters."""
        if not self._key() and self.host == OFFICIAL:
            raise SpecError(
                f"{OFFICIAL} needs an API key, and the variable {self._variable} is not set",
                hint=f"export {self._variable}=..., or set key_env to the variable that holds the key",
            )

    def asked(self, path: str, request: Json, read: Callable[[Json], T], hint: str, filtered: Json = None) -> T:
        """What `read` makes of the server's answer to a POST, retried where that may help.

        The answer is given "seconds", those that it took, without what was waited for a turn. hint: what to do about a
        request that the server refuses. filtered: what stands for the answer where a filter speaks by an error (HTTP
        400, code "content_filter", Azure's way).
        """
        pace = pace_of(f"{self.base_url} {self.model}", self.lanes, self.rpm, self.tpm)

        def once() -> T:
            with pace.turn() as turn:
                start = time.perf_counter()
                try:
                    answer = self._send(path, request, hint, filtered)
                except Transient as error:
                    turn.busy, turn.pause = error.busy, error.retry_after if error.retry_after <= LONGEST_ASKED else 0.0
                    raise
                turn.tokens = _tokens(answer)
            return read({**answer, "seconds": time.perf_counter() - start} if isinstance(answer, dict) else answer)

        return retrying(
            once,
            self.tries,
            f"{self.model} at {self.place}",
            hint="is the server up, at this host and port? `withstand target check` asks it once. "
            "If it is too busy: fewer lanes, more tries, a longer timeout; then run again",
        )

    def _send(self, path: str, request: Json, hint: str, filtered: Json) -> Json:
        """The server's answer as JSON. `post` spares the SDK's typed records: 0.75 ms of CPU a call instead of 0.9."""
        import openai

        try:
            answer = self._client.post(path, cast_to=object, body=request)
            # text: the server did not call it JSON, which does not say that it is none
            return self._redactor.json(json.loads(answer) if isinstance(answer, str) else answer)
        except openai.APITimeoutError as error:
            if unconnected(error):
                raise Transient(f"no connection within {self.timeout:g} s", ends=DownError) from error
            raise Transient(f"no answer within {self.timeout:g} s", busy=True) from error
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, AskError):  # of the guard
                raise error.__cause__ from None
            reason = self._redactor.text(str(error.__cause__))
            ends = DownError if unconnected(error) else FatalAskError
            raise Transient(f"the connection failed: {reason}", ends=ends) from None
        except UnicodeEncodeError as error:
            raise AskError(
                f"the chat cannot be sent: {error}", hint="it contains an unpaired surrogate character"
            ) from error
        except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, a number of too many digits, too deep
            raise Transient(f"the answer is not JSON that can be read: {self._redactor.text(str(error))}") from None
        except openai.APIStatusError as error:
            if filtered and error.status_code == 400 and error.code == "content_filter":
                return filtered
            raise self._refused(error, hint) from None  # the SDK's error quotes the server, which may quote the key

    def _refused(self, error: "openai.APIStatusError", hint: str) -> Transient | AskError:
        status, message = error.status_code, error.body
        if isinstance(message, dict):
            message = message.get("message") or message.get("detail") or message
        message = " ".join(self._redactor.text(str(message or "")).split())[:500]
        headers = error.response.headers
        if (status in (408, 409, 429) or status >= 500) and error.code != "insufficient_quota":
            return Transient(f"HTTP {status}: {message}", seconds_asked(headers.get("retry-after")), status in BUSY)
        match status:
            case 401 | 403 if not self._key():
                hint = "set key_env to the variable that holds the API key"
            case 401:
                hint = f"check the key in {self._variable}"
            case 403:
                hint = "check that this key may use this model from this network"
            case 404 if "/v1" not in self.base_url:
                hint = f"base_url is {self.base_url}; most servers want /v1 at its end"
            case 404:
                hint = f"check model and base_url; {self.base_url.rstrip('/')}/models lists the models"
            case 429:
                hint = "the account has no credit left"
            case _ if status < 400:
                hint = f"set base_url to where the server is: {headers.get('location')}"
        return of_status(status)(f"{self.model} at {self.place} refused, HTTP {status}: {message}", hint=hint)

    @property
    def _variable(self) -> str:
        """The name of the variable that holds the key; "" for none."""
        return self.key_env or ("OPENAI_API_KEY" if self.host == OFFICIAL else "")

    def _key(self) -> str:
        return header_value(self._variable)

    @property
    def _secrets(self) -> tuple[tuple[str, str], ...]:
        key = self._key()
        return ((key, "key"),) if key else ()

    @property
    def _redactor(self) -> Redactor:
        return redactor(self._secrets)

    @property
    def _client(self) -> "openai.OpenAI":
        limits = Limits(self.most_bytes, self.deadline, self._secrets)
        return _client(self.base_url, self._key() or "none", self.lanes, self.timeout, limits)


def _tokens(answer: Json) -> int:
    """What the server counted for an answer, prompt included; 0 if it did not say."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return total if isinstance(total, int) and total > 0 else 0


def split_url(base_url: str) -> SplitResult:
    """The parts of a base URL, or a `SpecError` if it cannot be one."""
    return split("base_url", base_url, "http://localhost:8000/v1", "put the key in the variable key_env names")


@built_once
def _client(base_url: str, key: str, lanes: int, timeout: float, limits: Limits) -> "openai.OpenAI":
    """The client that all lanes share. limits: those of each call."""
    import openai

    host = split_url(base_url).hostname
    http = openai.DefaultHttpxClient(
        timeout=timeout,
        limits=type(openai.DEFAULT_CONNECTION_LIMITS)(max_connections=lanes, max_keepalive_connections=lanes),
        follow_redirects=False,  # text goes to the host that was named, and to no other
        trust_env=host not in LOOPBACK,  # no proxy for this machine
        event_hooks=hooks(limits),
        headers=ENCODINGS,
    )
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=timeout, http_client=guarded(http))
    if host != OFFICIAL:  # OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_ADMIN_KEY are for OpenAI alone
        client.organization = client.project = client.admin_api_key = None
    return client


def unconnected(error: "openai.APIConnectionError") -> bool:
    """Whether nobody took the connection. By name, since versions of the SDK use httpx or its successor httpx2."""
    return type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")
