from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from llmatrix.sim.disaggregation import Prefills
from llmatrix.sim.latency import Load, StepTime
from llmatrix.sim.scheduler import State

COMPLETIONS = "/v1/completions"
PD = """\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: prefill-filter
- type: decode-filter
- type: always-disagg-pd-decider
- type: disagg-profile-handler
  parameters: {deciders: {prefill: always-disagg-pd-decider}}
schedulingProfiles:
- {name: prefill, plugins: [{pluginRef: prefill-filter}]}
- {name: decode, plugins: [{pluginRef: decode-filter}]}
"""


def test_a_transferred_prompt_costs_one_token_and_is_found_by_the_next(
    engine_of: Any, times: StepTime, tools: Any
) -> None:
    engine = engine_of()
    brought = tools.prompt(range(1000), max_tokens=2)
    brought.transferred = 1000
    engine.add(brought)
    step = engine.schedule(0.0)

    assert step.load == Load(1, 1000, 1000, 1)
    assert step.seconds == times(step.load)
    engine.finish(step, 1.0)
    tools.drain(engine)
    assert (brought.state, brought.cached, brought.generated) == (State.FINISHED, 0, 2)
    assert engine.cached(tools.prompt(range(1000))) == 992
    assert engine.pool.available == engine.pool.total


def test_a_preempted_sequence_computes_what_was_transferred(engine_of: Any, tools: Any) -> None:
    engine = engine_of(kv_tokens=160, enable_prefix_caching=False)
    first, second = (tools.prompt([n] * 70, max_tokens=60) for n in (1, 2))
    for sequence in (first, second):
        sequence.transferred = 70
        engine.add(sequence)

    tools.drain(engine)

    assert (second.preemptions, second.transferred) == (1, 0)
    assert (first.generated, second.generated) == (60, 60)


def test_a_fetch_takes_bytes_divided_by_bandwidth() -> None:
    prefills = Prefills(131_072, 50e9)

    assert prefills.transfer_s(1000) == pytest.approx(131_072_000 / 50e9)
    assert prefills.transfer_s(-5) == 0


@pytest.mark.slow
def test_prompts_are_prefilled_by_one_replica_and_decoded_by_another(
    programs: Any, tools: Any, tmp_path: Path
) -> None:
    config = tmp_path / "pd.yaml"
    config.write_text(PD)
    server = programs.serve(
        "--replicas", "2", "--prefill-replicas", "1", "--router-config", str(config)
    )
    prefills, decodes = server.servers
    body = {"model": tools.model, "prompt": "word " * 64, "max_tokens": 5, "stream": True}
    body |= {"min_tokens": 5, "ignore_eos": True}  # as load generators ask
    direct = tools.ask(prefills, COMPLETIONS, body)
    reply = tools.ask(server.url, COMPLETIONS, body)

    assert reply.text == direct.text
    assert reply.headers["x-gateway-destination-endpoint-served"] == urlsplit(decodes).netloc
    assert tools.metric(prefills, "vllm:generation_tokens_total") == 5 + 1
    assert tools.metric(decodes, "vllm:generation_tokens_total") == 5
    assert tools.metric(prefills, "vllm:prefix_cache_hits_total") == 48
    decided = "llm_d_inference_scheduler_pd_decision_total"
    assert tools.metric(server.url, decided, decision_type="prefill-decode") == 1
    active = "llmatrix_router_endpoint_active_requests"
    assert tools.metric(server.url, active, endpoint=urlsplit(prefills).netloc) == 0


@pytest.mark.slow
def test_a_replica_that_cannot_prefill_fails_the_request(programs: Any, tools: Any) -> None:
    decodes = programs.serve("--role", "decode").url
    body = {"model": tools.model, "prompt": "x", "max_tokens": 1}

    def asked(address: str) -> Any:
        return tools.ask(decodes, COMPLETIONS, body, **{"x-prefiller-host-port": address})

    assert asked("127.0.0.1:1").status == 502
    assert asked("nowhere").status == 400
    other = programs.serve(model="Qwen/Qwen3-1.7B")
    assert asked(urlsplit(other.url).netloc).status == 404
    assert tools.ask(decodes, COMPLETIONS, body).status == 200
    plain = programs.serve().url
    header = {"x-prefiller-host-port": "127.0.0.1:1"}
    assert tools.ask(plain, COMPLETIONS, body, **header).status == 200, "it was not told to decode"


@pytest.mark.slow
def test_replicas_and_router_may_be_programs_of_their_own(
    programs: Any, tools: Any, tmp_path: Path
) -> None:
    config = tmp_path / "pd.yaml"
    config.write_text(PD)
    prefills = programs.serve("--role", "prefill").url
    decodes = programs.serve("--role", "decode").url
    router = programs.route(str(config))
    role = "llm-d.ai/role"
    members = {
        "servers": [prefills, decodes],
        "labels": {prefills: {role: "prefill"}, decodes: {role: "decode"}},
    }
    body = {"model": tools.model, "prompt": "word " * 64, "max_tokens": 5}

    assert tools.ask(router.url, "/servers", {"servers": [prefills]}).status == 200
    assert tools.ask(router.url, COMPLETIONS, body).status == 200, "without a label it decodes, too"
    assert tools.ask(router.url, "/servers", members).json == members
    assert tools.ask(router.url, COMPLETIONS, body).status == 200
    assert tools.metric(decodes, "vllm:generation_tokens_total") == 5
    assert tools.metric(prefills, "vllm:generation_tokens_total") == 5 + 1

    only = {"servers": [prefills], "labels": {prefills: {role: "prefill"}}}
    assert tools.ask(router.url, "/servers", only).json == only
    assert tools.ask(router.url, COMPLETIONS, body).status == 429, "nobody is left to decode"


@pytest.mark.slow
def test_a_router_takes_roles_from_the_announcement(
    programs: Any, tools: Any, tmp_path: Path
) -> None:
    config, file = tmp_path / "pd.yaml", tmp_path / "servers.json"
    config.write_text(PD)
    server = programs.serve("--replicas", "2", "--prefill-replicas", "1")
    file.write_text(json.dumps(server.announced))
    router = programs.route(str(config), file)
    body = {"model": tools.model, "prompt": "word " * 64, "max_tokens": 5}
    tools.until(lambda: tools.ask(router.url, COMPLETIONS, body).status == 200)

    assert tools.metric(server.servers[0], "vllm:generation_tokens_total") == 1
    assert tools.metric(server.servers[1], "vllm:generation_tokens_total") == 5
