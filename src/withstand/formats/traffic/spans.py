"""Spans that hold a call of a model: by OpenTelemetry's conventions, old and new, or by OpenInference's.

Read are OTLP/JSON as collectors write it ({"resourceSpans": ...} and {"resourceLogs": ...}), spans as SDKs print them,
and rows of Phoenix's tables of spans. Other spans are no exchanges. The conventions:
https://opentelemetry.io/docs/specs/semconv/gen-ai/ and https://arize-ai.github.io/openinference/spec/.
"""

from collections.abc import Iterator, Mapping, Sequence

from withstand.core import Json
from withstand.formats.traffic.attributes import Span, spans_of
from withstand.formats.traffic.decode import UnreadableError
from withstand.formats.traffic.exchange import BadLine, Exchange
from withstand.formats.traffic.fields import exchange
from withstand.formats.traffic.messages import Turn, request_of, text_of, turns_of

CALLS = ("chat", "text_completion", "generate_content", "completion")
"""Operations that are a call of a model."""
ACCOUNT = (
    "user.id", "enduser.id", "langfuse.user.id", "traceloop.association.properties.user_id", "llm.user",
    "ai.telemetry.metadata.userId", "metadata.user_id", "gen_ai.request.user",
)  # fmt: skip
CONVERSATION = (
    "gen_ai.conversation.id", "session.id", "langfuse.session.id", "traceloop.association.properties.session_id",
    "ai.telemetry.metadata.sessionId", "metadata.session_id",
)  # fmt: skip
PATHS: Mapping[str, Sequence[str]] = {
    "account": ACCOUNT,
    "conversation": CONVERSATION,
    "model": ("gen_ai.response.model", "llm.model_name", "gen_ai.request.model", "llm.request.model"),
    "prompt_tokens": ("gen_ai.usage.input_tokens", "llm.token_count.prompt", "gen_ai.usage.prompt_tokens"),
    "completion_tokens": ("gen_ai.usage.output_tokens", "llm.token_count.completion", "gen_ai.usage.completion_tokens"),
    "finish_reason": ("gen_ai.response.finish_reasons.0", "llm.finish_reason", "gen_ai.completion.0.finish_reason"),
    "app": ("service.name",),
}
"""Field of an exchange -> where attributes say it, the first that is there."""
EVENTS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
DETAILS = "gen_ai.client.inference.operation.details"


def looks(record: Json) -> bool:
    """Whether an object is of this form."""
    if not isinstance(record, dict):
        return False
    if isinstance(record.get("resourceSpans", record.get("resourceLogs")), list):
        return True
    names = set(record)
    ids = {"spanId", "span_id", "context.span_id", "context"} & names
    return bool(ids) and ("attributes" in names or any(str(name).startswith("attributes.") for name in names))


class Spans:
    """Reads spans. columns: field of an exchange -> name of an attribute."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self.columns = columns

    def __call__(self, line: int, record: Json, odd: list[str]) -> Sequence[Exchange | BadLine]:
        if not isinstance(record, dict):
            raise UnreadableError("no object", f"it is a {type(record).__name__}, not an object")
        spans = list(spans_of(record))
        traces = _traces(spans)
        items: list[Exchange | BadLine] = []
        for span in spans:
            if not _is_call(span):
                continue
            try:
                items.append(self._exchange(line, span, traces.get(span.trace, {}), list(odd) if not items else []))
            except UnreadableError as error:
                items.append(BadLine(line, error.kind, f"span {span.id or '?'}: {error.why}"))
        if not items:
            kinds = sorted({_kind(span) for span in spans})
            raise UnreadableError(
                "other span", f"no call of a model: {', '.join(kinds)[:200] or 'no span'}", harmless=True
            )
        return items

    def _exchange(self, line: int, span: Span, trace: Mapping[str, Json], odd: list[str]) -> Exchange:
        fields: dict[str, Json] = {"ts": span.start, "id": span.id, "extra": {"trace": span.trace}}
        for field, paths in PATHS.items():
            fields[field] = next(
                (value for path in paths if (value := span.at(path)) not in (None, "")), trace.get(field)
            )
        if span.latency_ms is not None:
            fields["latency_ms"] = span.latency_ms
        asked, answered = list(_asked(span, odd)), list(_answered(span, odd))
        request = request_of(asked, odd)
        if not asked and not answered:
            raise UnreadableError("no text", "it holds no messages: is the capture of content switched on?")
        texts = [turn.text for turn in answered]
        fields |= {"prompt": request.prompt, "system": request.system, "turns": request.turns}
        if len(texts) > 1:
            odd.append("several choices")
        fields["completion"] = "\n\n".join(filter(None, texts))
        fields |= {field: span.at(path) for field, path in self.columns.items()}
        return exchange(line, fields, odd)


def _traces(spans: Sequence[Span]) -> dict[str, dict[str, Json]]:
    """Trace -> account and conversation that any of its spans here says: often its root alone knows them."""
    traces: dict[str, dict[str, Json]] = {}
    for span in spans:
        for field in ("account", "conversation") if span.trace else ():
            value = next((value for path in PATHS[field] if (value := span.at(path)) not in (None, "")), None)
            if value is not None:
                traces.setdefault(span.trace, {}).setdefault(field, value)
    return traces


def _kind(span: Span) -> str:
    """What a span is called by its conventions."""
    for path in ("openinference.span.kind", "gen_ai.operation.name", "traceloop.span.kind", "llm.request.type"):
        if isinstance(kind := span.at(path), str) and kind:
            return kind
    return span.kind


def _is_call(span: Span) -> bool:
    kind = _kind(span).lower()
    if span.name == DETAILS or kind in ("llm", *CALLS):
        return True
    if kind in ("span", "internal", "client", ""):
        return any(
            span.at(path) is not None for path in ("gen_ai.input.messages", "gen_ai.prompt", "llm.input_messages")
        )
    return False


# --- what was asked and answered ---------------------------------------------------------------------------------


def _asked(span: Span, odd: list[str]) -> Iterator[Turn]:
    """The messages of the request, wherever the span has them."""
    for event in span.events:
        if event.name == DETAILS:
            yield from _asked(event, odd)
            return
    if (system := span.at("gen_ai.system_instructions")) is not None:
        yield Turn("system", text_of(system, odd))
    for path in ("gen_ai.input.messages", "llm.input_messages", "gen_ai.prompt", "ai.prompt.messages"):
        if (messages := span.at(path)) is not None:
            yield from turns_of(messages, odd)
            return
    prompts = [event.at("gen_ai.prompt") for event in span.events if event.name == "gen_ai.content.prompt"]
    if prompts:
        for prompt in prompts:
            yield from turns_of(prompt, odd)
        return
    events = [event for event in span.events if event.name in EVENTS]
    if events:
        for event in events:
            yield from turns_of([{"role": EVENTS[event.name], **event.body}], odd)
        return
    value = span.at("input.value")
    if isinstance(value, dict):
        value = value.get("messages", value.get("input", value.get("prompt", value)))
    if value is not None:
        yield from turns_of(value, odd)


def _answered(span: Span, odd: list[str]) -> Iterator[Turn]:
    """The answers, one for each choice."""
    for event in span.events:
        if event.name == DETAILS:
            yield from _answered(event, odd)
            return
    for path in ("gen_ai.output.messages", "llm.output_messages", "gen_ai.completion"):
        if (messages := span.at(path)) is not None:
            yield from turns_of(messages, odd)
            return
    completions = [event.at("gen_ai.completion") for event in span.events if event.name == "gen_ai.content.completion"]
    choices = [event.body for event in span.events if event.name == "gen_ai.choice"]
    if completions or choices:
        for answer in (*completions, *(choice.get("message", choice) for choice in choices)):
            yield from turns_of(answer, odd)
        return
    text, calls = span.at("ai.response.text"), span.at("ai.response.toolCalls")
    if text is not None or calls is not None:
        yield from turns_of([{"role": "assistant", "content": text, "tool_calls": calls}], odd)
        return
    value = span.at("output.value")
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        value = [choice.get("message", choice) for choice in value["choices"] if isinstance(choice, dict)]
    if value is not None:
        yield from turns_of(value, odd)
