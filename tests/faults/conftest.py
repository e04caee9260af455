"""An OpenAI-like server that misbehaves as it is told, over real sockets."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Misbehaving:
    """Answers ``/v1/completions`` as a stream, in one of several ways.

    Attributes:
        way: ``well``; ``error event`` (200, then an event that says what went wrong); ``stops``
            (three tokens, then silence, the connection staying open); ``hangs up`` (three tokens,
            then the connection is closed).
        words: what an error event says.
    """

    way: str = "well"
    models: list[str] = field(default_factory=lambda: ["m"])
    words: str = "CUDA out of memory"
    url: str = ""
    asked: int = 0
    over: threading.Event = field(default_factory=threading.Event)


def _event(document: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(document).encode()


def _token(number: int) -> bytes:
    return _event({"choices": [{"index": 0, "text": f"w{number} ", "finish_reason": None}]})


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    """Start one; it dies with the test."""
    script = Misbehaving()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            models = [{"id": model, "object": "model"} for model in script.models]
            body = json.dumps({"object": "list", "data": models}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            script.asked += 1
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            count = asked["max_tokens"]
            if script.way == "error event":
                self._say(_token(0), _event({"error": {"message": script.words, "code": 500}}))
            elif script.way == "well":
                usage = {"prompt_tokens": len(asked["prompt"]), "completion_tokens": count}
                self._say(*map(_token, range(count)))
                self._say(_event({"choices": [], "usage": usage}), b"data: [DONE]\n\n")
            else:
                self._say(*map(_token, range(3)))
                if script.way == "stops":
                    script.over.wait(60)

        def _say(self, *events: bytes) -> None:
            for event in events:
                self.wfile.write(event)
            self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Pass over clients that hung up."""
            del request, client_address

    with Server(("127.0.0.1", 0), Handler) as listening:
        script.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield script
        script.over.set()
        listening.shutdown()
        thread.join()
