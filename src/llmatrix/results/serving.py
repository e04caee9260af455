"""A folder of records over HTTP, read-only: how records leave a volume inside a cluster.

Paths are ``/<token>/sizes?prefix=…`` (a JSON object of names and bytes) and
``/<token>/file/<name>``. Without the token, nothing is told.
"""

from __future__ import annotations

import hmac
import json
import shutil
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from llmatrix.errors import LlmatrixError
from llmatrix.results.folder import FolderStore


class RecordsServer(ThreadingHTTPServer):
    """Serves the records of one folder to whoever knows the token."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], store: FolderStore, token: str) -> None:
        super().__init__(address, _Handler)
        self.store = store
        self.token = token


class _Handler(BaseHTTPRequestHandler):
    server: RecordsServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one question about the folder."""
        url = urlsplit(self.path)
        _, token, verb, *rest = [*url.path.split("/"), "", ""]
        if not hmac.compare_digest(unquote(token).encode(), self.server.token.encode()):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            if verb == "sizes":
                prefix = parse_qs(url.query).get("prefix", [""])[0]
                self._send(json.dumps(self.server.store.sizes(prefix)).encode())
            elif verb == "file":
                self._send_file(unquote("/".join(rest).rstrip("/")))
            else:
                self.send_error(HTTPStatus.NOT_FOUND)
        except KeyError:
            self.send_error(HTTPStatus.NOT_FOUND)
        except LlmatrixError as error:
            self.send_error(HTTPStatus.BAD_REQUEST, explain=str(error))

    def _send(self, content: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send_file(self, name: str) -> None:
        path = self.server.store.local(name)
        with path.open("rb") as file:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            shutil.copyfileobj(file, self.wfile)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing: a log line would hold the token."""
