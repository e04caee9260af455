"""The algorithm of vLLM's serving benchmark, written anew on aiohttp, as a closed loop.

`aiohttp_client.py URL STREAMS SECONDS PROMPT OUTPUT`

One task for each stream; each posts a completion, reads the chunks that `iter_any` gives, splits
them at blank lines, parses each event and takes `perf_counter` at it. Prints one JSON list of
[sent, ttft in ms] by request, on the monotonic clock. It imports nothing of llmatrix: it runs in an
environment that has aiohttp alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiohttp


async def ask(session: aiohttp.ClientSession, url: str, payload: dict[str, object]) -> float | None:
    """Send one request; give its TTFT in ms."""
    sent, first, latest = time.perf_counter(), None, 0.0
    held, text, gaps = b"", "", []
    async with session.post(f"{url}/v1/completions", json=payload) as answer:
        if answer.status != 200:
            return None
        async for chunk in answer.content.iter_any():
            held += chunk
            while b"\n\n" in held:
                event, _, held = held.partition(b"\n\n")
                line = event.decode().removeprefix("data: ")
                if not line or line == "[DONE]":
                    continue
                document = json.loads(line)
                if choices := document.get("choices"):
                    now = time.perf_counter()
                    if first is None:
                        first = (now - sent) * 1e3
                    else:
                        gaps.append(now - latest)
                    latest = now
                    text += choices[0].get("text") or ""
    return first


async def main() -> None:
    url, streams, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    prompt, output = int(sys.argv[4]), int(sys.argv[5])
    payload: dict[str, object] = {
        "model": "truth",
        "prompt": list(range(1000, 1000 + prompt)),
        "max_tokens": output,
        "temperature": 0.0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    found: list[tuple[float, float]] = []
    begun = time.monotonic()

    async def stream(session: aiohttp.ClientSession, slot: int) -> None:
        await asyncio.sleep(slot / streams)  # the answers take a second: they do not march in step
        while time.monotonic() - begun < seconds:
            sent = time.monotonic()
            ttft = await ask(session, url, payload)
            if ttft is not None:
                found.append((sent, ttft))

    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    timeout = aiohttp.ClientTimeout(total=6 * 60 * 60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(stream(session, slot) for slot in range(streams)))
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
