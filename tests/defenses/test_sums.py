from withstand.core import Completion, GuardCheck, ToolCall, user
from withstand.defenses._sums import given, summed

CHAT = user("Bake")
FIRST = Completion(
    CHAT, "one", "length", "hm", (ToolCall("oven"),), (), 1, 2, 3, 0.5, 0.25, 10.0, (GuardCheck("a", "before", 0.5),)
)
SECOND = Completion(
    CHAT, "two", prompt_tokens=10, answer_tokens=20, reasoning_tokens=30, cost=5.0, seconds=2.5, flops=7
)
API = Completion(CHAT, "three", prompt_tokens=100, cost=50.0)


def test_an_answer_bears_what_all_asks_took_and_stays_itself():
    total = Completion(CHAT, "one", "length", "hm", FIRST.tool_calls, (), 11, 22, 33, 5.5, 2.75, 17.0, FIRST.checks)
    assert summed(FIRST, [SECOND]) == total
    assert summed(FIRST, []) == FIRST
    assert summed(FIRST, [SECOND, API]).flops is None  # not known of one: not known of all


def test_what_is_blocked_bears_the_withheld_answer_too():
    check = GuardCheck("b", "after", 2.0, blocked=True)
    gone = given(CHAT, FIRST, [check], [SECOND])
    assert (gone.text, gone.finish, gone.checks, gone.suspicion) == ("", "filtered", (check,), 2.0)
    assert (gone.tokens, gone.cost, gone.seconds, gone.flops) == (66, 5.5, 2.75, 17.0)
    free = given(CHAT, None, [check], [])
    assert (free.tokens, free.cost, free.flops) == (0, 0.0, 0.0)  # nothing was asked, which is known
    passed = given(CHAT, FIRST, [GuardCheck("b", "after", 0.2)], [SECOND])
    assert (passed.text, passed.finish, [check.by for check in passed.checks]) == ("one", "length", ["a", "b"])
    assert (passed.tokens, passed.cost) == (66, 5.5)
