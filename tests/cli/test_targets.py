"""`withstand init --curl` and `withstand target check`."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from withstand.cli import curl
from withstand.core import SpecError
from withstand.registry import find

Command = Callable[..., tuple[int, str, str]]
URL = "https://app.example.org/chat"


# --- init --curl -------------------------------------------------------------------------------------------------


def test_the_whole_way_from_curl_to_a_spec(withstand: Command) -> None:
    call = f"""curl -sS -X POST {URL} \\
      -H 'Authorization: Bearer abc-secret' -H 'Content-Type: application/json' -H 'X-Mode: test' \\
      --cacert ca.pem --cert me.pem --key me.key -m 30 \\
      -d '{{"message": "Hi there", "session_id": "s1", "max_tokens": 5, "api_key": "body-secret"}}'"""
    code, _, err = withstand("init", "--curl", call, "--max-asr", "0.05")
    assert code == 0
    assert "export APP_AUTHORIZATION=..." in err
    assert "export APP_API_KEY=..." in err
    text = Path("withstand.toml").read_text(encoding="utf-8")
    assert "secret" not in text.replace("secrets", "") + err.replace("secrets", "")
    spec = tomllib.loads(text)
    target = spec["target"]
    assert (spec["limit"], spec["gate"]) == (73, {"max_asr": 0.05, "attacks": spec["attack"]})
    assert json.loads(target.pop("body")) == {
        "message": "{prompt}", "session_id": "{session}", "max_tokens": 5, "api_key": "${APP_API_KEY}",
    }  # fmt: skip
    assert target == {
        "use": "http", "url": URL, "method": "POST", "history": "session", "text": "$", "revision": "",
        "headers": ["Authorization: Bearer ${APP_AUTHORIZATION}", "Content-Type: application/json", "X-Mode: test"],
        "ca": "ca.pem", "cert": "me.pem", "cert_key": "me.key", "timeout": 30.0,
    }  # fmt: skip
    assert withstand("init", "--curl", call)[0] == 2  # it is there


@pytest.mark.parametrize(
    ("call", "fields"),
    [
        ("curl {url} -d q=Hi&n=1", {"body": "q={prompt}&n=1", "method": "POST",
            "headers": ["Content-Type: application/x-www-form-urlencoded"]}),
        ("curl '{url}?q=Hi&token=abc'", {"url": URL + "?q={prompt}&token=${{APP_TOKEN}}", "method": "GET"}),
        ("curl -G {url} -d q=Hi", {"url": URL + "?q={prompt}", "method": "GET"}),
        ("curl {url} --json '{{\"input\": \"Hi\"}}'", {"body": '{"input": "{prompt}"}',
            "headers": ["Content-Type: application/json", "Accept: application/json"]}),
        ("curl -XPUT {url} -HX-Api-Key:\\ $KEY --data-raw '{{\"a\": {{\"query\": \"Hi\"}}}}' -H 'Content-Type: x/json'",
            {"method": "PUT", "body": '{"a": {"query": "{prompt}"}}',
             "headers": ["X-Api-Key: ${KEY}", "Content-Type: x/json"]}),
        ("curl {url} --json '{{\"messages\": [{{\"role\": \"user\", \"content\": \"Hi\"}}]}}' -b sid=abc",
            {"history": "send", "body": '{"messages": "{messages}"}',
             "headers": ["Content-Type: application/json", "Cookie: ${APP_COOKIE}", "Accept: application/json"]}),
        ("curl {url} --json '{{\"messages\": [{{\"role\": \"system\", \"content\": \"s\"}}, "
         "{{\"role\": \"user\", \"content\": \"Hi\"}}]}}'",
            {"history": "last", "body": '{"messages": [{"role": "system", "content": "s"}, '
             '{"role": "user", "content": "{prompt}"}]}'}),
        ("curl {url} --json '{{\"ask\": \"{{prompt}}\"}}'", {"body": '{"ask": "{prompt}"}'}),
    ],
)  # fmt: skip
def test_forms_of_calls(call: str, fields: dict[str, Any]) -> None:
    target = curl.fields(call.replace("-d q=Hi&n=1", "-d 'q=Hi&n=1'").format(url=URL))
    fields = {name: v.replace("{{", "{").replace("}}", "}") if name == "url" else v for name, v in fields.items()}
    assert {name: target[name] for name in fields} == fields
    find.build("target", target)


@pytest.mark.parametrize(
    ("call", "message", "hint"),
    [
        ("curl {url} -u me:secret -d q=x", "--user", "variable"),
        ("curl {url} -k -d q=x", "--insecure", "--cacert"),
        ("curl {url} -x http://proxy -d q=x", "--proxy", "HTTPS_PROXY"),
        ("curl {url} -F q=x", "--form", "multipart"),
        ("curl {url} --what 1", "--what is not supported", "leave it out"),
        ("curl {url} -d", "lacks its value", "quotes"),
        ("curl {url} -d 'q=x", "cannot be read", "quotes"),
        ("curl {url} -d $'q=x'", "$'...'", "'...'"),
        ("curl -d q=x", "0 URLs", "write one"),
        ("curl {url} -d x=1", "the call of curl has no place for the prompt", "{prompt}"),
        ("curl {url}", "the call of curl has no place for the prompt", "{prompt}"),
        ("curl {url} -d @nowhere.json", "cannot read nowhere.json", "text file"),
        ("wget {url}", "a whole call", "--curl 'curl"),
    ],
)
def test_what_is_not_taken_over_is_said(call: str, message: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        curl.fields(call.replace("{url}", URL))
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert "secret" not in str(caught.value) + caught.value.hint


# --- target check ------------------------------------------------------------------------------------------------


def checks(withstand: Command, *args: object) -> dict[str, tuple[str, str]]:
    code, out, _ = withstand("target", "check", *args, "--json")
    assert code == 0
    return {row["what"]: (row["works"], row["note"]) for row in json.loads(out)["checks"]}


def test_a_target_that_can_all(withstand: Command) -> None:
    results = checks(withstand, 'scripted,reply="leeks and fennel"')
    assert {what: works for what, (works, _) in results.items()} == {
        "chat": "yes", "system prompt": "yes", "prefix": "yes", "logprobs": "yes", "seeds": "yes",
        "context length": "unknown", "latency": "yes",
    }  # fmt: skip
    assert checks(withstand, 'scripted,reply="Three vegetables: {n}"')["prefix"] == ("no", "it repeats the prefix")
    assert checks(withstand, "scripted")["system prompt"][0] == "taken"


def test_a_server_gets_three_asks(withstand: Command, openai_server: Callable[..., Any]) -> None:
    server = openai_server()
    results = checks(withstand, f"openai:small,base_url={server.url}")
    assert (results["logprobs"], results["prefix"]) == (("yes", "2 a position"), ("no", "the target does not offer it"))
    assert len(server.requests) == 3
    assert [request["body"]["temperature"] for request in server.requests] == [1.0, 1.0, 0.0]


def test_a_target_that_does_not_answer(withstand: Command, openai_server: Callable[..., Any]) -> None:
    server = openai_server(faults=["401"])
    code, out, err = withstand("target", "check", f"openai:small,base_url={server.url}")
    assert code == 3
    assert "HTTP 401" in out
    assert "key_env" in out
    assert "Sending prompts to 127.0.0.1" in err
    assert len(server.requests) == 1


def test_a_spec_that_came_from_curl_learns_where_the_text_is(
    withstand: Command, openai_server: Callable[..., Any]
) -> None:
    url = f"{openai_server().url}/chat/completions"
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    assert withstand("init", "--curl", f"curl {url} --json '{body}'")[0] == 0
    code, out, _ = withstand("target", "check", "withstand.toml")
    assert code == 3
    assert "choices[0].message.content" in out
    path = Path("withstand.toml")
    path.write_text(path.read_text().replace('text = "$"', 'text = "choices[0].message.content"'))
    assert checks(withstand, "withstand.toml")["chat"][0] == "yes"
