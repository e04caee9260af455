"""A replica as the router knows it: its address, and its load as last scraped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

_CONFIG: Final = b"\nvllm:cache_config_info{"
_BLOCK_SIZE: Final = re.compile(rb'[{,]block_size="(\d+)"')
_NUM_BLOCKS: Final = re.compile(rb'[{,]num_gpu_blocks="(\d+)"')


@dataclass(slots=True, eq=False)
class Endpoint:
    """One replica. Loads are as old as the last scrape, as they are for the real picker.

    Attributes:
        address: host and port, as in headers and metrics.
        waiting, running: requests.
        kv_usage: share of the KV cache in use, 0 to 1.
        block_size, blocks: of its KV cache; 0 while unknown.
        updated: time of the last scrape on ``time.monotonic``; 0 before it.
        active: requests in flight through this router.
        labels: as Kubernetes has them; filters look at them.
        requests, errors: how many were sent there, and how many of those failed on the way.
    """

    host: str
    port: int
    address: str
    waiting: float = 0.0
    running: float = 0.0
    kv_usage: float = 0.0
    block_size: int = 0
    blocks: int = 0
    updated: float = 0.0
    active: int = 0
    requests: int = 0
    errors: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, url: str, labels: Mapping[str, str] | None = None) -> Endpoint:
        """Make the endpoint of a URL such as ``http://127.0.0.1:8000``.

        Raises:
            ValueError: not such a URL.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # brackets that do not close, a port that is no number
            host = port = None
        if not host or not port or url.rstrip("/") != f"http://{parts.netloc}" or "@" in url:
            raise ValueError(f"'{url}' is not a URL such as http://127.0.0.1:8000")
        return cls(host, port, parts.netloc, labels=labels or {})

    @property
    def url(self) -> str:
        """The base URL that it was made from."""
        return f"http://{self.address}"

    def read(self, exposition: bytes, now: float) -> None:
        """Take the load from a scrape of the replica's ``/metrics``; what is missing stays."""
        text = b"\n" + exposition
        waiting = _gauge(text, b"vllm:num_requests_waiting")
        running = _gauge(text, b"vllm:num_requests_running")
        usage = _gauge(text, b"vllm:kv_cache_usage_perc")
        if usage is None:  # the name before vLLM 0.10
            usage = _gauge(text, b"vllm:gpu_cache_usage_perc")
        self.waiting = self.waiting if waiting is None else waiting
        self.running = self.running if running is None else running
        self.kv_usage = self.kv_usage if usage is None else usage
        self.updated = now
        start = text.find(_CONFIG)
        if start >= 0:
            line = text[start : text.find(b"\n", start + 1)]
            size, number = _BLOCK_SIZE.search(line), _NUM_BLOCKS.search(line)
            self.block_size = int(size[1]) if size else 0
            self.blocks = int(number[1]) if number else 0


def _gauge(text: bytes, name: bytes) -> float | None:
    start = text.find(b"\n" + name)
    if start < 0 or text[start + 1 + len(name)] not in b"{ ":
        return None
    end = text.find(b"\n", start + 1)
    line = text[start + 1 : end if end >= 0 else len(text)]
    try:
        return float(line.rpartition(b" ")[2])
    except ValueError:
        return None
