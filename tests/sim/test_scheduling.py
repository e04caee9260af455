from __future__ import annotations

import random

import pytest

from llmatrix.sim.endpoint import Endpoint
from llmatrix.sim.filtering import ROLE
from llmatrix.sim.incoming import Incoming
from llmatrix.sim.picker_config import load
from llmatrix.sim.scheduling import Choice, Scheduler

CONFIG = """\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: prefix-cache-scorer, parameters: {autoTune: false, blockSize: 40}}
- type: prefill-filter
- type: decode-filter
- {type: prefix-based-pd-decider, parameters: {nonCachedTokens: TOKENS}}
- type: disagg-profile-handler
  parameters: {deciders: {prefill: prefix-based-pd-decider}}
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: prefix-cache-scorer}]
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: prefix-cache-scorer}]
"""


def pool() -> list[Endpoint]:
    roles = ("prefill", "prefill", "decode", "decode")
    return [Endpoint.at(f"http://h{n}:80", {ROLE: role}) for n, role in enumerate(roles)]


def scheduler(tokens: int) -> Scheduler:
    config = load(CONFIG.replace("TOKENS", str(tokens)))
    return Scheduler(config, random.Random(3))  # noqa: S311 - load balancing is no secret


def chosen(by: Scheduler, prompt: bytes, among: list[Endpoint]) -> Choice:
    choice = by.choose(Incoming("m", prompt), among)
    assert choice is not None
    return choice


def test_long_uncached_prompts_are_prefilled_elsewhere_and_known_ones_come_back() -> None:
    among, by = pool(), scheduler(50)
    prompt = bytes(range(250)) + b"x" * 150
    first = chosen(by, prompt, among)
    assert first.endpoint in among[2:]
    assert first.prefill in among[:2]
    assert first.all == (first.endpoint, first.prefill)

    again = chosen(by, prompt, among)
    assert again == Choice(first.endpoint), "all of it is believed to be cached there now"
    longer = chosen(by, prompt + b"y" * 240, among)
    assert longer == first, "60 tokens are not, and both replicas know the rest"
    by.drop(first.endpoint)
    assert chosen(by, prompt, [*among[:2], first.endpoint]).prefill is first.prefill


@pytest.mark.parametrize(("tokens", "split"), [(0, False), (100, True), (101, False)])
def test_the_decider_counts_tokens_of_four_bytes(tokens: int, *, split: bool) -> None:
    assert (chosen(scheduler(tokens), b"x" * 400, pool()).prefill is not None) is split


def test_without_a_replica_to_prefill_the_other_does_it_all_and_without_that_nobody() -> None:
    among, by = pool(), scheduler(1)

    assert chosen(by, b"x" * 400, among[2:]).prefill is None
    assert by.choose(Incoming("m", b"x" * 400), among[:2]) is None
