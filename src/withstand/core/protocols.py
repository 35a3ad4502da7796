"""The protocols of components and flows. Standard library only.

Data flows one way: behaviors -> attack -> test cases -> target (+ defense) -> completions -> judge -> verdicts.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar, cast

from withstand.core.content import Json
from withstand.core.errors import AskError, SpecError
from withstand.core.notice import Step
from withstand.core.optional import optional
from withstand.core.records import Behavior, Chat, Completion, Message, Sampling, Verdict, trajectory

T = TypeVar("T")


# --- what a component may ask for ------------------------------------------------------------------------------


class Model(Protocol):
    """One way to reach a language model. It does the I/O, the retries and the rate limits.

    Promise: an answer depends on chat, sampling and seed alone. A local one may have what `optional.OPTIONAL` lists.
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
        "prefill", "logprobs", "images", "weights", "gradients" (some quantized weights have none), "raw" (one user turn
        is continued as bare text, without a chat template); or "vectors", of an encoder, which answers nothing."""

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
        """The model with its tensors, read through the defense as far as that can be; or an error that names the way
        out."""
        if "weights" not in self.model.gives:
            raise SpecError(
                f"{type(attack).__name__} needs weights but {self.model.place} is text only",
                hint="use a local target, or find the test cases on one and send them with --cases-from",
            )
        model = cast("WhiteBox", self.model)
        return model if self.defense is None else SeenThrough(model, self.defense)


@dataclass(frozen=True)
class SeenThrough:
    """A white-box model as an attack that knows its defense reads it: every chat is rendered as the defense words it.

    model: with its tensors. defense: in front of it; one without `wrap` changes no chat. All else is the model's.
    """

    version: ClassVar[int] = 1
    model: WhiteBox
    defense: "Defense"

    def render(self, chat: Chat) -> str:
        """The chat as the model reads it behind the defense, up to where its answer begins."""
        return self.render_drawn(chat, 0)

    def render_drawn(self, chat: Chat, draw: int) -> str:
        """As `render`, in the draw of this number of a randomized defense."""
        wrap = optional(self.defense, "wrap")
        return self.model.render(wrap(self.model, chat, draw) if wrap else chat)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("model", "defense"):  # while a copy is being made
            raise AttributeError(name)
        return getattr(self.model, name)


@dataclass(frozen=True, slots=True)
class Ask:
    """Answered with one `Completion` per chat, in order.

    `spared`: whoever asks goes on where no answer comes, so that a model that is down does not end the run.
    """

    model: "Model | Target"
    chats: Sequence[Chat]
    sampling: Sampling
    spared: bool = False


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
    It may have `surrogates`, `together` and `upper_bound`, see `optional.OPTIONAL`.
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
    """Stands before a model: changes what it is asked or what it answers.

    An attack is assumed to know it. So it should have, as far as they apply (`optional.OPTIONAL` has their defaults):
    `wrap(model, chat, draw)`, what the model reads in the place of a chat: a pure function, so that attacks by weights
    see through it; draw: number of the draw where it is `randomized`, 0 else. A randomized one draws by its field
    `seed`: a run gives it another for each answer.
    `scan(chats)`, how suspicious the prompts are, computed here without asking: each 0 or more, blocked from 1 on; or
    `suspicion(model, chats)`, the same as a flow, where a model must be asked, which may be the one that it defends.
    `terms(model)`, what attacks by weights add to their loss on this model: `withstand.engine.terms`.
    `bypasses`: templates with {prompt} in which somebody who knows the defense would send a prompt.
    A defense that blocks an answer gives finish "filtered" and says why in `Completion.checks`.
    """

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
