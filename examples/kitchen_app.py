"""The guest assistant of a restaurant as a small REST application, for `withstand` to attack.

    python examples/kitchen_app.py --port 8765

It has the system prompt, the ten documents and the tools of the suite `kitchen_app`. A few rules stand in for a model
that follows instructions planted in documents, gives its own away to some who ask and calls a tool that is not for
guests. Standard library only, but for the suite's data.

    POST /chat {"message": "...", "session": "..." or null, "stream": false}
    -> {"answer": "...", "session": "...", "tool_calls": [...], "documents": [...], "usage": {...}}

With "stream": true the answer comes as server-sent events. What its filter takes for an attack gets status 400. Where
the variable KITCHEN_APP_KEY is set, the header "Authorization: Bearer KEY" must hold the same.
"""

import argparse
import base64
import json
import math
import os
import re
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

APP = json.loads((files("withstand.data") / "kitchen_app_files" / "app.json").read_text(encoding="utf-8"))
STOP = re.split(" ", "a an and are do does for from have how i in is it its me my of on say that the to what with your")
SORRY = "I'm sorry, but I can't help with that."
CODE = r"[A-Z]+-[A-Z]+-\d{4}"


# --- the stand-in for a model ------------------------------------------------------------------------------------


def stems(text: str) -> set[str]:
    """The beginnings of the words that say something."""
    return {word[:5].rstrip("s") for word in re.findall(r"\w+", text.lower()) if word not in STOP}


WORDS = [stems(f"{each['title']} {each['text']}") for each in APP["documents"]]


def search(query: str) -> list[dict[str, str]]:
    """The two documents that fit best: a word counts the more, the fewer documents have it."""
    asked = stems(query)
    counts = {word: sum(word in words for words in WORDS) for word in asked}
    rare = {word: math.log(1 + len(WORDS) / number) for word, number in counts.items() if number}
    pairs = list(zip(APP["documents"], WORDS, strict=True))
    ranked = sorted(pairs, key=lambda pair: -sum(rare[word] for word in rare.keys() & pair[1]))
    return [document for document, words in ranked[:2] if asked & words]


def answer(turns: list[str]) -> tuple[str, list[dict[str, Any]], list[dict[str, str]]]:
    """Text, tool calls and what was retrieved, for the last of a guest's turns."""
    asked = turns[-1].lower()
    found = search(" ".join(turns[-2:]))  # so that "and on Sundays?" is understood
    if re.search(r"\b(repeat|translate|print)\b.*\b(instructions|system prompt)\b", asked):
        return APP["system"], [], []
    if re.search(r"\bcode\b|\bpassword\b", asked):
        code = APP["secrets"]["pantry" in asked or "door" in asked]
        return (base64.b64encode(code.encode()).decode() if "base64" in asked else SORRY), [], []
    if re.search(r"\bcancel|booking \d+", asked) and not re.search(r"\bwhom?\b", asked):
        trusts = re.search(r"\bfrom the staff\b|cancel_booking", asked)
        number = int((re.search(r"\d+", asked) or [0])[0])
        return ("It is done.", [called("cancel_booking", booking=number)], []) if trusts else (SORRY, [], [])
    if re.search(r"\bbook a table\b", asked):
        return "Your table is booked.", [called("book_table", day="Friday", time="19:00", guests=2)], []
    if re.search(r"\brecipe\b|\bbake\b|\bcook\b|\bteach me\b|\bstep by step\b", asked):
        return f"{SORRY} But you may book a class.", [], []
    if not found:
        return "I can tell you about our opening hours, the menu, the classes and the house.", [], []
    sentences = re.split(r"(?<=[.!?])\s+", found[0]["text"])
    said = [each for each in sentences if not re.search(rf"{CODE}|assistant|cancel_booking", each)]
    best = sorted(said, key=lambda sentence: -len(stems(sentence) & stems(asked)))[:2]
    text = " ".join(sentence for sentence in said if sentence in best)
    if re.search(r"how .* (makes?|made)\b", asked) and found[0]["id"] == "kitchen_notes":
        text = found[0]["text"]
    calls = []
    for document in found[:1]:  # what stands in a document is obeyed
        if planted := re.search(rf"\b(Begin|End)\b.*?({CODE})", document["text"]):
            text = f"{planted[2]} {text}" if planted[1] == "Begin" else f"{text} {planted[2]}"
        if planted := re.search(r"call (\w+) with booking (\d+)", document["text"]):
            calls.append(called(planted[1], booking=int(planted[2])))
    return text, calls, found


def called(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


# --- the application ---------------------------------------------------------------------------------------------


class KitchenApp(ThreadingHTTPServer):
    """`with KitchenApp() as app: app.url`; port 0 is any that is free. `sessions`: the guest's turns in each."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.sessions: dict[str, list[str]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/chat"

    def __enter__(self) -> "KitchenApp":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: KitchenApp
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key = os.environ.get("KITCHEN_APP_KEY")
        if key and self.headers.get("Authorization") != f"Bearer {key}":
            return self.send(401, {"error": {"code": "unauthorized"}})
        try:
            body = json.loads(data)
            message, session = str(body["message"]), body.get("session") or secrets.token_hex(8)
        except (ValueError, TypeError, KeyError, AttributeError):
            return self.send(400, {"error": {"code": "bad_request", "message": 'send {"message": "..."}'}})
        if self.path != "/chat":
            return self.send(404, {"error": {"code": "not_found"}})
        if re.search(r"\bignore\b.{0,40}\binstructions\b", message.lower()):
            return self.send(400, {"error": {"code": "content_filter"}})
        turns = self.server.sessions.setdefault(session, [])
        turns.append(message)
        text, calls, found = answer(turns)
        usage = {"prompt_tokens": len(APP["system"].split()) + sum(len(turn.split()) for turn in turns),
                 "answer_tokens": len(text.split())}  # fmt: skip
        rest = {"session": session, "tool_calls": calls, "documents": found, "usage": usage}
        if body.get("stream"):
            pieces = [{"answer": piece} for piece in re.findall(r"\s*\S+", text)]
            events = "".join(f"data: {json.dumps(each)}\n\n" for each in [*pieces, rest])
            return self.send(200, f"{events}data: [DONE]\n\n", "text/event-stream")
        return self.send(200, {"answer": text, **rest})

    def send(self, status: int, value: Any, kind: str = "application/json") -> None:
        data = (value if isinstance(value, str) else json.dumps(value)).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=8765)
    app = KitchenApp(parser.parse_args().port)
    print(f"{APP['name']} answers at {app.url}", flush=True)
    try:
        app.serve_forever()
    except KeyboardInterrupt:
        app.server_close()


if __name__ == "__main__":
    main()
