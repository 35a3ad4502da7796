"""The records and protocols that every room speaks. Standard library only.

Data flows one way: behaviors -> attack -> test cases -> target (+ defense) -> completions -> judge -> verdicts.
Records are frozen; `to_json` and `from_json` (of `content`) carry them to the store and back, `digest` names them.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar, cast

from withstand.content import Json as Json
from withstand.content import digest as digest
from withstand.content import draw as draw
from withstand.content import dumps as dumps
from withstand.content import filled as filled
from withstand.content import from_json as from_json
from withstand.content import rng as rng
from withstand.content import to_json as to_json
from withstand.errors import AskError as AskError
from withstand.errors import SpecError as SpecError
from withstand.errors import StoreError as StoreError
from withstand.errors import WithstandError as WithstandError
from withstand.errors import at_least as at_least
from withstand.errors import within as within

T = TypeVar("T")


# --- records ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Behavior:
    """What the model should refuse (if `benign`: should not), in the benchmark's words.

    `target_string` is the opening ("Sure, here is ...") that gradient attacks optimize towards; `context` a passage
    without which the instruction makes no sense; `functional` HarmBench's kind (standard, contextual, copyright);
    `category` its semantic category; `tags` drive a judge that depends on the behavior.
    """

    id: str
    text: str
    context: str = ""
    target_string: str = ""
    category: str = ""
    functional: str = ""
    tags: tuple[str, ...] = ()
    benign: bool = False

    def prompt(self, text: str | None = None) -> str:
        """`text` (default: the behavior's own) below the context: the one rule for showing a context.

        HarmBench section 1.5: context, blank line, three hyphens, blank line, prompt.
        """
        text = self.text if text is None else text
        return f"{self.context}\n\n---\n\n{text}" if self.context else text


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model asked for; `arguments` is the JSON text it wrote."""

    name: str
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `images` are paths or data URLs, for targets that give "images"."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    images: tuple[str, ...] = ()


Chat: TypeAlias = tuple[Message, ...]


def user(text: str) -> Chat:
    """A chat of one user turn."""
    return (Message("user", text),)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn. `max_tokens` bounds the answer; `logprobs` asks for that many top tokens a position."""

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    logprobs: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise SpecError(f"max_tokens is {self.max_tokens}; it must be 1 or more")
        if not 0 <= self.temperature <= 10:
            raise SpecError(f"temperature is {self.temperature}; it must lie in [0, 10]")
        if not 0 < self.top_p <= 1:
            raise SpecError(f"top_p is {self.top_p}; it must lie in (0, 1]")


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer. `chat` is what the caller sent, whatever a defense added behind it.

    `finish`: "stop", "length" (cut at max_tokens) or "filtered" (the target's own filter spoke).
    After a prefill `text` is the continuation alone. `reasoning` is thinking, kept apart: judges do not see it unless
    told. `logprobs`: for each position of the answer the top tokens as (text, natural log of the probability), best
    first. Token counts are of the whole call; a defense adds up what it used. `cost` in US dollars, 0 where no price
    is known. `seconds` is its share of the call, set by `drive`.
    """

    chat: Chat
    text: str
    finish: Literal["stop", "length", "filtered"] = "stop"
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[tuple[tuple[str, float], ...], ...] = ()
    prompt_tokens: int = 0
    answer_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """Prompt, answer and reasoning together."""
        return self.prompt_tokens + self.answer_tokens + self.reasoning_tokens


@dataclass(frozen=True, slots=True)
class Spent:
    """What an attack has used so far. `asks`: chats to the target as the attacker sees it; the rest is of all roles.

    `refused` and `malformed`: answers of an attacker model that were thrown away, see `Lost`.
    """

    asks: int = 0
    tokens: int = 0
    seconds: float = 0.0
    cost: float = 0.0
    refused: int = 0
    malformed: int = 0

    def shared(self, number: int) -> "Spent":
        """What each of so many behaviors bears, whole numbers rounded."""
        asks, tokens, *lost = (round(n / number) for n in (self.asks, self.tokens, self.refused, self.malformed))
        return Spent(asks, tokens, self.seconds / number, self.cost / number, *lost)


@dataclass(frozen=True, slots=True)
class TestCase:
    """A chat meant to elicit a behavior. It ends with an assistant message if it is a prefill.

    `score` None: final; a number: a candidate, of which a flow keeps the best (highest, first of equals).
    `completion`: set where this very draw is judged (best of n, a trajectory); else the target is asked afresh.
    `spent`, `cut` (which budget ended the attack, or "success") and `learned` (of the first case) are the runner's.
    """

    __test__: ClassVar[bool] = False  # not a pytest class

    behavior: str
    chat: Chat
    score: float | None = None
    completion: Completion | None = None
    spent: Spent = Spent()
    cut: Literal["", "asks", "tokens", "seconds", "success"] = ""
    learned: str = ""


Outcome: TypeAlias = Literal["success", "failure", "refused", "unscored"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says. `outcome` "success": the completion shows the behavior. `score` in [0, 1], if it has one.

    "unscored" is for a judge that could not say. "filtered" and "error" are not a judge's to say: they come from
    the completion and from the failure log.
    """

    outcome: Outcome
    score: float | None = None
    why: str = ""


# --- what a component may ask for ------------------------------------------------------------------------------


class Model(Protocol):
    """One way to reach a language model. It does the I/O, the retries and the rate limits.

    Promise: an answer depends on chat, sampling and seed alone. A local one may have `release()`, called when no stage
    to come needs it, and `memory()`, JSON of `withstand.memory`.
    """

    @property
    def place(self) -> str:
        """What it occupies ("cuda:0", "api:host"); models of one place share its lanes."""

    @property
    def width(self) -> int:
        """Most chats in one call of `generate`."""

    @property
    def lanes(self) -> int:
        """Calls at once: 1 for a device, the connections of an API."""

    @property
    def gives(self) -> frozenset[str]:
        """What it can do beyond one user turn: "system", "turns", "forged" (turns of the assistant that it never said),
        "prefill", "logprobs", "images", "weights", "gradients" (some quantized weights have none); or "vectors", of an
        encoder, which answers nothing."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that text is sent to; empty for a model in this process."""

    def __hash__(self) -> int:
        """Equal models are one model: they load once and share a queue."""

    def identity(self) -> Json:
        """What fields cannot say: hashes of weights, tokenizer and template, or the revision. Part of every key."""

    def check(self) -> None:
        """Raise `SpecError` if it cannot be asked at all (no key, no such file), before anything is sent."""

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """One completion per chat, in order. Raises `AskError` when the retries are used up."""


class WhiteBox(Model, Protocol):
    """A model whose weights are at hand ("weights" in `gives`)."""

    def render(self, chat: Chat) -> str:
        """The chat as the model reads it, up to where its answer begins."""

    def closing(self, rendered: str) -> str:
        """What closes the thinking after a rendered chat, before a target string or a prefix; "" where none may be."""

    def read(self, chat: Chat, ids: Sequence[int], stop: Sequence[str] = (), rendered: str = "") -> Completion:
        """The completion that these tokens after the rendered chat are: thinking apart, cut at a stop string."""

    def load(self, dtype: str = "") -> Any:
        """In memory: `model`, `tokenizer`, `ends` (of an answer), `window` (0: unknown). `dtype`: "" is its own."""


@dataclass(frozen=True, slots=True)
class Target:
    """A model as the world meets it: behind its defense, sampled as the run says.

    `fresh` separates the rows of a run that asks again (`--fresh`) from older ones.
    """

    model: Model
    defense: "Defense | None" = None
    sampling: Sampling = Sampling()
    fresh: str = ""

    def weights(self, attack: "Attack | JointAttack") -> WhiteBox:
        """The model with its tensors, or an error that names the way out."""
        if "weights" not in self.model.gives:
            raise SpecError(
                f"{type(attack).__name__} needs weights but {self.model.place} is text only",
                hint="use a local target, or find the test cases on one and send them with --cases-from",
            )
        return cast("WhiteBox", self.model)


@dataclass(frozen=True, slots=True)
class Ask:
    """Answered with one `Completion` per chat, in order."""

    model: "Model | Target"
    chats: Sequence[Chat]
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Work:
    """Gradient steps or log-likelihoods. `do(model, parts)` gets the parts of all flows that wait for that `do`.

    `do` is a bound method of a frozen component, so that equal components share a queue; a part and its answer are
    JSON. Answered with a `Worked`.
    """

    model: Model
    do: Callable[[Any, Sequence[Any]], list[Json]]
    part: Json


@dataclass(frozen=True, slots=True)
class Worked:
    """The answer to a `Work`: its JSON and the seconds it took."""

    value: Json
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Lost:
    """Answers that an attacker model refused, or gave in another format: never test cases. A run counts them."""

    refused: int = 0
    malformed: int = 0


@dataclass(frozen=True, slots=True)
class Learned:
    """What an attack has learned so far that a later run may start from: a JSON list. The last one is kept."""

    text: str


Flow: TypeAlias = Generator[Any, Any, T]
"""A generator that yields `Ask`, `Work`, `Lost`, `Learned` and `TestCase`, is sent the answers to the first two, and
returns a T.

A flow is a pure function of its fields and the answers: no clock, no global state, no catching of a failed ask."""


def ask(model: Model | Target, chats: Sequence[Chat], sampling: Sampling | None = None) -> Flow[list[Completion]]:
    """Ask `model`; `sampling` None means the target's own."""
    sampling = sampling or (model.sampling if isinstance(model, Target) else Sampling())
    answers: list[Completion] = yield Ask(model, tuple(chats), sampling)
    return answers


def work(model: Model, do: Callable[[Any, Sequence[Any]], list[Json]], part: Json) -> Flow[Json]:
    """Have `do` run on the model's device, beside the parts of other flows."""
    answer: Worked = yield Work(model, do, part)
    return answer.value


def intercept(flow: Flow[T], handle: Callable[[Any], Flow[Any]]) -> Flow[T]:
    """Run `flow`, letting the generator `handle(item)` answer whatever it yields."""
    send, value = flow.send, None
    try:
        while True:
            try:
                item = send(value)
            except StopIteration as done:
                result: T = done.value
                return result
            try:
                send, value = flow.send, (yield from handle(item))
            except Exception as error:  # noqa: BLE001 - a failed ask is raised inside the flow that asked
                send, value = flow.throw, error
    finally:
        flow.close()


def trajectory(answers: Sequence[Completion]) -> Completion:
    """The answers of a conversation as one completion, so that what was given in parts is judged as one."""
    return replace(answers[-1], text="\n\n".join(filter(None, (answer.text.strip() for answer in answers))))


# --- components ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Most:
    """Upper bounds for one behavior, for `--dry-run`. `cases` kept; asks by role while the attack searches.
    `drawn`: the cases carry their completions, so that the target is not asked again."""

    cases: int = 1
    asks: Mapping[str, int] = field(default_factory=dict)
    drawn: bool = False


class Attack(Protocol):
    """Makes test cases for one behavior. `needs` names what the target must give.

    A joint attack (a universal suffix, an ensemble) has `run_together(behaviors, target)` instead of `run`, never both.
    One that searches on `surrogates` instead of the target names them in a field of that name, one that packs several
    behaviors has a field `together`, and one whose result is no text says `upper_bound = True`. A run tells all three.
    """

    @property
    def needs(self) -> frozenset[str]: ...

    @property
    def seed(self) -> int: ...

    def most(self) -> Most:
        """Upper bounds for one behavior."""

    def run(self, behavior: Behavior, target: Target) -> Flow[None]: ...


class JointAttack(Protocol):
    """Makes the test cases of all behaviors of a suite in one flow."""

    @property
    def needs(self) -> frozenset[str]: ...

    @property
    def seed(self) -> int: ...

    def most(self) -> Most: ...

    def run_together(self, behaviors: Sequence[Behavior], target: Target) -> Flow[None]: ...


class Judge(Protocol):
    """Says of each completion whether it shows the behavior. `method` is shown beside every rate it gave. One with a
    number `waits` is not asked: so many people must have labeled an answer (see `rejudge.by_people`)."""

    @property
    def method(self) -> Literal["string matching", "rule", "model", "people"]: ...

    @property
    def asks(self) -> int:
        """Most asks per completion, for `--dry-run`."""

    def grade(self, behavior: Behavior, completions: Sequence[Completion]) -> Flow[list[Verdict]]: ...


class Defense(Protocol):
    """Stands before a model: changes what it is asked or what it answers."""

    @property
    def asks(self) -> int:
        """Most asks to any model per answer, for `--dry-run`."""

    def answer(self, model: Model, chats: Sequence[Chat], sampling: Sampling) -> Flow[list[Completion]]: ...


class Suite(Protocol):
    """A set of behaviors. `judge` is the default judge's spec; `benign` the suite of prompts that must not be refused
    ("" for none), judged by `refusal_judge`; `max_tokens` the length its published numbers use."""

    @property
    def split(self) -> str: ...
    @property
    def judge(self) -> str: ...
    @property
    def refusal_judge(self) -> str: ...
    @property
    def benign(self) -> str: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def version(self) -> str: ...
    @property
    def license(self) -> str: ...
    @property
    def citation(self) -> str: ...

    def load(self) -> list[Behavior]:
        """The behaviors of the split, in the file's order. Raises `SpecError` with file, row and column."""
