"""An application behind REST: fields describe the request and where the response holds the answer. Ours.

Paths are a small part of JSONPath (https://www.rfc-editor.org/rfc/rfc9535.html): `choices[0].message.content`,
`documents[*].text`, with or without a leading `$.`; `$` is the whole answer.
"""

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal
from urllib.parse import quote, quote_plus, urljoin

from withstand.core import AskError, Chat, Completion, Json, Message, Sampling, SpecError, at_least
from withstand.core.errors import FatalAskError, of_status, positive
from withstand.core.redact import redactor
from withstand.models import _calls, _paths, _wire
from withstand.models._chat import refuse_images, refuse_long
from withstand.models._guard import Limits
from withstand.models._retry import Transient, retrying, seconds_asked
from withstand.models._talks import Talk, talks_of

MEANINGS = ("answer", "filtered", "retry", "error")


@dataclass(frozen=True)
class Http:
    """An application that receives HTTP requests and answers with JSON, text or server-sent events.

    `url` and `body` may hold placeholders: {prompt} is the last turn, {messages} all turns, {history} all turns but the
    last, {system} the system message; also {session}, {seed}, {max_tokens}, {temperature} and {top_p}. A JSON text that
    is a single placeholder becomes a list or a number. In `url`, `body` and `headers`, ${NAME} is the environment
    variable NAME and {token} the output of `token_command`. So no spec holds a secret. If an answer repeats one,
    withstand replaces it by its name.

    url: the address of the application. body: JSON or any other text; "" for none. method: default POST.
    headers: "Name: value" each; default none.
    token_command: a command that prints a token. It runs without a shell, before the first request and again when the
        application rejects the token with a 401.
    text: path of the answer's text in the response; several matches are joined. Default "$".
    tool_calls: path of tool calls, as objects with name and arguments or in OpenAI's form. In a stream, all pieces with
        the same `index` form one call.
    context: path of retrieved passages. They become the answer's `reasoning`, which judges see only if set to.
    prompt_tokens, answer_tokens: paths of token counts. These four paths are "" by default: none.
    filtered: conditions that mean that the application's own filter answered, whatever the status: "PATH" (neither
        false nor empty) or "PATH=VALUE". Default none.
    statuses: the meaning of a status, such as "400=filtered": answer, filtered, retry or error. Default: 2xx is an
        answer; 408, 409, 429 and 5xx are tried again; all others are errors.
    events: names of the server-sent events to read; default all. `text` is the path in each event.
    history: "last" (default): a chat has one user turn. "send": each request holds all turns, written by the JSON
        template `message`. "session": the application stores the turns, and withstand sends only the last one. If no
        session holds the earlier turns (a branch or a resumed run), withstand opens a new one and sends all user turns
        again. The application must then repeat its earlier answers; otherwise the chat is refused as forged.
    session: path of the session's id in an answer; "": {session} is a random id. Cookies are kept for each session.
    start: URL, or path relative to `url`, to which withstand POSTs {} to get a new session's id or cookie; "": the
        first request opens the session.
    revision: the version of the application (such as a commit). Change it when the application changes.
    price_in, price_out: US dollars per million tokens, counted at `prompt_tokens` and `answer_tokens`; default none.
    price_ask: US dollars per answered request, default 0.
    ca: file of the certificates to trust instead of the system's. cert, cert_key: files of the client's certificate and
        its key. All are PEM files, default "". Proxies come from HTTP_PROXY, HTTPS_PROXY and NO_PROXY; requests to this
        machine use none.
    lanes: most requests at once, default 8. timeout: longest wait in seconds for the next byte, default 120.
    deadline: longest wait in seconds for the whole answer, default 600.
    tries: attempts per row, default 3. max_answer_chars: longest answer in characters; a longer one is an error.
        Default 1,000,000.
    raw: whether it continues the text of {prompt} itself, as /v1/completions does, without a chat template; default
        false.

    Raises `SpecError` for fields that cannot work, `AskError` when there is no answer.
    """

    version: ClassVar[int] = 1
    width: ClassVar[int] = 1

    url: str
    body: str = ""
    text: str = "$"
    method: str = "POST"
    headers: tuple[str, ...] = ()
    token_command: str = field(default="", metadata={"key": False})
    history: Literal["last", "send", "session"] = "last"
    message: str = '{"role": "{role}", "content": "{text}"}'
    session: str = ""
    start: str = ""
    tool_calls: str = ""
    context: str = ""
    prompt_tokens: str = ""
    answer_tokens: str = ""
    filtered: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    revision: str = ""
    price_in: float | None = field(default=None, metadata={"key": False})
    price_out: float | None = field(default=None, metadata={"key": False})
    price_ask: float = field(default=0.0, metadata={"key": False})
    ca: str = field(default="", metadata={"key": False})
    cert: str = field(default="", metadata={"key": False})
    cert_key: str = field(default="", metadata={"key": False})
    lanes: int = field(default=8, metadata={"key": False})
    timeout: float = field(default=120.0, metadata={"key": False})
    deadline: float = field(default=600.0, metadata={"key": False})
    tries: int = field(default=3, metadata={"key": False})
    max_answer_chars: int = field(default=1_000_000, metadata={"key": False})
    raw: bool = field(default=False, metadata={"key": False})

    def __post_init__(self) -> None:
        at_least(1, self, "lanes", "tries", "max_answer_chars")
        positive(self, "timeout", "deadline")
        at_least(0, self, "price_ask", *(name for name in ("price_in", "price_out") if getattr(self, name) is not None))
        for price, path in (("price_in", "prompt_tokens"), ("price_out", "answer_tokens")):
            if getattr(self, price) is not None and not getattr(self, path):
                raise SpecError(f"{price} needs the path {path}", hint=f"set {path}=PATH to where the answer has it")
        _wire.split("url", self.url)
        _wire.split("start", urljoin(self.url, self.start))
        conditions = [condition.partition("=")[0] for condition in self.filtered]
        counts = (self.prompt_tokens, self.answer_tokens)
        for path in (self.text, self.tool_calls, self.context, self.session, *counts, *conditions):
            _paths.steps(path)
        for line in self.statuses:
            status, _, meaning = line.partition("=")
            if not status.isdecimal() or meaning not in MEANINGS:
                raise SpecError(f"statuses has {line!r}", hint=f"write STATUS=MEANING; meanings: {', '.join(MEANINGS)}")
        for line in self.headers:
            name, colon, value = line.partition(":")
            if not colon or not name.strip():
                raise SpecError(
                    "headers has an entry that is not Name: value", hint="for example Authorization: Bearer ${NAME}"
                )
            if _wire.SECRET.search(name) and not _wire.GAP.search(value):
                raise SpecError(
                    f"the header {name} holds its value, which would be stored",
                    hint=f"put it into an environment variable and write {name}: ${{NAME}}",
                )
        try:
            json.loads(self.message)
        except ValueError as error:
            hint = 'for example {"role": "{role}", "text": "{text}"}'
            raise SpecError(f"message is not JSON: {error}", hint) from error
        sent = self.history == "send"
        if self.history not in ("last", "send", "session"):
            raise SpecError(f"history is {self.history!r}", hint="last, send or session")
        if not any(gap in self._asks for gap in (("{messages}", "{history}") if sent else ("{prompt}",))):
            wanted = '{"messages": "{messages}"}' if sent else '{"message": "{prompt}"}'
            raise SpecError(
                f"neither url nor body has a place for the chat (history={self.history})", f"body='{wanted}'"
            )
        if not sent and ("{messages}" in self._asks or "{history}" in self._asks):
            raise SpecError(f"{{messages}} and {{history}} need history=send, not {self.history}", "or write {prompt}")

    @property
    def _asks(self) -> str:
        return f"{self.url}\n{self.body}"

    @property
    def place(self) -> str:
        url = _wire.split("url", self.url)
        return f"http:{url.hostname}:{url.port or {'http': 80, 'https': 443}[url.scheme]}"

    @property
    def gives(self) -> frozenset[str]:
        system = "{system}" in self._asks or (self.history == "send" and "{messages}" in self._asks)
        turns = {"last": (), "session": ("turns",), "send": ("turns", "forged")}[self.history]
        return frozenset({*(["system"] if system else []), *turns, *(["raw"] if self.raw else [])})

    @property
    def hosts(self) -> tuple[str, ...]:
        hosts = [_wire.split("url", url).hostname or "" for url in (self.url, urljoin(self.url, self.start))]
        return tuple(dict.fromkeys(hosts))

    def identity(self) -> Json:
        return {"revision": self.revision}

    def check(self) -> None:
        """Raises `SpecError` if a variable is not set, or a certificate or the token command is not to be had."""
        self._variables()
        _wire.tls(self._line)
        if self.token_command and not shutil.which((shlex.split(self.token_command) or [""])[0]):
            raise SpecError("token_command was not found", hint="name a program on PATH, or its whole path")

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        return [self._answer(chat, sampling, seed) for chat, seed in zip(chats, seeds, strict=True)]

    def _answer(self, chat: Chat, sampling: Sampling, seed: int) -> Completion:
        self._refuse(chat)
        call = self._conversed if self.history == "session" else self._asked
        hint = "is the application up, at this host and port? `withstand target check` asks it once. "
        hint += "If it is too busy: fewer lanes, more tries, a longer timeout; then run again"
        return retrying(lambda: call(chat, sampling, seed), self.tries, self.place, hint)

    # --- what is asked -------------------------------------------------------------------------------------------

    def _refuse(self, chat: Chat) -> None:
        """Raises `AskError` for a chat that cannot be sent as it is."""
        roles = [message.role for message in chat if message.role != "system"]
        refuse_images(self.place, chat)
        if len(roles) < len(chat) and "system" not in self.gives:
            raise AskError(f"{self.place} has no place for a system message", hint="put {system} into body")
        if roles[-1:] in ([], ["assistant"]):
            raise AskError(f"{self.place} cannot continue an assistant message", hint="use an attack without prefill")
        if self.history == "last" and roles != ["user"]:
            raise AskError(
                f"{self.place} takes one user turn", hint="set history to send or session, if it keeps turns"
            )
        if self.history == "session" and roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
            raise AskError(
                "turns of user and assistant do not take turns: a session has only what was said in it",
                hint="an attack that writes the application's turns needs history=send",
            )

    def _conversed(self, chat: Chat, sampling: Sampling, seed: int) -> Completion:
        """The last turn's answer, in the session that had the others or in a new one that gets them again."""
        talks, ends = talks_of(self), [place for place, turn in enumerate(chat) if turn.role == "user"]
        taken = talks.take(chat[: ends[-1]])
        talk, cost = taken or self._opened(), 0.0
        for place in ends[-1:] if taken else ends:
            try:
                answer = self._asked(chat[: place + 1], sampling, seed, talk)
            except AskError as error:
                if taken:
                    raise Transient(f"{error} (in a session that may have run out)") from None
                raise
            cost += answer.cost
            heard = (*chat[: place + 1], Message("assistant", answer.text))
            if place != ends[-1] and heard != chat[: place + 2] and not talks.heard(chat[: place + 2]):
                raise AskError(
                    f"turn {place + 2} of the chat is not what the application answers there",
                    hint="if the attack wrote it: history=send, or leave the attack out. If the application answers "
                    "anew each time, a half-done conversation cannot continue in another process: --fresh",
                )
        talks.keep(heard, talk)
        return replace(answer, cost=cost)

    def _opened(self) -> Talk:
        """A new session."""
        import secrets

        talk = Talk(None if self.session else secrets.token_hex(16), {})
        if self.start:
            parts = {**self._secrets(), "{session}": talk.id}
            _, values = self._outcome(self._sent("POST", urljoin(self.url, self.start), "{}", parts, talk), parts)
            self._learn(talk, values or [])
            if self.session and talk.id is None:
                raise AskError(
                    f"start gave no session at {self.session!r}{_paths.where(values)}", hint="fix the path in session"
                )
        return talk

    def _learn(self, talk: Talk | None, values: Sequence[Json]) -> None:
        if talk and self.session:
            for value in [item for whole in values for item in _paths.values_at(self.session, whole)][:1]:
                talk.id = value

    def _asked(self, chat: Chat, sampling: Sampling, seed: int, talk: Talk | None = None) -> Completion:
        outcome, values = self._exchanged(chat, sampling, seed, talk)
        self._learn(talk, values)
        if outcome == "filtered":
            return Completion(chat, "", "filtered", cost=self.price_ask)
        return self._completion(chat, values)

    def _exchanged(self, chat: Chat, sampling: Sampling, seed: int, talk: Talk | None) -> tuple[str, list[Json]]:
        parts = {**self._parts(chat, sampling, seed), **self._secrets(), "{session}": talk.id if talk else None}
        return self._outcome(self._sent(self.method, self.url, self.body, parts, talk), parts)

    def look(self, chat: Chat) -> list[Json]:
        """The JSON of one answer, of each event of a stream, whatever `text` says: to see where its text stands."""
        talk = self._opened() if self.history == "session" else None
        hint = "is the application up, at this host and port?"
        return retrying(lambda: self._exchanged(chat, Sampling(max_tokens=64), 1, talk)[1], 1, self.place, hint)

    def _parts(self, chat: Chat, sampling: Sampling, seed: int) -> dict[str, Json]:
        sent = [turn for turn in chat if turn.role != "system" or "{system}" not in self._asks]
        turns = [_wire.filled(json.loads(self.message), {"{role}": turn.role, "{text}": turn.text}) for turn in sent]
        return {
            "{prompt}": chat[-1].text,
            "{messages}": turns,
            "{history}": turns[:-1],
            "{system}": "\n\n".join(turn.text for turn in chat if turn.role == "system"),
            "{seed}": seed % 2**31,
            "{max_tokens}": sampling.max_tokens,
            "{temperature}": sampling.temperature,
            "{top_p}": sampling.top_p,
        }

    def _variables(self) -> dict[str, str]:
        names = _wire.variables(self.url, self.body, self.start, *self.headers)
        return {f"${{{name}}}": _wire.variable(name) for name in names}

    def _secrets(self) -> dict[str, str]:
        """What the gaps for variables and the token hold."""
        parts = self._variables()
        if self.token_command:
            parts["{token}"] = _wire.token(self.token_command, self.timeout)
        return parts

    @property
    def _line(self) -> _wire.Line:
        bare = all(host in _wire.LOOPBACK for host in self.hosts)
        return _wire.Line(self.lanes, self.timeout, self.ca, self.cert, self.cert_key, bare)

    def _sent(self, method: str, url: str, body: str, parts: Mapping[str, Json], talk: Talk | None) -> _wire.Reply:
        """One exchange; the secrets do not come back with it."""
        pairs = [line.partition(":") for line in self.headers]
        headers = {name.strip(): _wire.filled(value.strip(), parts, str) for name, _, value in pairs}
        kinds = {name.lower(): value for name, value in headers.items()}
        if body:
            try:
                content, kind = json.dumps(_wire.filled(json.loads(body), parts)), "application/json"
            except ValueError:
                form = "urlencoded" in kinds.get("content-type", "")
                content, kind = _wire.filled(body, parts, quote_plus if form else str), "text/plain; charset=utf-8"
            headers |= {} if "content-type" in kinds else {"Content-Type": kind}
        if talk and talk.cookies:
            own = [value for name, value in kinds.items() if name == "cookie"]
            headers = {name: value for name, value in headers.items() if name.lower() != "cookie"}
            headers["Cookie"] = "; ".join([*own, *(f"{name}={value}" for name, value in talk.cookies.items())])
        try:
            data = content.encode() if body else b""
            url = _wire.filled(url, parts, lambda part: quote(part, safe=""))
        except UnicodeEncodeError as error:
            raise AskError(f"the chat cannot be sent: {error}", hint="it holds an unpaired surrogate") from error
        limits = Limits(64 * self.max_answer_chars, self.deadline, _wire.secrets_in(self.headers, parts))
        reply = self._line.send(method, url, headers, data, limits)
        if talk:
            talk.cookies.update(reply.cookies)
        return reply

    # --- what comes back -----------------------------------------------------------------------------------------

    def _outcome(self, reply: _wire.Reply, parts: Mapping[str, Json]) -> tuple[str, list[Json]]:
        """ "answer" with the answer's JSON, or "filtered"."""
        redact = redactor(_wire.secrets_in(self.headers, parts))
        text, kind = redact.text(reply.text), reply.headers.get("content-type", "").lower()
        values, wrong = self._values(text, kind)
        values, wrong = [redact.json(value) for value in values], redact.text(wrong)
        if any(self._holds(condition, values) for condition in self.filtered):
            return "filtered", values
        status = reply.status
        usual = "answer" if 200 <= status < 300 else "retry" if status in (408, 409, 429) or status > 499 else "error"
        outcome = dict(line.split("=") for line in self.statuses).get(str(status), usual)
        short = " ".join(text.split())[:500]
        if status == 401 and self.token_command and outcome == "error":
            _wire.token(self.token_command, self.timeout, refused=parts["{token}"])
            outcome = "retry"
        if outcome == "retry":
            raise Transient(f"HTTP {status}: {short}", seconds_asked(reply.headers.get("retry-after")))
        if outcome == "error":
            hint = _wire.hint(reply, self.headers, self.method)
            raise of_status(status)(f"{self.place} refused, HTTP {status}: {short}", hint)
        if outcome == "answer" and wrong:
            raise Transient(f"{wrong}: {short[:200]}", ends=FatalAskError if short else AskError)  # a page, not JSON
        return outcome, values

    def _values(self, text: str, kind: str) -> tuple[list[Json], str]:
        """The JSON of an answer, of each event if it has some, and what is wrong with it."""
        pieces = [text]
        if "text/event-stream" in kind:
            events = [data for name, data in _wire.events(text) if not self.events or name in self.events]
            pieces = [data for data in events if data != "[DONE]"]
        if not "".join(pieces).strip():
            return [], "the answer is empty"
        if self.text.strip() == "$" and "json" not in kind:
            return list(pieces), ""  # plain text
        try:
            return [json.loads(piece) for piece in pieces], ""
        except (ValueError, RecursionError) as error:
            return [], f"the answer is not JSON ({error})"

    def _holds(self, condition: str, values: Sequence[Json]) -> bool:
        path, equals, wanted = condition.partition("=")
        there = [item for value in values for item in _paths.values_at(path, value)]
        return any(_paths.shown(item) == wanted if equals else bool(item) for item in there)

    def _completion(self, chat: Chat, values: Sequence[Json]) -> Completion:
        def all_(path: str) -> list[Json]:
            return [item for value in values for item in _paths.values_at(path, value)] if path else []

        texts, calls = all_(self.text), _paths.flat(all_(self.tool_calls))
        if (not texts and not calls) or any(isinstance(text, (dict, list)) for text in texts):
            raise FatalAskError(
                f"{self.place} gave no text at {self.text!r}{_paths.where(values)}",
                hint="set text (or filtered, if its filter spoke) to the right path, then `withstand target check`",
            )
        text = "".join(_paths.shown(value) for value in texts)
        refuse_long(self.place, len(text), self.max_answer_chars)
        counts = [
            next((value for value in reversed(all_(path)) if isinstance(value, int)), 0)
            for path in (self.prompt_tokens, self.answer_tokens)
        ]
        return Completion(
            chat,
            text,
            reasoning="\n\n".join(map(_paths.shown, _paths.flat(all_(self.context)))),
            tool_calls=tuple(map(_calls.call_of, _calls.joined(calls))),
            prompt_tokens=counts[0],
            answer_tokens=counts[1],
            cost=self.price_ask + (counts[0] * (self.price_in or 0.0) + counts[1] * (self.price_out or 0.0)) / 1e6,
        )
