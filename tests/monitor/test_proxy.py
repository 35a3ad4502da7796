"""The proxy as a client sees it: what passes unchanged, what is logged, and what never is."""

import gzip
import hashlib
import json

import pytest

from behind import chunk, event, head, proxied, run, said, says, streamed, streams, whole
from withstand.core import SpecError
from withstand.formats.traffic.exchange import Exchange
from withstand.monitor.proxy.mode import Mode, answers_of
from withstand.monitor.proxy.route import route_of

KEY = "sk-kitchen-0123456789abcdef"


def test_what_passes_is_what_the_server_said(tmp_path):
    """Statuses, headers, bodies and streams, whole and compressed, of every path; and connections are kept."""
    answers = {
        "/v1/chat/completions": whole(said("soup"), more="X-Request-Id: 7\r\nSet-Cookie: a=1\r\n"),
        "/v1/embeddings": whole(b'{"data": [{"embedding": [0.5]}]}'),
        "/v1/models?x=%20y": whole(b"not json", kind="text/plain"),
        "/v1/completions": whole(gzip.compress(b'{"choices": [{"text": "stew"}]}'), more="Content-Encoding: gzip\r\n"),
        "/v1/responses": head(kind="text/event-stream") + chunk(b": hi\n\n") + chunk(b"data: {}\n\n") + b"0\r\n\r\n",
        "/missing": whole(b'{"error": {"message": "no"}}', 404),
        "/elsewhere": whole(b"", 307, more="Location: http://elsewhere.invalid/v1\r\n"),
    }

    async def answer(asked, writer):
        writer.write(answers[asked.path])

    async def main():
        async with proxied(tmp_path, answer, judge="") as front:
            chat = await front.chat("hello", safety_identifier="ana")
            assert (chat.content, chat.headers["x-request-id"], chat.status_code) == (said("soup"), "7", 200)
            assert (await front.client.get("/v1/models?x=%20y")).content == b"not json"
            coded = await front.client.post("/v1/completions", json={"prompt": "?", "model": "m"})
            assert (coded.headers["content-encoding"], coded.json()["choices"]) == ("gzip", [{"text": "stew"}])
            stream = await front.client.post("/v1/responses", json={"input": "x", "stream": True})
            assert stream.content == b": hi\n\ndata: {}\n\n"
            assert (await front.client.post("/v1/embeddings", json={"input": ["a"]})).json()["data"]
            assert (await front.client.delete("/missing")).status_code == 404
            moved = await front.client.get("/elsewhere")
            assert (moved.status_code, moved.headers["location"]) == (307, "http://elsewhere.invalid/v1")
            first, *_ = front.behind.requests
            assert first.header("cookie") is None
            assert first.header("host") == f"127.0.0.1:{front.behind.port}"
            front.client.cookies.clear()  # another client: what one got set is sent for no other
            await front.chat("again")
            assert [request.header("cookie") for request in front.behind.requests] == [None] * 8
            chats = [line for line in await front.lines(5) if line["model"] == "m" and line["completion"] == "soup"]
            assert [line["prompt"] for line in chats] == ["hello", "again"]
            assert chats[0]["n_prompt_tokens"] == 3
            assert front.app.mode.does == "log"
            assert front.counts["other"] == 3

    run(main())


def test_without_judges_a_body_goes_on_byte_for_byte(tmp_path):
    body = b'{"model": "m",  "messages": [{"role": "user", "content": "a", "content": "b"}]}'

    async def main():
        async with proxied(tmp_path, says(whole(said("soup"))), judge="") as front:
            await front.client.post("/v1/chat/completions", content=body)
            packed = gzip.compress(body)
            await front.client.post("/v1/chat/completions", content=packed, headers={"content-encoding": "gzip"})
            assert [request.body for request in front.behind.requests] == [body, packed]
            assert [line["prompt"] for line in await front.lines(2)] == ["b", "b"]

    run(main())


def test_the_log_never_holds_a_key_and_names_accounts_by_a_stated_rule(tmp_path):
    """Header, then safety_identifier, then user, then the key, then nobody; each as a keyed hash."""
    private = "my mail is ana@example.com"

    async def main():
        async with proxied(tmp_path, says(whole(said(private))), account="X-Account") as front:
            bearer = {"Authorization": f"Bearer {KEY}"}
            body = {"model": "m", "messages": [{"role": "user", "content": private}]}
            for headers, fields in (
                ({**bearer, "X-Account": "ana"}, {"safety_identifier": "ben", "user": "cora"}),
                (bearer, {"safety_identifier": "ana", "user": "cora"}),
                (bearer, {"user": "ana"}),
                (bearer, {}),
                ({"api-key": KEY}, {}),
                ({}, {}),
            ):
                await front.client.post("/v1/chat/completions", json={**body, **fields}, headers=headers)
            lines = await front.lines(6)
            assert [request.header("authorization") for request in front.behind.requests][:1] == [f"Bearer {KEY}"]
            accounts = [line["account"] for line in lines]
            key = lines[0]["key"]
            assert accounts == [accounts[0]] * 3 + [key, key, "anonymous"]
            assert len({accounts[0], key, "anonymous"}) == 3
            text = (tmp_path / "proxy.jsonl").read_text()
            for secret in (KEY, hashlib.sha256(KEY.encode()).hexdigest()[:16], "ana@", '"ana"', '"ben"', '"cora"'):
                assert secret not in text
            assert lines[0]["prompt"] == "my mail is [mail]"
            assert (tmp_path / "proxy.jsonl").stat().st_mode & 0o777 == 0o600

    run(main())


def test_texts_can_be_left_out_or_kept_whole(tmp_path):
    async def main(text):
        async with proxied(tmp_path / text, says(whole(said("mail a@b.example"))), text=text) as front:
            await front.chat("a miracle at a@b.example")
            return (await front.lines(1))[0]

    full, none = run(main("full")), run(main("none"))
    assert (full["prompt"], full["completion"]) == ("a miracle at a@b.example", "mail a@b.example")
    assert (none["prompt"], none["completion"]) == ("", "")
    assert none["labels"] == full["labels"] == {"uncovered": 1.0}


def test_a_flag_passes_and_is_labeled(tmp_path):
    """Of prompts and answers, streams among them; what is sent on is what was judged."""
    soup, miracle = (f'"messages": [{{"role": "user", "content": "{text}"}}]' for text in ("soup", "miracle"))
    twice = f'{{"model": "m", {soup}, {miracle}}}'.encode()

    async def main():
        async with proxied(tmp_path, streams(event("a mir"), event("acle"), b"data: [DONE]\n\n")) as front:
            answer = await front.chat("hello", stream=True)
            assert answer.content == streamed("a mir", "acle")
            await front.client.post("/v1/chat/completions", content=twice)
            first, second = await front.lines(2)
            assert (first["completion"], first["proxy"]["flagged"]) == ("a miracle", ["judge-1-completion"])
            assert second["proxy"]["flagged"] == ["judge-1-prompt", "judge-1-completion"]
            assert json.loads(front.behind.requests[1].body)["messages"] == [{"role": "user", "content": "miracle"}]
            assert front.behind.requests[1].body.count(b"messages") == 1
            assert (front.counts["flagged"], front.counts["blocked"], front.counts["exchanges"]) == (2, 0, 2)

    run(main())


def test_what_the_log_says_is_an_exchange_for_the_reader(tmp_path):
    """The names are those of the monitor's plain form."""
    names = {"n_prompt_tokens": "prompt_tokens", "n_completion_tokens": "completion_tokens", "proxy": "extra"}

    async def main():
        async with proxied(tmp_path, says(whole(said("a miracle")))) as front:
            await front.chat(
                "hello", messages=[{"role": "system", "content": "be kind"}, {"role": "user", "content": "x"}]
            )
            return (await front.lines(1))[0]

    line = run(main())
    exchange = Exchange(1, **{names.get(name, name): value for name, value in line.items()})
    assert (exchange.prompt, exchange.system, exchange.blocked, exchange.ts) == ("x", "be kind", False, 1_800_000_000.0)


def test_a_path_is_read_through_its_tricks():
    tricks = (
        "/v1/chat/completions", "//v1//chat/completions", "/v1/chat%2fcompletions", "/v1/chat%252fcompletions",
        "/V1/Chat/Completions/", "/v1/x/../chat/completions", "/v1/./chat/completions;v=1", "/v1/chat\\completions",
        "/v1/chat/completions%20", "/openai/deployments/m/chat/completions", "/v1/chat/completions%00",
    )  # fmt: skip
    assert {route_of("POST", path.encode()).kind for path in tricks} == {"chat"}
    plain = [path for path in tricks if route_of("POST", path.encode()).plain]
    assert plain == ["/v1/chat/completions", "/V1/Chat/Completions/", "/openai/deployments/m/chat/completions"]
    assert route_of("POST", b"/v1/chat/completions/1").kind == "other"
    assert route_of("PUT", b"/v1/chat/completions").kind == "other"
    harmless = ("/v1/models", "/v1/models/a%2Fb", "/health", "/")
    assert all(route_of("GET", path.encode()).harmless for path in harmless)
    assert not any(route_of("GET", path).harmless for path in (b"/v1/responses/r1", b"/v1/chat/completions/c1"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"to": "ftp://x"}, "no address"),
        ({"to": "http://ana:secret@x"}, "holds a password"),
        ({"to": "http://x:99999"}, "no such port"),
        ({"does": "block"}, "needs --fail"),
        ({"answers": "hold"}, "needs --mode block"),
        ({"fail": "open"}, "needs --mode block"),
        ({"does": "block", "fail": "open", "answers": "window"}, "1 token or more"),
    ],
)
def test_a_mode_that_does_not_go_together_is_an_error(fields, message):
    with pytest.raises(SpecError, match=message) as error:
        Mode(**{"to": "http://127.0.0.1:1", **fields})
    assert "secret" not in str(error.value)


def test_answers_and_addresses_are_read():
    assert [answers_of(text) for text in ("stream", "hold", "window:8")] == [("stream", 0), ("hold", 0), ("window", 8)]
    with pytest.raises(SpecError, match="is none"):
        answers_of("window")
    assert [Mode(to).prefix for to in ("http://x", "http://x/v1/", "http://x/openai/v1")] == ["", "", "/openai"]
    assert [Mode(to).clear for to in ("http://x", "https://x", "http://[::1]:1")] == [True, False, False]
