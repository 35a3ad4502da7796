"""The protocols of components and flows. Standard library only.

Data flows one way: behaviors -> attack -> test cases -> target (+ defense) -> completions -> judge -> verdicts.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, cast

from withstand.core.content import Json
from withstand.core.errors import AskError, SpecError
from withstand.core.notice import Step
from withstand.core.records import Behavior, Chat, Completion, Message, Sampling, Verdict, trajectory

T = TypeVar("T")


# --- what a component may ask for ------------------------------------------------------------------------------


class Model(Protocol):
    """One way to reach a language model. It does the I/O, the retries and the rate limits.

    Promise: an answer depends on chat, sampling and seed alone. A local one may have what `OPTIONAL` lists.
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

    def generate(
        self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]
    ) -> Sequence[Completion | AskError]:
        """One completion per chat, in order, or the error of a chat that cannot be answered.

        Raises `AskError` when the retries are used up; the chats of a call that raises are asked again in halves.
        """


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
    sampling: Sampling = field(default_factory=Sampling)
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
    JSON. Answered with a `Worked`. `watch` is given each step that `do` tells while it works, from its thread.
    """

    model: Model
    do: Callable[[Any, Sequence[Any]], list[Json]]
    part: Json
    watch: Callable[[Step], None] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Worked:
    """The answer to a `Work`: its JSON, the seconds it took, and its share of the floating-point operations."""

    value: Json
    seconds: float = 0.0
    flops: float | None = 0.0


@dataclass(frozen=True, slots=True)
class RejectedDrafts:
    """Answers of an attacker model that are no drafts, and drafts that are none of their own. A run counts them.

    Never test cases: what it `refused`, what is `malformed` (of another format, empty, thinking alone), what is too
    `long`: above the limit, or cut off at its most tokens; and what is `changed`: it means something else than it
    should. `repeated`: drafts that this search had before; a list's are dropped, others are sent again.
    """

    refused: int = 0
    malformed: int = 0
    long: int = 0
    repeated: int = 0
    changed: int = 0


Lost = RejectedDrafts  # its name in 0.1, for attacks of other packages


@dataclass(frozen=True, slots=True)
class Learned:
    """What an attack has learned so far that a later run may start from: a JSON list. The last one is kept."""

    text: str


Flow: TypeAlias = Generator[Any, Any, T]
"""A generator that yields `Ask`, `Work`, `RejectedDrafts`, `Learned` and `TestCase`, is sent the answers to the first
two, and returns a T.

A flow is a pure function of its fields and the answers: no clock, no global state, no catching of a failed ask."""


def ask(model: Model | Target, chats: Sequence[Chat], sampling: Sampling | None = None) -> Flow[list[Completion]]:
    """Ask `model`; `sampling` None means the target's own."""
    sampling = sampling or (model.sampling if isinstance(model, Target) else Sampling())
    answers: list[Completion] = yield Ask(model, tuple(chats), sampling)
    return answers


def converse(target: Target, chat: Chat) -> Flow[tuple[Chat, Completion]]:
    """Have the target answer each of the user's turns of `chat` afresh, in place of its assistant turns.

    Returns what was sent last, and the answers as one.
    """
    talk: Chat = ()
    answers: list[Completion] = []
    for turn in chat:
        if turn.role == "assistant":
            continue
        talk += (turn,)
        if turn.role == "user":
            sent = talk
            answers += yield from ask(target, [sent])
            talk += (Message("assistant", answers[-1].text),)
    return sent, trajectory(answers)


def answered(answers: Sequence[Completion | AskError]) -> list[Completion]:
    """What `generate` gave, where each chat must be answered. Raises the first error."""
    for answer in answers:
        if isinstance(answer, AskError):
            raise answer
    return [answer for answer in answers if isinstance(answer, Completion)]


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


# --- components ------------------------------------------------------------------------------------------------


def _nothing() -> None:
    """What `release()` does for a model that holds nothing."""


def _reads_answers_alone(_behavior: Behavior) -> bool:
    """What `reads_all(behavior)` says of a judge that is shown no empty and no blocked answer."""
    return False


OPTIONAL: Mapping[str, Any] = {
    "needs": frozenset(),
    "waits": 0,
    "utility": False,
    "reads_all": _reads_answers_alone,
    "surrogates": (),
    "together": 1,
    "parts": None,
    "upper_bound": False,
    "conversations": False,
    "variants": 0,
    "hosts": (),
    "release": _nothing,
    "footprint": None,
    "notes": (),
    "source": "",
    "near": "",
    "taxonomy": (),
}
"""What a component may have besides the methods of its protocol, and what holds for one that has it not.

Of a judge: `waits`, the number of people who must have labeled an answer, and `utility`, whether its success is a right
answer, and `reads_all(behavior)`, whether it says itself what an answer is that is empty, or blocked for a harmful
behavior; a judge of judges asks those that it has. Of
an attack: `needs`, what the target must give; `surrogates`, the models that it searches on instead of the target;
`together`, how many behaviors share a forward pass; `parts`, how many parts of work one call gets before they are saved
(None: as many as wait); `upper_bound`, whether what it sends is no text; `conversations`, whether the target takes part
in its test cases, so that their completions hold several answers; `variants`, how many test cases it should make that
ask for the same as the behavior, so that a run sends those of the benign half too. Of a model: `hosts` that text is
sent to, `release()`, called when no later stage asks it, and `footprint()`, the JSON of `withstand.runner.memory`; None
where it takes no memory of this machine. Of a suite: `notes`, what a reader must know of the user's copy; `source`,
where to get one; `near`, the path at which a twin of the same source lies; `taxonomy`, its categories' hazards and
OWASP ids."""


def optional(component: Any, name: str) -> Any:
    """What a component has under a name of `OPTIONAL`, or its default. Raises `KeyError` for another name."""
    return getattr(component, name, OPTIONAL[name])


@dataclass(frozen=True, slots=True)
class UpperBounds:
    """Upper bounds for one behavior, for `--dry-run`. `cases` kept; asks by role while the attack searches.
    `drawn`: the cases carry their completions, so that the target is not asked again."""

    cases: int = 1
    asks: Mapping[str, int] = field(default_factory=dict)
    drawn: bool = False


Most = UpperBounds  # its name in 0.1, for attacks of other packages


class _Search(Protocol):
    """What an attack of either kind has. `needs` names what the target must give."""

    @property
    def needs(self) -> frozenset[str]: ...

    @property
    def seed(self) -> int: ...

    def most(self) -> UpperBounds:
        """Upper bounds for one behavior."""


class Attack(_Search, Protocol):
    """Makes test cases for one behavior. `needs` names what the target must give.

    A joint attack (a universal suffix, an ensemble) has `run_together(behaviors, target)` instead of `run`, never both.
    It may have `surrogates`, `together` and `upper_bound`, see `OPTIONAL`.
    """

    def run(self, behavior: Behavior, target: Target) -> Flow[None]: ...


class JointAttack(_Search, Protocol):
    """Makes the test cases of all behaviors of a suite in one flow."""

    def run_together(self, behaviors: Sequence[Behavior], target: Target) -> Flow[None]: ...


class Judge(Protocol):
    """Says of each completion whether it shows the behavior. `method` is shown beside every rate it gave. One with a
    number `waits` is not asked: so many people must have labeled an answer (see `rejudge.by_people`). One that says
    `utility = True` tells right answers from wrong: its success is a right one."""

    @property
    def method(self) -> Literal["string matching", "rule", "model", "people"]: ...

    @property
    def asks(self) -> int:
        """Most asks per answer, for `--dry-run`; a conversation takes at most twice as many."""

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
