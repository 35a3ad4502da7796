"""The proxy under load and misfortune: many streams, clients that leave, servers and judges that fail, a full disk."""

import asyncio
import json

import httpx
import pytest

from behind import chunk, event, head, proxied, run, said, says, streamed, whole
from clocks import until
from withstand import api
from withstand.monitor.proxy.answer import Answer, Events
from withstand.monitor.proxy.log import Log
from withstand.monitor.proxy.section import section
from withstand.monitor.proxy.session import KIND
from withstand.monitor.section import Context
from withstand.monitor.settings import Keeping, Settings
from withstand.store.revisions import append, records, revisions

BLOCK = {"does": "block", "fail": "closed"}
MODEL = "odd_judges:StuckModel"


def drip(data):
    """A server that sends each byte of a stream by itself."""
    return says(head(kind="text/event-stream"), *(chunk(data[at : at + 1]) for at in range(len(data))), b"0\r\n\r\n")


def request(text):
    """A chat's request on a connection by itself."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], "stream": True})
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def test_two_hundred_streams_at_once_stay_apart(tmp_path):
    """All are open at the same time, before any gets its rest."""

    async def main():
        waiting, all_here = set(), asyncio.Event()

        async def answer(asked, writer):
            name = asked.json["messages"][0]["content"]
            writer.write(head(kind="text/event-stream") + chunk(event(f"soup {name}, ")))
            await writer.drain()
            waiting.add(name)
            if len(waiting) == 200:
                all_here.set()
            await all_here.wait()
            writer.write(chunk(event(f"bread {name}")) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

        async with proxied(tmp_path, answer) as front:
            got = await asyncio.gather(*(front.raw(request(f"n{number}")) for number in range(200)))
            for number, answer in enumerate(got):
                pieces = [chunk(event(text)) for text in (f"soup n{number}, ", f"bread n{number}")]
                assert answer.partition(b"\r\n\r\n")[2] == b"".join([*pieces, chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"])
            lines = await front.lines(200)
            assert {line["completion"] for line in lines} == {f"soup n{n}, bread n{n}" for n in range(200)}
            assert front.counts["exchanges"] == 200

    run(main())


def test_a_client_that_leaves_ends_its_request_and_no_other(tmp_path):
    async def main():
        async def answer(asked, writer):
            writer.write(head(kind="text/event-stream") + chunk(event("soup")))
            await writer.drain()
            if asked.json["messages"][0]["content"] == "stay":
                writer.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            else:
                await asyncio.sleep(3_600)

        async with proxied(tmp_path, answer) as front:
            body = {"model": "m", "messages": [{"role": "user", "content": "leave"}]}
            async with front.client.stream("POST", "/v1/chat/completions", json=body) as got:
                async for piece in got.aiter_raw():
                    assert piece == event("soup")
                    break
            [line] = await front.lines(1)
            assert (line["finish_reason"], line["completion"]) == ("client_closed", "soup")
            assert (await front.chat("stay")).content == streamed("soup")
            assert (front.behind.closed, front.counts["left"]) == (1, 1)
            # one that leaves before its body came
            _, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
            await writer.drain()
            writer.close()
            while front.counts["left"] < 2:
                await asyncio.sleep(0.01)
            assert len(front.behind.requests) == 2

    run(main())


def test_a_server_that_hangs_breaks_off_or_is_not_there_is_said_and_logged(tmp_path):
    async def main():
        async def answer(asked, writer):
            match asked.json["messages"][0]["content"]:
                case "hang":
                    await asyncio.sleep(3_600)
                case "hang later":
                    writer.write(head(kind="text/event-stream") + chunk(event("soup")))
                    await asyncio.sleep(3_600)
                case "break":
                    writer.write(head(length=100) + b"{")
                    writer.close()
                case "vanish":
                    writer.close()

        for options, held in (({}, False), ({**BLOCK, "answers": "hold"}, True)):
            notes = []
            async with proxied(tmp_path / str(held), answer, say=notes.append, **options) as front:
                patience = front.app.upstream._timeout
                patience["read"] = 0.2
                hung = await front.chat("hang")
                assert (hung.status_code, hung.json()["error"]["code"]) == (504, "upstream_timeout")
                patience["read"] = 60.0
                gone = await front.chat("vanish")
                assert (gone.status_code, gone.json()["error"]["code"]) == (502, "upstream_broken")
                for text, code, seconds in (("hang later", 504, 1.0), ("break", 502, 60.0)):
                    patience["read"] = seconds
                    if held:
                        assert (await front.chat(text)).status_code == code
                    else:  # no clean end: the client must see that something lacks
                        with pytest.raises(httpx.RemoteProtocolError):
                            await front.chat(text)
                lines = await front.lines(4)
                assert sorted(line["proxy"]["trouble"] for line in lines) == [
                    *["upstream_broken"] * 2,
                    *["upstream_timeout"] * 2,
                ]
                assert front.counts["server_errors"] == 4
                front.app.upstream._base = type(front.app.upstream._base)("http://127.0.0.1:1")
                await front.chat("x")
                down = await front.chat("x")
                assert len(notes) == 1
                assert "cannot be reached (ConnectError" in notes[0]
                assert (down.status_code, down.json()["error"]["code"]) == (502, "upstream_unreachable")

    run(main())


@pytest.mark.parametrize("answers", ["stream", "hold", "window"])
def test_bytes_that_drip_and_characters_that_are_cut_arrive_whole(tmp_path, answers):
    """Each byte of the stream comes by itself, so that every character of two to four bytes is cut."""
    stream = streamed("s\u00fc\u00dfe ", "\u6c64\U0001f372 ", "fertig").replace(b"\n", b"\r\n")
    mode = {} if answers == "stream" else {**BLOCK, "answers": answers, "window": 1}

    async def main():
        async with proxied(tmp_path, drip(stream), **mode) as front:
            assert (await front.chat("x", stream=True)).content == stream
            [line] = await front.lines(1)
            assert line["completion"] == "s\u00fc\u00dfe \u6c64\U0001f372 fertig"

    run(main())


def test_an_answer_in_a_coding_that_is_not_opened_is_unjudged(tmp_path):
    packed = whole(b"\x01\x02\x03", more="Content-Encoding: br\r\n")

    async def main(**mode):
        async with proxied(tmp_path / "-".join(map(str, mode.values())), says(packed), **mode) as front:
            front.client.headers["accept-encoding"] = "br, zstd"
            body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
            async with front.client.stream("POST", "/v1/chat/completions", json=body) as got:
                raw = b"".join([piece async for piece in got.aiter_raw()])
            assert front.behind.requests[0].header("accept-encoding") == "identity"
            [line] = await front.lines(1)
            assert "'br' is not known" in line["proxy"]["why"][0]
            return raw if got.status_code == 200 else got.status_code, line["proxy"]["decision"]

    assert run(main()) == (b"\x01\x02\x03", "passed")
    assert run(main(**BLOCK, answers="hold")) == (503, "failed closed")
    for mode in ({"answers": "hold"}, {"answers": "window", "window": 1}):
        assert run(main(does="block", fail="open", **mode)) == (b"\x01\x02\x03", "failed open")


@pytest.mark.parametrize(("fail", "status"), [("open", 200), ("closed", 503)])
def test_an_answer_that_is_too_long_to_be_held_passes_as_the_user_said(tmp_path, monkeypatch, fail, status):
    monkeypatch.setattr("withstand.monitor.proxy.relay.MOST", 1_000)
    long = said("soup " * 2_000)
    pieces = [long[at : at + 300] for at in range(0, len(long), 300)]

    async def main():
        async with proxied(
            tmp_path, says(head(length=len(long)), *pieces), does="block", fail=fail, answers="hold"
        ) as front:
            answer = await front.chat("x")
            assert answer.status_code == status
            assert answer.content == long or fail == "closed"
            [line] = await front.lines(1)
            assert line["proxy"]["decision"] == f"failed {fail}"
            assert "too long" in line["proxy"]["why"][0]

    run(main())


@pytest.mark.parametrize("fail", ["open", "closed"])
def test_a_judge_that_fails_or_is_late_does_what_the_user_said(tmp_path, fail):
    """Raised, unscored and late; each counted and logged, and others are served meanwhile."""
    file = tmp_path / "go"

    async def main():
        async with proxied(
            tmp_path, says(whole(said("soup"))), judge=f"{MODEL},file={file}", does="block", fail=fail, threads=4,
            timeout=60.0,
        ) as front:  # fmt: skip
            slow = asyncio.ensure_future(front.chat("slow"))
            assert (await front.chat("soup")).status_code == 200
            assert (await front.chat("miracle")).status_code == 403
            assert not slow.done()
            file.touch()
            assert (await slow).status_code == 200
            file.unlink()
            answers = [await front.chat("broken"), await front.chat("unsure")]
            front.app.gate.screens.timeout = 0.2
            answers.append(await front.chat("slow too"))
            file.touch()
            assert {answer.status_code for answer in answers} == ({200} if fail == "open" else {503})
            lines = [line for line in await front.lines(6) if line["proxy"]["decision"] == f"failed {fail}"]
            assert front.counts[f"failed_{fail}"] == 3
            assert sorted(why for line in lines for why in line["proxy"]["why"] if "prompt" in why) == [
                "judge-1-prompt: AskError",
                "judge-1-prompt: it could not judge 1 of 1 texts",
                "judge-1-prompt: no verdict in time",
            ]

    run(main())


def test_a_failure_in_flag_mode_is_unjudged_and_never_clean(tmp_path):
    async def main():
        async with proxied(tmp_path, says(whole(said("soup"))), judge=MODEL) as front:
            assert (await front.chat("broken")).status_code == 200
            [line] = await front.lines(1)
            assert line["proxy"]["why"] == ["judge-1-prompt: AskError"]
            assert front.counts["unjudged"] == 1

    run(main())


def test_a_rule_that_hangs_is_killed_with_its_process(tmp_path):
    """Real processes: the text after it is judged by another one. They are the reason for the seconds it takes."""
    file = tmp_path / "go"

    async def main():
        async with proxied(
            tmp_path,
            says(whole(said("soup"))),
            judge=f"odd_judges:Stuck,file={file}",
            **BLOCK,
            timeout=30.0,
            processes=1,
        ) as front:
            assert [(await front.chat(text)).status_code for text in ("soup", "miracle")] == [200, 403]
            # a client that leaves while its prompt is judged: nobody gets the verdict on it
            leaving = asyncio.ensure_future(front.chat("slow miracle"))
            while front.counts["requests"] < 3 or not front.app.lanes._free.empty():
                await asyncio.sleep(0.01)
            leaving.cancel()
            while not front.counts["left"]:
                await asyncio.sleep(0.01)
            after = asyncio.ensure_future(front.chat("soup"))
            file.touch()
            assert (await after).status_code == 200
            file.unlink()
            [lane] = front.app.lanes._lanes
            first = lane._process
            front.app.gate.screens.timeout = 0.3
            assert (await front.chat("slow")).status_code == 503
            first.join(30)
            assert first.exitcode is not None
            front.app.gate.screens.timeout = 30.0
            assert [(await front.chat(text)).status_code for text in ("soup", "broken", "miracle")] == [200, 503, 403]
            large = "soup " * 60_000
            assert [(await front.chat(text)).status_code for text in (large, f"{large} miracle")] == [200, 403]

    run(main())


def test_a_log_that_cannot_be_written_closes_the_gate_and_counts_what_is_lost(tmp_path):
    async def main(fail):
        async with proxied(tmp_path, says(whole(said("soup"))), does="block", fail=fail) as front:
            front.app.log._file.close()
            front.app.log._file = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
            assert (await front.chat("x")).status_code == 200
            while not front.app.log.trouble:
                await asyncio.sleep(0.01)
            return (await front.chat("y")).status_code, front.app

    for fail, status in (("closed", 503), ("open", 200)):
        got, app = run(main(fail))
        assert got == status
        assert app.session.counts["unlogged"] == 2


def test_the_log_turns_and_ends_a_half_line(tmp_path):
    path = tmp_path / "proxy.jsonl"
    path.write_bytes(b'{"half": ')
    log = Log(path, "full", rotate=200)
    for number in range(9):
        assert log.put({"id": str(number), "prompt": "x" * 60})
        until(lambda number=number: any(str(number) in p.read_text() for p in tmp_path.iterdir()))
    log.close()
    files = sorted(tmp_path.iterdir(), key=lambda file: (file.suffix == ".jsonl", file.name))
    assert [file.name for file in files][-1] == "proxy.jsonl"
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert lines[0] == '{"half": '
    assert [json.loads(line)["id"] for line in lines[1:]] == [str(number) for number in range(9)]
    assert all(file.stat().st_size <= 200 for file in files)


def test_a_body_that_is_large_or_does_not_come_is_refused(tmp_path):
    async def main():
        async with proxied(tmp_path / "slow", says(whole(said("soup"))), read=0.2) as front:
            slow = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            assert (await front.raw(slow + b"Content-Length: 99\r\n\r\n{")).startswith(b"HTTP/1.1 408")
        async with proxied(tmp_path, says(whole(said("soup"))), body=1_000) as front:
            large = await front.chat("x" * 2_000)
            assert (large.status_code, large.json()["error"]["code"]) == (413, "request_too_large")
            assert front.behind.requests == []

    run(main())


def test_the_store_says_what_the_proxy_did(tmp_path):
    store = api.open_store(tmp_path / "s.db")

    async def main():
        async with proxied(tmp_path, says(whole(said("soup"))), **BLOCK, store=store) as front:
            await front.chat("x")
            await front.chat("miracle")
            assert len(records(store, KIND)) == 1

    run(main())
    first, last = revisions(store, KIND)
    assert (first.value["ended"], first.value["counts"]["requests"]) == (False, 0)
    assert (last.value["ended"], last.value["mode"], last.value["fail"]) == (True, "block", "closed")
    assert {name: last.value["counts"][name] for name in ("exchanges", "blocked", "flagged")} == {
        "exchanges": 2, "blocked": 1, "flagged": 0,
    }  # fmt: skip
    assert last.plan == "monitor"
    seen = section(Context(None, Settings(), None, store, 0.0))
    assert seen.state == "calm"
    assert "1 session of the proxy met 2 exchanges: 0 flagged, 1 blocked, 0 unjudged." in seen.answer
    assert "What no judge could judge is refused." in seen.answer
    # a session that was killed, with what passed unjudged
    value = {**first.value, "counts": {**first.value["counts"], "failed_open": 2, "unlogged": 1}}
    append(store, KIND, "killed", "monitor", 1.0, value)
    seen = section(Context(None, Settings(), None, store, 0.0))
    assert (seen.state, len(seen.advice)) == ("note", 3)
    assert "Where no judge could say, 2 passed" in seen.answer
    assert "1 session said no end" in seen.answer
    # of another monitor
    assert section(Context(None, Settings(keeping=Keeping("other")), None, store, 0.0)) is None
    store.close()


def test_events_are_the_same_however_the_stream_is_cut():
    stream = b": hi\r\n\r\ndata: a\ndata: b\n\nevent: x\rdata: c\r\rdata:d\n\n\ndata: \xc3\xbc\r\n\r\nrest"
    events = Events()
    whole_events = events.feed(stream)
    for size in range(1, len(stream)):
        cut = Events()
        pieces = [part for at in range(0, len(stream), size) for part in cut.feed(stream[at : at + size])]
        assert b"".join(pieces) + cut.rest == stream
        assert [part.strip() for part in pieces if part.strip()] == [
            part.strip() for part in whole_events if part.strip()
        ]


def test_calls_reasoning_and_choices_are_each_read_whole():
    answer = Answer("chat")
    for index, delta in (
        (0, {"role": "assistant", "content": "so"}), (1, {"content": "br"}), (0, {"content": "up"}),
        (0, {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a": "mir'}}]}),
        (1, {"content": "ead"}), (0, {"tool_calls": [{"index": 1, "function": {"arguments": "x"}}]}),
        (0, {"tool_calls": [{"index": 0, "function": {"arguments": 'acle"}'}}]}), (1, {"reasoning_content": "hm"}),
    ):  # fmt: skip
        answer.event(b"data: " + json.dumps({"choices": [{"index": index, "delta": delta}]}).encode())
    assert {"soup", "bread", '{"a": "miracle"}', "hm", "bread\nhm"} <= set(answer.texts())
