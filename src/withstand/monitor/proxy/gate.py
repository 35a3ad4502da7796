"""Whether a request, and then its answer, may pass: the one place where the mode meets what the judges screened."""

from withstand.monitor.proxy import refusals
from withstand.monitor.proxy.asked import BodyError, asked_of
from withstand.monitor.proxy.coding import CodingError, opened
from withstand.monitor.proxy.log import Log
from withstand.monitor.proxy.mode import Mode
from withstand.monitor.proxy.passage import Passage
from withstand.monitor.proxy.reply import Reply
from withstand.monitor.proxy.route import SAFE, header
from withstand.monitor.proxy.screens import Screened, Screens

STOPPED = "content_policy"
UNJUDGED = "content_unjudged"
READ = ("chat", "completions", "responses")
"""Kinds whose answers hold a model's words."""


class Gate:
    """Decides for each passage. What it decides against, it says to the client."""

    def __init__(self, mode: Mode, screens: Screens, log: Log | None) -> None:
        self.mode, self.screens, self._log = mode, screens, log
        self.blocks = mode.does == "block"
        self.holds = self.blocks and mode.answers != "stream" and bool(screens.stops("completion"))
        self._guards = self.blocks and bool(screens.stops("prompt"))

    def read(self, passage: Passage) -> str:
        """Read what the request says; in words why it may not go on for its form, "" if it may."""
        if passage.route.kind != "other":
            try:
                body = opened(header(passage.headers, b"content-encoding"), passage.body, self.mode.body)
                passage.asked = asked_of(passage.route.kind, body)
            except (CodingError, BodyError) as error:
                if self.blocks:
                    return str(error)
                passage.unjudged.append(f"the request: {error}")
        if self.blocks and not passage.route.plain and not (passage.method in SAFE and passage.route.harmless):
            return "the path is not written plainly: no //, no dots, nothing escaped"
        return ""

    async def enters(self, passage: Passage, reply: Reply) -> bool:
        """Whether the request may go to the server behind. What may not was answered."""
        if why := self.read(passage):
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
            unread = [f"no judge of texts reads {name}" for name in passage.asked.opaque]
            self._weigh(passage, passage.prompt, [*passage.prompt.unsaid, *unread])
        if passage.decision in ("passed", "failed open"):
            return True
        await self.stop(passage, reply)
        return False

    async def leaves(self, passage: Passage) -> bool:
        """Whether the answer, as far as it came, may go to the client."""
        again, passage.held = passage.held, True
        asked, answer = passage.asked, passage.answer
        screened = await self.screens.screen(
            "completion", answer.texts(), asked.prompt if asked else "", before=passage.prompt, again=again
        )
        passage.completion = screened
        unread = [f"no judge of texts reads {name} of the answer" for name in answer.opaque]
        self._weigh(passage, screened, [*screened.unsaid, *unread, *([answer.broken] if answer.broken else [])])
        return passage.decision in ("passed", "failed open")

    async def afterwards(self, passage: Passage) -> None:
        """Ask about what passed unjudged, so that it is flagged."""
        asked, answer = passage.asked, passage.answer
        if asked is None or passage.decision not in ("passed", "failed open"):
            return
        if passage.prompt is None and self.screens.of("prompt"):
            passage.prompt = await self.screens.screen("prompt", asked.texts)
            passage.unjudged += [
                *passage.prompt.failures,
                *(f"no judge of texts reads {name}" for name in asked.opaque),
            ]
        if passage.completion is None and self.screens.of("completion") and passage.route.kind in READ:
            screened = await self.screens.screen("completion", answer.texts(), asked.prompt, before=passage.prompt)
            passage.completion = screened
            passage.unjudged += [
                *screened.failures,
                *(f"no judge of texts reads {name} of the answer" for name in answer.opaque),
                *([answer.broken] if answer.broken else []),
            ]

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
            message = f"this {side} was stopped by the content policy: {', '.join(passage.why)}"
            await reply.whole(*refusals.error(403, STOPPED, message))
        elif any(why.startswith(("no judge of texts", "what this path")) for why in passage.why):
            await reply.whole(*refusals.error(403, UNJUDGED, f"this cannot be judged: {'; '.join(passage.why)}"))
        else:
            await reply.whole(
                *refusals.error(503, "judge_failed", "no judge could say whether this may pass; try again")
            )

    def _weigh(self, passage: Passage, screened: Screened, failures: list[str]) -> None:
        """A flag of a stopping screener blocks; else what was left unsaid fails open or closed."""
        if screened.stops:
            passage.decision = "blocked"
            passage.why = list(screened.stops)
        elif failures:
            self._decide(passage, failures)

    def _decide(self, passage: Passage, failures: list[str]) -> None:
        passage.decision = "failed open" if self.mode.fail == "open" else "failed closed"
        passage.why += [why for why in failures if why not in passage.why]
