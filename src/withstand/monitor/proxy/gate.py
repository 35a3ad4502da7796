"""Whether a request, and then its answer, may pass: the one place where the mode meets what the judges screened."""

import asyncio

from withstand.monitor.proxy import refusals
from withstand.monitor.proxy.answer import Answer
from withstand.monitor.proxy.asked import Asked, BodyError, asked_of
from withstand.monitor.proxy.coding import CodingError, opened
from withstand.monitor.proxy.log import Log
from withstand.monitor.proxy.mode import Mode
from withstand.monitor.proxy.passage import Passage
from withstand.monitor.proxy.reply import Reply
from withstand.monitor.proxy.route import SAFE, header
from withstand.monitor.proxy.screens import Screened, Screens

STOPPED = "content_policy"
UNJUDGED = "content_unjudged"
LONG = 256 * 1024
"""Bytes of a body from which on it is read in a thread."""
READ = ("chat", "completions", "responses")
"""Kinds whose answers hold a model's words."""


class Gate:
    """Decides for each passage. What it decides against, it says to the client."""

    def __init__(self, mode: Mode, screens: Screens, log: Log | None) -> None:
        self.mode, self.screens, self._log = mode, screens, log
        self.blocks = mode.does == "block"
        self.holds = self.blocks and mode.answers != "stream" and bool(screens.stops("completion"))
        self._guards = self.blocks and bool(screens.stops("prompt"))

    async def read(self, passage: Passage) -> str:
        """Read what the request says; in words why it may not go on for its form, "" if it may."""
        if not passage.target.startswith(b"/"):
            return "the target of the request is no path"
        if passage.route.kind != "other":
            try:
                if len(passage.body) > LONG:
                    passage.asked = await asyncio.to_thread(self._asked, passage)
                else:
                    passage.asked = self._asked(passage)
            except (CodingError, BodyError) as error:
                if self.blocks:
                    return str(error)
                passage.unjudged.append(f"the request: {error}")
        if self.blocks and not passage.route.plain and not (passage.method in SAFE and passage.route.harmless):
            return "the path is not written plainly: no //, no dots, nothing escaped"
        return ""

    def _asked(self, passage: Passage) -> Asked:
        return asked_of(
            passage.route.kind, opened(header(passage.headers, b"content-encoding"), passage.body, self.mode.body)
        )

    async def enters(self, passage: Passage, reply: Reply) -> bool:
        """Whether the request may go to the server behind. What may not was answered."""
        if why := await self.read(passage):
            passage.decision = "refused"
            passage.why.append(why)
            await reply.whole(*refusals.error(400, "unreadable_request", why))
            return False
        if not self.blocks:
            return True
        if self.mode.fail == "closed" and self._log and self._log.trouble:
            self._decide(passage, [f"the log cannot be written: {self._log.trouble}"])
        elif passage.asked is None:
            if not passage.route.harmless:
                self._decide(passage, ["what this path brings is not judged"])
        elif self._guards:
            passage.prompt = await self.screens.screen("prompt", passage.asked.texts)
            self._weigh(passage, passage.prompt, _unread(passage.asked))
        if passage.decision == "passed":
            return True
        await self.stop(passage, reply)
        return False

    async def leaves(self, passage: Passage) -> bool:
        """Whether the answer, as far as it came, may go to the client."""
        again, passage.held = passage.held, True
        asked, answer = passage.asked, passage.answer
        passage.completion = await self.screens.screen(
            "completion", answer.texts(), asked.prompt if asked else "", before=passage.prompt, again=again
        )
        self._weigh(passage, passage.completion, _unread(answer))
        return passage.decision == "passed"

    async def afterwards(self, passage: Passage) -> None:
        """Ask about what passed unjudged, so that it is flagged."""
        asked, answer = passage.asked, passage.answer
        if asked is None or passage.decision != "passed":
            return
        if passage.prompt is None and self.screens.of("prompt"):
            passage.prompt = await self.screens.screen("prompt", asked.texts)
            passage.unjudged += [*passage.prompt.failures, *_unread(asked)]
        if passage.completion is None and self.screens.of("completion") and passage.route.kind in READ:
            passage.completion = await self.screens.screen(
                "completion", answer.texts(), asked.prompt, before=passage.prompt
            )
            passage.unjudged += [*passage.completion.failures, *_unread(answer)]

    async def stop(self, passage: Passage, reply: Reply) -> None:
        """Tell the client that nothing comes."""
        if passage.decision == "blocked":
            asked = passage.asked
            if self.mode.blocked == "refusal" and asked is not None:
                whole = refusals.refusal_stream if asked.stream else refusals.refusal
                if (body := whole(asked.kind, asked.model)) is not None:
                    await reply.whole(200, body, "text/event-stream" if asked.stream else "application/json")
                    return
            side = "answer" if passage.held else "request"
            message = f"this {side} was stopped by the content policy: {', '.join(passage.stops)}"
            await reply.whole(*refusals.error(403, STOPPED, message))
        elif any(why.startswith(("no judge of texts", "what this path")) for why in passage.why):
            await reply.whole(*refusals.error(403, UNJUDGED, f"this cannot be judged: {'; '.join(passage.why)}"))
        else:
            await reply.whole(
                *refusals.error(503, "judge_failed", "no judge could say whether this may pass; try again")
            )

    def _weigh(self, passage: Passage, screened: Screened, unread: list[str]) -> None:
        """A flag of a stopping screener blocks; else what was left unsaid fails open or closed."""
        passage.unjudged += [why for why in screened.failures if why not in screened.unsaid]
        if screened.stops:
            passage.decision, passage.stops = "blocked", screened.stops
        elif failures := [*screened.unsaid, *unread]:
            self._decide(passage, failures)

    def _decide(self, passage: Passage, failures: list[str]) -> None:
        if self.mode.fail == "open":
            passage.opened = True
        else:
            passage.decision = "failed closed"
        passage.why += [why for why in failures if why not in passage.why]


def _unread(side: Asked | Answer) -> list[str]:
    """What of a side no judge of texts can read."""
    broken = side.broken if isinstance(side, Answer) else ""
    where = " of the answer" if isinstance(side, Answer) else ""
    return [*(f"no judge of texts reads {name}{where}" for name in side.opaque), *([broken] if broken else [])]
