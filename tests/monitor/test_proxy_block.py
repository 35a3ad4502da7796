"""The proxy that blocks: every way around it that we know is a case here, and each is stopped."""

import gzip
import json
from dataclasses import replace

import pytest

from behind import event, proxied, run, said, says, streamed, streams, whole
from withstand.core import SpecError
from withstand.monitor.proxy.asked import BodyError, asked_of

BLOCK = {"does": "block", "fail": "closed"}
BAD = "a miracle pan"
"""What the judge of these tests flags: the word miracle."""
TAGGED = "".join(chr(0xE0000 + ord(character)) for character in "miracle")


def user(content):
    return {"messages": [{"role": "user", "content": content}]}


CHAT = "chat/completions"
HIDDEN = {
    "system": (CHAT, {"messages": [{"role": "system", "content": BAD}, {"role": "user", "content": "x"}]}),
    "developer": (CHAT, {"messages": [{"role": "developer", "content": BAD}]}),
    "an earlier turn": (CHAT, {"messages": [{"role": "assistant", "content": BAD}, *user("x")["messages"]]}),
    "a tool's answer": (CHAT, {"messages": [{"role": "tool", "tool_call_id": "1", "content": BAD}]}),
    "parts": (CHAT, user([{"type": "text", "text": "x"}, {"type": "text", "text": BAD}])),
    "a word cut in two parts": (CHAT, user([{"type": "text", "text": "mir"}, {"type": "text", "text": "acle"}])),
    "a part of no known type": (CHAT, user([{"type": "note", "note": {"deep": [[BAD]]}}])),
    "a name": (CHAT, {"messages": [{"role": "user", "name": "miracle", "content": "x"}]}),
    "a role that is none": (CHAT, {"messages": [{"role": BAD, "content": "x"}]}),
    "a role that is a name": (CHAT, {"messages": [{"role": "buy_a_miracle_pan", "content": "x"}]}),
    "an id": (CHAT, {"messages": [{"role": "tool", "tool_call_id": "call_miracle", "content": "x"}]}),
    "a parameter's name": (CHAT, {**user("x"), "tools": [{"type": "function", "function": {
        "name": "f", "parameters": {"type": "object", "properties": {"buy_a_miracle_pan": {"type": "string"}}}}}]}),
    "arguments that are no string": (CHAT, {"messages": [{"role": "assistant", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"miracle": 1}}}]}]}),
    "arguments": (CHAT, {"messages": [{"role": "assistant", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": BAD})}}]}]}),
    "a tool's description": (CHAT, {**user("x"), "tools": [
        {"type": "function", "function": {"name": "f", "description": BAD}}]}),
    "a key of a schema": (CHAT, {**user("x"), "response_format": {"json_schema": {BAD: {}}}}),
    "a prediction": (CHAT, {**user("x"), "prediction": {"type": "content", "content": BAD}}),
    "an unknown field": (CHAT, {**user("x"), "extra_prompt": [BAD]}),
    "documents": (CHAT, {**user("x"), "documents": [{"text": BAD}]}),
    "messages that are no list": (CHAT, {"messages": {"role": "user", "content": BAD}}),
    "a prompt": ("completions", {"prompt": BAD}),
    "several prompts": ("completions", {"prompt": ["x", BAD]}),
    "a suffix": ("completions", {"prompt": "x", "suffix": BAD}),
    "input": ("responses", {"input": BAD}),
    "items of input": ("responses", {"input": [{"role": "user", "content": [{"type": "input_text", "text": BAD}]}]}),
    "a function's output": ("responses", {"input": [{"type": "function_call_output", "call_id": "1", "output": BAD}]}),
    "instructions": ("responses", {"instructions": BAD, "input": "x"}),
    "messages in a Responses request": ("responses", {"input": "x", **user(BAD)}),
    "embeddings": ("embeddings", {"input": ["x", BAD]}),
    "invisible characters": (CHAT, user("mir\u200bac\u2060le")),
    "characters that nobody sees": (CHAT, user("mir\ufe0fac\u034fl\x00e")),
    "tags": (CHAT, user(f"x {TAGGED}")),
    "wide letters": (CHAT, user("\uff4d\uff49\uff52\uff41\uff43\uff4c\uff45")),
}  # fmt: skip


def test_no_prompt_hides(tmp_path):
    """Each place is judged, and nothing of it reaches the server."""

    async def main():
        async with proxied(tmp_path, says(whole(said("soup"))), **BLOCK) as front:
            for name, (path, body) in HIDDEN.items():
                answer = await front.client.post(f"/v1/{path}", json={"model": "m", **body})
                assert (name, answer.status_code, answer.json()["error"]["code"]) == (name, 403, "content_policy")
            assert front.behind.requests == []
            assert (await front.chat("soup")).status_code == 200
            assert front.counts["blocked"] == len(HIDDEN)
            lines = await front.lines(len(HIDDEN) + 1)
            assert [line["blocked"] for line in lines] == [True] * len(HIDDEN) + [False]

    run(main())


UNJUDGED = {
    "a picture": (
        "chat/completions",
        user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]),
    ),
    "sound": (CHAT, user([{"type": "input_audio", "input_audio": {"data": "AAAA"}}])),
    "tokens": ("completions", {"prompt": [1, 2, 3]}),
    "lists of tokens": ("completions", {"prompt": [[1, 2], [3]]}),
    "vectors": ("completions", {"prompt": "x", "prompt_embeds": "AAAA"}),
    "a template of the chat": (CHAT, {**user("x"), "chat_template": "{{ messages }}"}),
    "an earlier response": ("responses", {"input": "x", "previous_response_id": "r1"}),
    "a conversation": ("responses", {"input": "x", "conversation": "c1"}),
    "a stored prompt": ("responses", {"prompt": {"id": "p1"}}),
    "a stored item": ("responses", {"input": [{"type": "item_reference", "item_reference": "i1"}]}),
    "an answer that is fetched later": ("responses", {"input": "x", "background": True}),
    "a tool that the server runs": ("responses", {"input": "x", "tools": [{"type": "mcp", "server_url": "http://x"}]}),
    "a search by the server": (CHAT, {**user("x"), "web_search_options": {"user_location": {}}}),
    "a file": ("responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f1"}]}]}),
    "a path that nobody knows": ("audio/speech", {"input": "x"}),
    "another API": ("../api/generate", {"prompt": "x"}),
}


def test_what_cannot_be_judged_passes_as_the_user_said(tmp_path):
    async def main(fail):
        async with proxied(tmp_path / fail, says(whole(b"{}")), does="block", fail=fail) as front:
            codes = set()
            for path, body in UNJUDGED.values():
                path = path.removeprefix("../") if path.startswith("..") else f"v1/{path}"
                answer = await front.client.post(f"/{path}", json={"model": "m", **body})
                codes.add((answer.status_code, answer.json().get("error", {}).get("code")))
            codes.add((await front.client.get("/v1/responses/r1")).status_code)
            assert (await front.client.get("/v1/models")).status_code == 200
            lines = await front.lines(len(UNJUDGED) + 1)
            assert {line["proxy"]["decision"] for line in lines} == {f"failed {fail}"}
            assert all(line["proxy"]["why"] for line in lines)
            assert front.counts[f"failed_{fail}"] == len(UNJUDGED) + 1
            return codes, len(front.behind.requests)

    assert run(main("closed")) == ({(403, "content_unjudged"), 403}, 1)
    assert run(main("open")) == ({(200, None), 200}, len(UNJUDGED) + 2)


def test_a_declared_name_is_no_picture():
    """A tool may have a parameter called file."""
    tool = {
        "type": "function",
        "function": {"name": "save", "parameters": {"properties": {"file": {"type": "string"}}}},
    }
    asked = asked_of("chat", json.dumps({**user("x"), "tools": [tool]}).encode())
    assert asked.opaque == ()
    assert asked.prompt == "x"


def test_a_request_that_parsers_read_in_two_ways_is_refused_or_written_anew(tmp_path):
    async def post(front, body, path="/v1/chat/completions", **headers):
        return await front.client.post(path, content=body, headers={"content-type": "application/json", **headers})

    async def main():
        async with proxied(tmp_path, says(whole(said("soup"))), **BLOCK, body=1_000_000) as front:
            good, bad = (json.dumps({"model": "m", **user(text)}).encode() for text in ("soup", BAD))
            # which of two equal keys a server takes is unknown: it gets one of them, the one that was judged
            for first, second, status in ((good, bad, 403), (bad, good, 200)):
                answer = await post(front, first[:-1] + b"," + second[1:])
                assert answer.status_code == status
            [passed] = front.behind.requests
            assert passed.body.count(b"messages") == 1
            assert passed.json["messages"][0]["content"] == "soup"
            # compressed: opened, judged, sent on open
            assert (await post(front, gzip.compress(bad), **{"content-encoding": "gzip"})).status_code == 403
            assert (await post(front, gzip.compress(good), **{"content-encoding": "gzip"})).status_code == 200
            assert front.behind.requests[-1].header("content-encoding") is None
            assert front.behind.requests[-1].json["model"] == "m"
            odd = {
                "two members": (gzip.compress(good) + gzip.compress(bad), {"content-encoding": "gzip"}),
                "a coding that nobody opens": (good, {"content-encoding": "br"}),
                "two codings": (gzip.compress(gzip.compress(bad)), {"content-encoding": "gzip, gzip"}),
                "a bomb": (gzip.compress(b" " * 2_000_000), {"content-encoding": "gzip"}),
                "cut": (gzip.compress(good)[:-9], {"content-encoding": "gzip"}),
                "UTF-16": (good.decode().encode("utf-16"), {}),
                "two documents": (good + bad, {}),
                "NaN": (good[:-1] + b', "top_p": NaN}', {}),
                "a lone surrogate": (good[:-1] + b', "x": "\\ud800"}', {}),
                "no object": (b"[" + bad + b"]", {}),
                "too deep to read": (b'{"a":' * 2_000 + b"1" + b"}" * 2_000, {}),
                "too deep to write": (b'{"a":' * 900 + b"1" + b"}" * 900, {}),
                "a form": (b"messages=miracle", {"content-type": "application/x-www-form-urlencoded"}),
                "nothing": (b"", {}),
            }
            for name, (body, headers) in odd.items():
                answer = await post(front, body, **headers)
                assert (name, answer.status_code, answer.json()["error"]["code"]) == (name, 400, "unreadable_request")
            assert len(front.behind.requests) == 2
            # deep, but within what is written anew: no recursion of ours
            deep = b'{"messages": ' + b"[" * 240 + b'"miracle"' + b"]" * 240 + b"}"
            assert (await post(front, deep)).status_code == 403
            assert front.counts["refused"] == len(odd)

    run(main())


def test_no_path_and_no_header_leads_around(tmp_path):
    body = json.dumps({"model": "m", **user(BAD)}).encode()

    async def main():
        async with proxied(tmp_path, says(whole(said("soup"))), **BLOCK) as front:
            for path in (
                "//v1/chat/completions", "/v1/chat%2fcompletions", "/v1/x/../chat/completions", "/v1/./completions",
                "/v1/chat/completions;a=b", "/v1/chat/completions%00", "/v1//completions", "/v1%5cchat%5ccompletions",
                "/v1/chat/completions/", "/V1/CHAT/completions", "/v1/chat/completions?x=1", "/v1/chat/completions/.",
                "http://elsewhere.invalid/v1/chat/completions", "/v1/models/../completions", "/v1/x/y/completions",
            ):  # fmt: skip
                head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                head += f"Content-Length: {len(body)}\r\n\r\n"
                answer = await front.raw(head.encode() + body)
                assert answer.split(b" ")[1] in (b"400", b"403"), (path, answer)
            assert front.behind.requests == []
            head = f"post /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            assert (await front.raw(f"{head}Connection: close\r\n\r\n".encode() + body)).startswith(b"HTTP/1.1 403")
            assert front.behind.requests == []
            # an upgrade, a method in a header and a path in a header are not passed on
            good = json.dumps({"model": "m", **user("soup")}).encode()
            head = (
                "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close, Upgrade, X-Hop\r\n"
                "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nX-Hop: 1\r\nX-Original-URL: /v1/files\r\n"
                f"X-HTTP-Method-Override: PUT\r\nX-Other: 2\r\nContent-Length: {len(good)}\r\n\r\n"
            )
            assert (await front.raw(head.encode() + good)).startswith(b"HTTP/1.1 200")
            [passed] = front.behind.requests
            names = {name.lower() for name, _ in passed.headers}
            assert names == {"host", "x-other", "content-length", "content-type", "accept-encoding"}
            # a body that nobody judged does not go along with a harmless request
            head = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
            assert (await front.raw(f"{head}\r\n".encode() + body)).startswith(b"HTTP/1.1 200")
            assert front.behind.requests.pop().body == b""
            # HTTP/2 is not spoken
            assert b"200" not in await front.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            # two lengths, a length and chunks: refused before anything is read
            smuggled = (
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n"
            )
            assert (await front.raw(smuggled)).startswith(b"HTTP/1.1 400")
            assert len(front.behind.requests) == 1

    run(main())


ANSWERS = {
    "content": said(BAD),
    "reasoning": said("soup", reasoning_content=BAD),
    "a refusal's field": said("soup", refusal=BAD),
    "a tool's arguments": said(
        "", tool_calls=[{"id": "1", "function": {"name": "f", "arguments": '{"a": "miracle"}'}}]
    ),
    "a name in arguments that are no string": said(
        "", tool_calls=[{"function": {"name": "f", "arguments": {"miracle": 1}}}]
    ),
    "the second of two": json.dumps(
        {"choices": [{"index": i, "message": {"content": text}} for i, text in enumerate(("soup", BAD))]}
    ).encode(),
    "a field that nobody knows": json.dumps({"choices": [], "note": BAD}).encode(),
}


def test_an_answer_is_held_until_it_is_judged(tmp_path):
    async def main():
        current = b""

        async def answer(_, writer):
            writer.write(whole(current))

        async with proxied(tmp_path, answer, **BLOCK, answers="hold") as front:
            for name, body in ANSWERS.items():
                current = body
                stopped = await front.chat("x", n=2)
                assert (name, stopped.status_code) == (name, 403)
                assert b"miracle" not in stopped.content
            for body in (
                b"no json",
                b'["miracle"]',
                json.dumps({"choices": [{"message": {"audio": {"data": "A"}}}]}).encode(),
            ):
                current = body
                stopped = await front.chat("x")
                assert stopped.json()["error"]["code"] in ("judge_failed", "content_unjudged")
            current = said("soup", annotations=None)
            assert (await front.chat("x")).content == current
            current = said("")
            assert (await front.chat("x")).content == current
            assert (front.counts["blocked"], front.counts["failed_closed"]) == (len(ANSWERS), 3)
            line = (await front.lines(1))[0]
            assert (line["blocked"], line["completion"], line["finish_reason"]) == (True, BAD, "content_filter")

    run(main())


def test_an_error_of_the_server_passes_and_a_stream_is_held_whole(tmp_path):
    async def main():
        answers = [whole(b'{"error": {"message": "miracle"}}', 429), None]

        async def answer(asked, writer):
            if body := answers.pop(0):
                writer.write(body)
            else:
                await streams(event("mir"), event("acle"))(asked, writer)

        async with proxied(tmp_path, answer, **BLOCK, answers="hold", blocked="refusal") as front:
            assert (await front.chat("x")).status_code == 429
            stopped = await front.chat("x", stream=True)
            assert (stopped.status_code, stopped.headers["content-type"]) == (200, "text/event-stream")
            assert b"I can't help with that." in stopped.content
            assert b"mir" not in stopped.content

    run(main())


@pytest.mark.parametrize(
    ("path", "body"),
    [("chat/completions", user(BAD)), ("completions", {"prompt": BAD}), ("responses", {"input": BAD})],
)
def test_a_refusal_has_the_shape_that_the_client_of_openai_reads(tmp_path, path, body):
    """Read by the official package, whole and streamed."""
    import openai

    async def main():
        async with proxied(tmp_path, says(whole(said("soup"))), **BLOCK, blocked="refusal") as front:
            client = openai.AsyncOpenAI(api_key="k", base_url=f"http://127.0.0.1:{front.port}/v1", max_retries=0)
            create = {
                "chat/completions": client.chat.completions.create,
                "completions": client.completions.create,
                "responses": client.responses.create,
            }[path]
            answer = await create(model="m", **body)
            texts = [_text(answer)]
            pieces = [piece async for piece in await create(model="m", stream=True, **body)]
            texts.append("".join(map(_text, pieces)))
            assert texts == ["I can't help with that."] * 2
            assert len(front.behind.requests) == 0
            await client.close()

    run(main())


def _text(answer):
    if hasattr(answer, "choices"):
        choice = answer.choices[0]
        part = getattr(choice, "message", None) or getattr(choice, "delta", None)
        return (part.content if part else choice.text) or ""
    return getattr(answer, "output_text", "") or (answer.delta if getattr(answer, "delta", None) else "")


def test_nothing_of_a_window_leaves_before_its_verdict(tmp_path):
    """Windows of 4 tokens: 16 characters. The word is cut over events; what came before the window has left."""
    harmless = [event("soup is warm, and "), event("it is good to eat; ")]

    async def main():
        async with proxied(
            tmp_path, streams(*harmless, event("a mir"), event("acle pan, buy it now"), event("!")),
            **BLOCK, answers="window", window=4,
        ) as front:  # fmt: skip
            answer = await front.chat("x", stream=True)
            assert answer.status_code == 200
            assert answer.content.startswith(harmless[0])
            assert b"mir" not in answer.content
            assert b'"finish_reason": "content_filter"' in answer.content
            assert answer.content.endswith(b"data: [DONE]\n\n")
            [line] = await front.lines(1)
            assert line["blocked"]
            assert line["completion"].endswith("a miracle pan, buy it now")
        async with proxied(tmp_path / "good", streams(*harmless), **BLOCK, answers="window", window=4) as front:
            assert (await front.chat("x", stream=True)).content == b"".join(harmless)
        packed = gzip.compress(streamed("soup", " and bread"))
        coded = whole(packed, kind="text/event-stream", more="Content-Encoding: gzip\r\n")
        async with proxied(tmp_path / "gzip", says(coded), **BLOCK, answers="window", window=4) as front:
            answer = await front.chat("x", stream=True)
            assert answer.content == streamed("soup", " and bread")
            assert "content-encoding" not in answer.headers

    run(main())


def test_events_of_the_responses_api_are_windows_too(tmp_path):
    def of(kind, **fields):
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    part = {"output_index": 0, "content_index": 0, "item_id": "i"}
    deltas = [of("response.output_text.delta", delta=text, **part) for text in ("soup and ", "a mir", "acle")]
    output = [{"type": "message", "content": [{"type": "output_text", "text": "soup and a miracle"}]}]
    done = of("response.completed", response={"status": "completed", "output": output, "usage": {"output_tokens": 4}})

    async def main():
        async with proxied(tmp_path, streams(*deltas, done), **BLOCK, answers="window", window=2) as front:
            answer = await front.client.post("/v1/responses", json={"model": "m", "input": "x", "stream": True})
            assert answer.content.startswith(deltas[0])
            assert b"mir" not in answer.content.replace(b"response", b"")
            assert b'"reason": "content_filter"' in answer.content
        # text that comes in an end event alone is judged as well
        async with proxied(tmp_path / "end", streams(done), **BLOCK, answers="window", window=2) as front:
            answer = await front.client.post("/v1/responses", json={"model": "m", "input": "x", "stream": True})
            assert answer.status_code == 403
        async with proxied(tmp_path / "flag", streams(*deltas, done)) as front:
            await front.client.post("/v1/responses", json={"model": "m", "input": "x", "stream": True})
            [line] = await front.lines(1)
            assert (line["completion"], line["finish_reason"]) == ("soup and a miracle", "completed")
            assert line["n_completion_tokens"] == 4

    run(main())


def test_a_mode_that_would_block_nothing_is_an_error(tmp_path):
    from withstand.monitor.proxy.build import build
    from withstand.monitor.proxy.mode import Mode
    from withstand.monitor.settings import Screener, Settings
    from withstand.redteam.policy.records import Category, Header, Policy

    mode = Mode("http://127.0.0.1:1", **BLOCK)
    with pytest.raises(SpecError, match="needs a judge"):
        build(mode, str(tmp_path / "log"))
    categories = {
        name: Category(name, name, "Offers of a miracle pan.", 1, "restricted", action)
        for name, action in (("spam", "block"), ("rude", "log"))
    }
    policy = Policy("", Header("kitchen", "1"), categories, (), (), "")
    for screener, message in (
        (Screener("a", "contains:miracle", "spam"), "answers stream through"),
        (Screener("a", "contains:miracle", "rude", "prompt"), "no screener blocks"),
    ):
        with pytest.raises(SpecError, match=message):
            build(mode, str(tmp_path / "log"), settings=Settings("m", screeners=(screener,)), policy=policy)
    held = Settings("m", screeners=(Screener("a", "contains:miracle", "spam", "prompt"),))
    with pytest.raises(SpecError, match="no screener of answers blocks"):
        build(replace(mode, answers="hold"), str(tmp_path / "log"), settings=held, policy=policy)
    with pytest.raises(SpecError, match="ask nobody for a token"):
        build(mode, str(tmp_path / "log"), judges=["contains:x"], host="0.0.0.0")
    with pytest.raises(SpecError, match="shorter than 16"):
        build(mode, str(tmp_path / "log"), judges=["contains:x"], host="0.0.0.0", token="short")


def test_another_address_needs_the_token_and_another_name_is_refused(tmp_path):
    async def main():
        async with proxied(tmp_path, says(whole(said("soup"))), host="0.0.0.0", token="t" * 16) as front:
            assert (await front.chat("x")).json()["error"]["code"] == "proxy_token"
            front.client.headers["x-withstand-token"] = "t" * 16
            assert (await front.chat("x")).status_code == 200
            assert front.behind.requests[0].header("x-withstand-token") is None
        async with proxied(tmp_path / "local", says(whole(said("soup")))) as front:
            front.client.headers["host"] = "elsewhere.example:80"
            assert (await front.chat("x")).status_code == 421
            assert front.behind.requests == []

    run(main())


def test_a_body_is_strictly_json():
    with pytest.raises(BodyError):
        asked_of("chat", b'{"a": 1e999}')
    assert asked_of("chat", b'{"stream": "true"}').stream
