from __future__ import annotations

import json

import pytest

from llmatrix.sim import membership


def test_a_list_is_read_in_its_order() -> None:
    urls = ["http://10.1.2.3:8000", "http://pod-0.servers:8000"]

    assert membership.read(json.dumps({"servers": urls}).encode()) == urls
    assert membership.read(b'{"servers": []}') == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "`servers` only"),
        (b"{}", "`servers` only"),
        (b'{"servers": "http://h:1"}', "`servers` only"),
        (b'{"servers": [], "server": []}', "`servers` only"),
        (b'{"servers": ["http://h:1", 5]}', r"servers\[1\] is no text"),
        (b'{"servers": ["http://h:1", "h:2"]}', r"servers\[1\]: 'h:2' is not a URL"),
        (b'{"servers": ["http://h:1", "http://h:1/"]}', r"servers\[1\] is servers\[0\] again"),
        (json.dumps({"servers": ["http://h:1"] * 5000}).encode(), "more than 4096"),
    ],
)
def test_what_is_no_list_of_servers_is_refused_with_its_place(body: bytes, message: str) -> None:
    with pytest.raises(membership.NotAList, match=message):
        membership.read(body)
