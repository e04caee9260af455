"""Contents by way of ConfigMaps: cut, put together again, and never taken for what they are not."""

from __future__ import annotations

import base64
import bz2
import copy
import json
import random
from typing import Any

import pytest

from llmatrix.cluster import carriers, labels
from llmatrix.cluster.carriers import PART_BYTES, NotCarriedError
from llmatrix.cluster.kinds import CONFIG_MAP, Object

MOST = 16 * 1024 * 1024


class Home:
    """A cluster that has these ConfigMaps and no others."""

    def __init__(self, found: list[Object]) -> None:
        self.found = {each["metadata"]["name"]: copy.deepcopy(each) for each in found}

    def get(self, kind: Any, name: str, namespace: str) -> Object | None:
        assert (kind, namespace) == (CONFIG_MAP, "bench")
        return self.found.get(name)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 - bytes, no secret


def made(content: bytes, experiment: str = "e", expires: int = 77) -> list[Object]:
    compressed = carriers.packed(content, MOST)
    assert compressed is not None
    digest = carriers.sha256(content)
    return carriers.config_maps(experiment, digest, compressed, namespace="bench", expires=expires)


def read(home: Home, content: bytes, experiment: str = "e") -> bytes:
    cluster: Any = home
    return carriers.read(cluster, "bench", experiment, carriers.sha256(content))


@pytest.mark.parametrize("size", [0, 1, PART_BYTES // 2, PART_BYTES, 3 * PART_BYTES - 7])
def test_a_content_comes_back_whole(size: int) -> None:
    content = noise(size)
    parts = made(content)
    assert len(parts) == -(-len(bz2.compress(content)) // PART_BYTES)
    assert read(Home(parts), content) == content
    assert made(content) == parts


def test_no_part_is_more_than_kubernetes_takes() -> None:
    for each in made(noise(5 * PART_BYTES)):
        (data,) = each["binaryData"].values()
        assert len(base64.b64decode(data)) <= PART_BYTES < 1024 * 1024
        assert len(json.dumps(each)) < 1.5 * 1024 * 1024


def test_parts_are_known_by_their_labels_and_each_experiment_has_its_own() -> None:
    content = noise(2 * PART_BYTES)
    parts = made(content, "My experiment!")
    names = [each["metadata"]["name"] for each in parts]
    assert names == [names[0], f"{names[0]}-2", f"{names[0]}-3"]
    for each in parts:
        marks = each["metadata"]["labels"]
        assert marks.items() >= carriers.SELECTION.items()
        assert marks[labels.EXPIRES] == "77"
        assert marks[labels.EXPERIMENT].startswith("My-experiment")
        assert each["metadata"]["annotations"][labels.SPEC] == carriers.sha256(content)
        assert each["metadata"]["namespace"] == "bench"
    assert not set(names) & {each["metadata"]["name"] for each in made(content, "another")}


@pytest.mark.parametrize("text", ["../../etc/passwd", "a\nb: c", "$(params.x)", "É" * 300, ""])
def test_no_name_or_hash_makes_an_odd_name(text: str) -> None:
    for part in (1, 2, 999):
        name = carriers.name(text, text, part)
        assert len(name) <= 63
        assert name.replace("-", "").isalnum()
        assert name.isascii()


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_part_that_is_missing_is_named(missing: int) -> None:
    content = noise(3 * PART_BYTES - 1000)
    parts = made(content)
    gone = parts.pop(missing - 1)["metadata"]["name"]
    with pytest.raises(NotCarriedError, match="it is not there") as told:
        read(Home(parts), content)
    assert told.value.name == gone


def torn(parts: list[Object], how: str) -> None:
    first, second = parts[0], parts[1]
    (entry,) = first["binaryData"]
    whole = base64.b64decode(first["binaryData"][entry])
    if how == "cut":
        first["binaryData"][entry] = base64.b64encode(whole[:-3]).decode()
    elif how == "flipped":
        changed = bytes([whole[5000] ^ 1])
        data = base64.b64encode(whole[:5000] + changed + whole[5001:])
        first["binaryData"][entry] = data.decode()
    elif how == "swapped":
        first["binaryData"], second["binaryData"] = second["binaryData"], first["binaryData"]
    elif how == "no base64":
        second["binaryData"][entry] = "ä not base64"
    elif how == "renamed":
        second["binaryData"] = {"other": second["binaryData"][entry]}
    elif how == "empty":
        del second["binaryData"]
    elif how == "fewer":
        first["metadata"]["annotations"][labels.PARTS] = "1"
    elif how == "another":
        first["binaryData"] = made(b"another content")[0]["binaryData"]
        first["metadata"]["annotations"][labels.PARTS] = "1"
    elif how == "and more":
        more = bz2.compress(b"and more")
        last = parts[-1]["binaryData"]
        last[entry] = base64.b64encode(base64.b64decode(last[entry]) + more).decode()


@pytest.mark.parametrize(
    "how",
    [
        "cut",
        "flipped",
        "swapped",
        "no base64",
        "renamed",
        "empty",
        "fewer",
        "another",
        "and more",
    ],
)
def test_what_is_torn_is_told_of(how: str) -> None:
    content = noise(2 * PART_BYTES - 1000)
    parts = made(content)
    assert read(Home(parts), content) == content
    torn(parts, how)
    with pytest.raises(NotCarriedError, match="not hold what the trial was planned with") as told:
        read(Home(parts), content)
    assert told.value.name == carriers.name("e", carriers.sha256(content))


@pytest.mark.parametrize("told", ["", "0", "-1", "1001", "9" * 5000, "two", "٣", None])
def test_an_impossible_number_of_parts_is_told_of(told: str | None) -> None:
    content = noise(100)
    parts = made(content)
    parts[0]["metadata"]["annotations"][labels.PARTS] = told
    if told is None:
        del parts[0]["metadata"]["annotations"]
    with pytest.raises(NotCarriedError, match="does not say how many parts"):
        read(Home(parts), content)


def test_what_would_unpack_to_more_than_can_be_meant_stops_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = bytes(3_000_000)
    parts = made(content)
    assert read(Home(parts), content) == content
    monkeypatch.setattr(carriers, "_MOST_PLAIN", 2_000_000)
    with pytest.raises(NotCarriedError):
        read(Home(parts), content)


def test_packing_stops_where_it_takes_too_much() -> None:
    content = noise(100_000)
    whole = carriers.packed(content, MOST)
    assert whole is not None
    assert carriers.packed(content, len(whole)) == whole
    assert carriers.packed(content, len(whole) - 1) is None
    assert carriers.packed(noise(4_000_000), 1_500_000) is None
    text = b"".join(b"prompt number %d\n" % n for n in range(100_000))
    small = carriers.packed(text, MOST)
    assert small is not None
    assert len(small) < len(text) / 10
