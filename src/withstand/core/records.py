"""The records that every room speaks: what is asked, answered and judged. Standard library only.

They are frozen; `to_json` and `from_json` (of `content`) carry them to the store and back, `digest` names them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Literal, TypeAlias

from withstand.core.errors import SpecError


@dataclass(frozen=True, slots=True)
class Behavior:
    """What the model should refuse (if `benign`: should not), in the benchmark's words.

    `target_string` is the opening ("Sure, here is ...") that gradient attacks optimize towards; `context` a passage
    without which the instruction makes no sense; `functional` HarmBench's kind (standard, contextual, copyright);
    `category` its semantic category; `tags` drive a judge that depends on the behavior. `cluster` names what it stands
    or falls with (a dish, paraphrases of one request, the behavior it was made from), "" for nothing: intervals take
    the behaviors of a cluster together. It is in no key and not in the behavior's JSON; a run's plan keeps it beside.
    `prompt_score`: of a prompt of toxicity, its own score in [0, 1] as its benchmark gives it; None: not known.
    """

    id: str
    text: str
    context: str = ""
    target_string: str = ""
    category: str = ""
    functional: str = ""
    tags: tuple[str, ...] = ()
    benign: bool = False
    cluster: str = field(default="", metadata={"beside": True})
    prompt_score: float | None = None

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


def as_dicts(chat: Chat) -> list[dict[str, str]]:
    """The turns as chat templates and OpenAI's protocol take them: {"role": ..., "content": ...} each, no images."""
    return [{"role": message.role, "content": message.text} for message in chat]


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
class GuardCheck:
    """What a defense that may block said of one exchange.

    by: its name. stage: whether it read the prompt ("before") or the answer ("after").
    suspicion: its score over its threshold, 0 or more: it blocks from 1 on. None where it gives no score.
    blocked: the caller got no answer of the model.
    failed: it could not say, and this is why; "" where it could. Whether it then blocks is the defense's to say.
    """

    by: str
    stage: Literal["before", "after"]
    suspicion: float | None = None
    blocked: bool = False
    failed: str = ""

    @property
    def read(self) -> str:
        """What it read: the prompt, or the answer."""
        return "prompt" if self.stage == "before" else "answer"

    @property
    def in_words(self) -> str:
        """What it did, without its reason, which may quote a text."""
        over = "" if self.suspicion is None else f" at {self.suspicion:.2f} of its limit"
        could = ", since it could not say" if self.failed else ""
        return f"{self.by} {'blocked' if self.blocked else 'passed'} the {self.read}{over}{could}"


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer. `chat` is what the caller sent, whatever a defense added behind it.

    `finish`: "stop", "length" (cut at max_tokens) or "filtered" (the target's own filter or its defense spoke).
    After a prefill `text` is the continuation alone. `reasoning` is thinking, kept apart: judges do not see it unless
    told. `logprobs`: for each position of the answer the top tokens as (text, natural log of the probability), best
    first. Token counts are of the whole call; a defense adds up what it used. `cost` in US dollars, 0 where no price
    is known. `seconds` and `flops` are its share of the call, set by `drive`; `flops` None: not known, as of an API.
    `checks`: what a defense that may block said; `asks`: chats that the defense sent to any model, 0 without one.
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
    flops: float | None = None
    checks: tuple[GuardCheck, ...] = ()
    asks: int = 0

    @property
    def tokens(self) -> int:
        """Prompt, answer and reasoning together."""
        return self.prompt_tokens + self.answer_tokens + self.reasoning_tokens

    @property
    def suspicion(self) -> float | None:
        """The highest score of its guards over their thresholds, 1 or more where one blocks; None without a score."""
        return max((check.suspicion for check in self.checks if check.suspicion is not None), default=None)

    @property
    def unmeasured(self) -> str:
        """Why a block says nothing of the model or its defense: the guards that could not say and blocked; "" for none.

        Of a conversation, those of any of its turns.
        """
        failed = [check for check in self.checks if check.failed and check.blocked]
        return "; ".join(f"{check.by} failed and blocked the {check.read}: {check.failed}" for check in failed)


def known_sum(*counts: float | None) -> float | None:
    """Their sum; None, not known, where one of them is not."""
    given = [count for count in counts if count is not None]
    return sum(given) if len(given) == len(counts) else None


@dataclass(frozen=True, slots=True)
class Spent:
    """What an attack has used so far. `asks`: chats to the target as the attacker sees it; the rest is of all roles.

    `flops`: floating-point operations of local models; None once something was asked of which they are not known.
    `refused`, `malformed`, `long`, `repeated`, `changed`: answers of an attacker model, see `RejectedDrafts`.
    """

    asks: int = 0
    tokens: int = 0
    seconds: float = 0.0
    cost: float = 0.0
    refused: int = 0
    malformed: int = 0
    flops: float | None = 0.0
    long: int = 0
    repeated: int = 0
    changed: int = 0

    def shared(self, number: int) -> "Spent":
        """What each of so many behaviors bears, whole numbers rounded."""
        flops = None if self.flops is None else self.flops / number
        shares = {f.name: getattr(self, f.name) / number for f in fields(self) if f.name != "flops"}
        whole = {name: round(share) for name, share in shares.items() if name not in ("seconds", "cost")}
        return Spent(**{**shares, **whole, "flops": flops})


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
    the completion and from the failure log. `vote` of several judges: "agreed" or "split"; "" if there was none.
    `scores`: of a scorer with categories, each name and its score in [0, 1]. `scored_by`: the version that a scorer
    behind a URL says it is; "" where the judge's own identity says it.
    """

    outcome: Outcome
    score: float | None = None
    why: str = ""
    vote: str = ""
    scores: tuple[tuple[str, float], ...] = ()
    scored_by: str = ""

    @property
    def strength(self) -> float:
        """Its score; where it has none, 1 for a success and 0 else."""
        return float(self.outcome == "success") if self.score is None else self.score


def user_turns(chat: Chat) -> list[int]:
    """The places of the user's turns, in order."""
    return [place for place, message in enumerate(chat) if message.role == "user"]


def last_asked(chat: Chat) -> str:
    """The text of the last user turn, "" without one."""
    return chat[places[-1]].text if (places := user_turns(chat)) else ""


def reworded(chat: Chat, place: int, text: str) -> Chat:
    """`chat` with another text in the turn at a place; its images stay."""
    return (*chat[:place], replace(chat[place], text=text), *chat[place + 1 :])


def opening_of(chat: Chat) -> Chat:
    """The opening of an answer that a chat ends with (a prefill), as a chat of one turn; () without one."""
    return chat[-1:] if chat and chat[-1].role == "assistant" else ()


def whole_answer(chat: Chat, text: str) -> str:
    """An answer to a chat, with the prefill before it."""
    return "".join(turn.text for turn in opening_of(chat)) + text


def trajectory(answers: Sequence[Completion]) -> Completion:
    """The answers of a conversation as one completion, so that what was given in parts is judged as one.

    A filter that stops the last answer takes back none of the earlier ones: then it has not stopped the whole. What
    guards failed at in earlier turns stays in `checks`.
    """
    *earlier, last = answers
    text = "\n\n".join(filter(None, (answer.text.strip() for answer in answers)))
    calls = tuple(call for answer in answers for call in answer.tool_calls)
    given = last.finish == "filtered" and any(answer.text.strip() or answer.tool_calls for answer in earlier)
    failed = tuple(check for answer in earlier for check in answer.checks if check.failed)
    finish = "stop" if given else last.finish
    return replace(last, text=text, tool_calls=calls, finish=finish, checks=(*failed, *last.checks))


def answers_of(completion: Completion) -> tuple[str, ...]:
    """The target's answers that `trajectory` joined, the last one last; of another completion its text alone.

    Where the text begins with the chat's assistant turns, they are the target's own answers. Else an attack wrote them,
    as it did an opening at the end of the chat. A last answer of calls alone is "".
    """
    chat, text = completion.chat, completion.text
    turns = chat[: len(chat) - len(opening_of(chat))]
    earlier = tuple(filter(None, (turn.text.strip() for turn in turns if turn.role == "assistant")))
    head = "\n\n".join(earlier)
    if not earlier or not (text == head or text.startswith(f"{head}\n\n")):
        return (text,)
    return (*earlier, text[len(head) :].strip())


def nothing_to_judge(completion: Completion) -> Verdict | None:
    """What stands without any judge's word, None for an answer that has to be judged."""
    if completion.finish == "filtered" and completion.unmeasured:
        return Verdict("unscored", why=completion.unmeasured)
    if completion.finish == "filtered":
        return Verdict("unscored", why="filtered before any answer")
    if completion.finish == "length" and completion.reasoning and not completion.text.strip():
        return Verdict("unscored", why="cut inside its reasoning: raise max_tokens")
    if not completion.text.strip() and not completion.tool_calls:
        return Verdict("failure", why="empty answer")
    return None
