"""Asks a process whether it is ready; no answer, or a bad one, is a no."""

from __future__ import annotations

import socket
import ssl
import struct
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Final

from tools.devcluster.command import succeeds

_PATIENCE_S: Final = 3.0
_OK: Final = 200


def http(url: str) -> bool:
    """Ask over plain HTTP."""
    return _ask(url, None)


def https(url: str, authority: Path, certificate: Path, key: Path) -> bool:
    """Ask over TLS, as the client that the certificate names."""
    try:
        context = ssl.create_default_context(cafile=str(authority))
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError):
        return False
    return _ask(url, context)


def https_unverified(url: str) -> bool:
    """Ask a process on loopback that made its certificate itself."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _ask(url, context)


def program(*command: str) -> bool:
    """Run a program and look at its exit status."""
    return succeeds(command, timeout_s=_PATIENCE_S)


def name_server(address: str, name: str) -> bool:
    """Ask a DNS server for the address of ``name``."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = struct.pack("!HHHHHH", 0x4C4D, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\x01\0\x01"
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.settimeout(1.0)
            line.connect((address, 53))
            line.send(query)
            answer = line.recv(512)
    except OSError:
        return False
    number, flags, _, answers = map(int, struct.unpack("!HHHH", answer[:8]))
    return number == 0x4C4D and flags & 0x000F == 0 and answers > 0  # noqa: PLR2004 - RFC 1035


def _ask(url: str, context: ssl.SSLContext | None) -> bool:
    # What an environment says about proxies is not meant for this machine's own addresses.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        opener = urllib.request.build_opener(*handlers)
        with opener.open(url, timeout=_PATIENCE_S) as answer:
            return bool(answer.status == _OK)
    except (OSError, HTTPException):
        return False
