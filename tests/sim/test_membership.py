from __future__ import annotations

import json

import pytest

from llmatrix.sim import membership
from llmatrix.sim.membership import Membership


def test_a_list_is_read_in_its_order() -> None:
    urls = ["http://10.1.2.3:8000", "http://pod-0.servers:8000"]

    assert membership.read(json.dumps({"servers": urls}).encode()) == Membership(tuple(urls))
    assert membership.read(b'{"servers": []}') == Membership()


def test_labels_come_with_their_servers() -> None:
    body = {"servers": ["http://h:1"], "labels": {"http://h:1": {"llm-d.ai/role": "decode"}}}
    (endpoint,) = membership.read(json.dumps(body).encode()).endpoints()

    assert endpoint.labels == {"llm-d.ai/role": "decode"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "`servers`"),
        (b"{}", "`servers`"),
        (b'{"servers": "http://h:1"}', "`servers` must be a list"),
        (b'{"servers": [], "server": []}', "`servers`"),
        (b'{"servers": ["http://h:1", 5]}', r"servers\[1\] is no text"),
        (b'{"servers": ["http://h:1", "h:2"]}', r"servers\[1\]: 'h:2' is not a URL"),
        (b'{"servers": ["http://h:1", "http://h:1/"]}', r"servers\[1\] is servers\[0\] again"),
        (b'{"servers": [], "labels": ["x"]}', "must map each server"),
        (b'{"servers": [], "labels": {"http://h:1": {}}}', "not among the servers"),
        (b'{"servers": ["http://h:1"], "labels": {"http://h:1": {"a": 1}}}', "text to text"),
        (json.dumps({"servers": ["http://h:1"] * 5000}).encode(), "more than 4096"),
    ],
)
def test_what_is_no_list_of_servers_is_refused_with_its_place(body: bytes, message: str) -> None:
    with pytest.raises(membership.NotAList, match=message):
        membership.read(body)
