"""A Hugging Face Hub of our own, over HTTP as huggingface_hub asks one, with faults on demand.

Files of Git are sent by the Hub itself; those of LFS by another address, to which it redirects and
which refuses our token, as the real one's store does. It needs nothing but Python, so that it runs
in a pod from a ConfigMap too: ``python hub_server.py PORT CDN_PORT [FOLDER]`` serves the tiny
model, and the files of the folder as another.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "5f" * 20
TREE = "/tree"
"""Among the faults, what stands for the list of files; no file has such a path."""
PAUSE_S = 0.6
"""Of a line that is slow."""
GOOD_TOKEN = "hf_good"  # noqa: S105 - of this server only
STRANGER_TOKEN = "hf_stranger"  # noqa: S105
TINY = "tiny-org/tiny-model"
OWN = "tiny-org/of-a-folder"
OPEN_1B = "tiny-org/open-1B"
GATED_1B = "tiny-org/gated-1B"
ABSENT_1B = "tiny-org/absent-1B"
"""Names that tell a size: simulated servers serve such. The last is not there."""
_PAGE = 2


@dataclass
class Fault:
    """How one answer for a file goes wrong.

    Attributes:
        kind: ``stall`` and ``cut`` after some bytes, ``short`` and ``wrong`` whole but not right,
            ``status`` instead of a file, ``no-range`` as if it knew no ranges, ``slow`` with a
            pause after each so many bytes.
        after: bytes that come first.
        status: that is answered.
    """

    kind: str
    after: int = 0
    status: int = 503


@dataclass
class Repo:
    """A repository at one commit."""

    files: dict[str, bytes]
    lfs: frozenset[str] = frozenset()
    gated: bool = False
    private: bool = False

    def sizes(self) -> dict[str, int]:
        """Give the bytes that a download is sent, by file; what is empty is not asked for."""
        return {path: len(data) for path, data in self.files.items() if data}


@dataclass
class Seen:
    """A request for the content of a file: what was asked for, and what was sent."""

    path: str
    begin: int
    sent: int = 0


@dataclass
class Hub:
    """What the server has, does wrong, and has seen."""

    repos: dict[str, Repo]
    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    trees: int = 0
    cdn_port: int = 0
    going_on: threading.Event = field(default_factory=threading.Event)

    def fault(self, path: str) -> Fault | None:
        waiting = self.faults.get(path)
        return waiting.popleft() if waiting else None

    def sent(self) -> dict[str, int]:
        """Count the bytes of content that were sent, by file."""
        total: dict[str, int] = {}
        for each in self.seen:
            total[each.path] = total.get(each.path, 0) + each.sent
        return total


def tiny_model(weights: int = 300_000) -> Repo:
    """Make the files of a model that nothing can serve, always the same."""
    drawn = random.Random(7)  # noqa: S311 - content, no secret
    files = {
        "config.json": b'{"model_type": "tiny"}\n',
        "tokenizer.json": b'{"version": "1.0"}\n',
        "model-00001-of-00002.safetensors": drawn.randbytes(weights),
        "model-00002-of-00002.safetensors": drawn.randbytes(weights // 3),
        "original/consolidated.pth": drawn.randbytes(5000),
        "tiny.gguf": drawn.randbytes(2000),
        "empty.txt": b"",
    }
    large = {name for name in files if name.endswith((".safetensors", ".pth", ".gguf"))}
    return Repo(files, frozenset(large))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = [unquote(each) for each in urlsplit(self.path).path.strip("/").split("/")]
        if parts[:2] == ["api", "models"] and parts[4:5] == ["tree"]:
            if (repo := self._allowed("/".join(parts[2:4]), parts[5], files=False)) is not None:
                self._tree(repo)
        elif parts == ["_seen"]:
            told = {"trees": self.hub.trees, "sent": self.hub.sent()}
            self._answer(200, json.dumps(told).encode())
        elif parts[2:3] == ["resolve"]:
            if (repo := self._allowed("/".join(parts[:2]), parts[3], files=True)) is not None:
                self._resolve(repo, "/".join(parts[:2]), "/".join(parts[4:]))
        elif parts[0] == "cdn":
            self._cdn(parts[1:])
        else:
            self._answer(404, b"")

    def _allowed(self, name: str, revision: str, *, files: bool) -> Repo | None:
        repo = self.hub.repos.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in {GOOD_TOKEN, STRANGER_TOKEN}:
            self._refuse(401, message="Invalid credentials in Authorization header")
        elif repo is None or (repo.private and token != GOOD_TOKEN):
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif files and repo.gated and token != GOOD_TOKEN:
            self._refuse(403 if token else 401, "GatedRepo", f"Access to {name} is restricted")
        elif revision != COMMIT:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return repo
        return None

    def _tree(self, repo: Repo) -> None:
        query = parse_qs(urlsplit(self.path).query)
        begin = int(query.get("cursor", ["0"])[0])
        self.hub.trees += begin == 0
        if self.hub.fault(TREE) is not None:
            self.hub.going_on.wait(60)
            self.close_connection = True
            return
        entries = [_entry(path, data, path in repo.lfs) for path, data in repo.files.items()]
        folders = {path.partition("/")[0] for path in repo.files if "/" in path}
        entries += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": f} for f in folders]
        more = {}
        if begin + _PAGE < len(entries):
            url = f"http://{self.headers['Host']}{urlsplit(self.path).path}"
            link = f"<{url}?recursive=True&cursor={begin + _PAGE}>"
            more = {"Link": f'{link}; rel="next"'}
        self._answer(200, json.dumps(entries[begin : begin + _PAGE]).encode(), more)

    def _resolve(self, repo: Repo, name: str, path: str) -> None:
        data = repo.files.get(path)
        if data is None:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        told = {"X-Repo-Commit": COMMIT}
        if path not in repo.lfs:
            oid = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            self._content(path, data, {**told, "ETag": f'"{oid}"'})
            return
        sha256 = hashlib.sha256(data).hexdigest()
        host = self.headers["Host"].rpartition(":")[0]
        told |= {
            "Location": f"http://{host}:{self.hub.cdn_port}/cdn/{name}/{path}?signed=1",
            "X-Linked-Size": str(len(data)),
            "X-Linked-Etag": f'"{sha256}"',
            "ETag": f'"{sha256}"',
        }
        self._answer(302, b"", told)

    def _cdn(self, parts: list[str]) -> None:
        if "Authorization" in self.headers:  # as S3, and nobody else's store should see our token
            self._answer(400, b"Only one auth mechanism allowed")
            return
        path = "/".join(parts[2:])
        self._content(path, self.hub.repos["/".join(parts[:2])].files[path], {})

    def _content(self, path: str, data: bytes, told: dict[str, str]) -> None:
        fault = self.hub.fault(path) if self.command == "GET" else None
        kind = fault.kind if fault else ""
        if fault and kind == "status":
            self._answer(fault.status, b"")
            return
        begin, status, whole = 0, 200, data
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes=") and kind != "no-range":
            begin, status = int(asked[6:].partition("-")[0]), 206
            told = told | {"Content-Range": f"bytes {begin}-{len(whole) - 1}/{len(whole)}"}
        data = data[begin:]
        if kind == "short":
            data = data[: fault.after if fault else 0]
        elif kind == "wrong":
            data = bytes(len(data))
        seen = Seen(path, begin)
        if self.command == "GET":
            self.hub.seen.append(seen)
        self.send_response(status)
        for key, value in {**told, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self._body(seen, data, fault or Fault(""))

    def _body(self, seen: Seen, data: bytes, fault: Fault) -> None:
        if fault.kind in {"stall", "cut"}:
            self._send(seen, data[: fault.after])
            if fault.kind == "stall":
                self.hub.going_on.wait(60)
            self.close_connection = True
        elif fault.kind == "slow":
            for start in range(0, len(data), fault.after):
                self._send(seen, data[start : start + fault.after])
                self.hub.going_on.wait(PAUSE_S)
        else:
            self._send(seen, data)

    def _send(self, seen: Seen, data: bytes) -> None:
        for start in range(0, len(data), 65536):
            piece = data[start : start + 65536]
            try:
                self.wfile.write(piece)
            except OSError:  # whoever asked is gone
                self.close_connection = True
                return
            seen.sent += len(piece)

    def _refuse(self, status: int, code: str = "", message: str = "") -> None:
        told = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._answer(status, json.dumps({"error": message}).encode(), told)

    def _answer(self, status: int, body: bytes, told: dict[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for key, value in (headers | (told or {})).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        del format, args


def _entry(path: str, data: bytes, large: bool) -> dict[str, Any]:  # noqa: FBT001
    if large:
        sha256 = hashlib.sha256(data).hexdigest()
        lfs = {"lfs": {"oid": sha256, "size": len(data), "pointerSize": 133}}
        return {"type": "file", "oid": "1" * 40, "size": len(data), "path": path, **lfs}
    oid = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return {"type": "file", "oid": oid, "size": len(data), "path": path}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away."""
        del request, client_address


@dataclass
class Running:
    """A hub that is served, until it is stopped."""

    hub: Hub
    servers: tuple[_Server, ...]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.servers[0].server_port}"

    def stop(self) -> None:
        self.hub.going_on.set()
        for each in self.servers:
            each.shutdown()
            each.server_close()


def serve(hub: Hub, host: str = "127.0.0.1", port: int = 0, cdn_port: int = 0) -> Running:
    """Serve a hub; ports of 0 are chosen."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    servers = (_Server((host, port), handler), _Server((host, cdn_port), handler))
    hub.cdn_port = servers[1].server_port
    for each in servers:
        threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True).start()
    return Running(hub, servers)


if __name__ == "__main__":
    tiny = tiny_model()
    gated = Repo(tiny.files, tiny.lfs, gated=True)
    everything = Hub({TINY: tiny, OPEN_1B: tiny, "tiny-org/gated": gated, GATED_1B: gated})
    if sys.argv[3:]:
        found = [each for each in Path(sys.argv[3]).iterdir() if each.is_file()]
        lying = {each.name: each.read_bytes() for each in found}
        everything.repos[OWN] = Repo(lying, frozenset(n for n in lying if n.endswith(".gguf")))
    serve(everything, "0.0.0.0", int(sys.argv[1]), int(sys.argv[2]))  # noqa: S104 - a pod's own
    while True:
        time.sleep(60)
