"""The simulated stack: what it refuses beforehand, and which processes a change restarts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.errors import SpecError, StepFailure, UserError
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.stacks import processes, simulated
from llmatrix.stacks.http import Unreachable, ask
from llmatrix.stacks.local_site import LocalSite
from llmatrix.stacks.simulated import Simulated
from llmatrix.stacks.waiting import until

Make = Callable[..., Trial]
EXAMPLES = Path(__file__).parents[2] / "examples"
PICKER = """\
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
  - pluginRef: max-score-picker
"""


@pytest.fixture
def trial(make_trial: Make) -> Make:
    def make(model: str = "tiny-1B", **more: Any) -> Trial:
        return make_trial({"kind": "simulated", **more}, model=model)

    return make


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"accelerator": "H10"}, "H100"),
        ({"model": "no-size"}, "no-size"),
        ({"model": "huge-400B"}, "tensor parallel"),
        ({"engine": {"max_model_len": 19}}, "take 20 tokens, but stack.engine.max_model_len is 19"),
        (
            {"engine": {"kv_cache_tokens": 16}},
            "take 20 tokens, but stack.engine.kv_cache_tokens is 16",
        ),
    ],
)
def test_what_cannot_be_simulated_is_refused_beforehand(
    trial: Make, more: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        Simulated().preflight(trial(**more).treatment)


def test_a_wrong_picker_configuration_is_told_by_line_and_column(trial: Make) -> None:
    text = PICKER.replace("- type: queue-scorer", "- type: queue-scorerx")
    config = {"text": text, "name": "router/wrong.yaml"}
    with pytest.raises(SpecError) as caught:
        Simulated().preflight(trial(router={"config": config}).treatment)
    first = caught.value.problems[0]
    assert (first.place.file, first.place.line) == ("router/wrong.yaml", 4)
    assert first.place.column is not None
    assert "queue-scorerx" in first.message
    Simulated().preflight(trial(router={"config": {"text": PICKER}}).treatment)


@pytest.mark.slow
def test_a_new_picker_configuration_leaves_the_servers_alone(
    trial: Make, site: LocalSite, converge: Callable[..., None]
) -> None:
    stack, before = Simulated(), trial(replicas=2)
    converge(stack, before, site)
    servers = processes.recorded(site.folder, "server")
    after = trial(replicas=2, router={"config": {"text": PICKER}})
    stack.apply(Step.ROUTER, after, site, threading.Event())
    assert processes.recorded(site.folder, "server") == servers
    assert stack.healthy(Step.SERVER, after, site)
    target = stack.target(after, site)
    assert target.simulated
    assert len(target.metrics_urls) == 2
    assert all(ask("GET", url).status == 200 for url in target.metrics_urls)
    assert target.router_metrics_url is not None
    assert ask("GET", target.router_metrics_url).status == 200
    assert stack.remove(site) == []


@pytest.mark.slow
def test_a_router_outlives_its_servers_and_finds_the_next(
    trial: Make, site: LocalSite, converge: Callable[..., None]
) -> None:
    stack, first = Simulated(), trial()
    converge(stack, first, site)
    router = processes.recorded(site.folder, "router")
    second = trial(replicas=3)
    stack.apply(Step.SERVER, second, site, threading.Event())
    assert processes.recorded(site.folder, "router") == router
    assert stack.healthy(Step.ROUTER, second, site)
    assert len(stack.target(second, site).metrics_urls) == 3
    assert stack.remove(site) == []


@pytest.mark.slow
def test_cached_prefixes_are_gone_after_cleansing(
    trial: Make, site: LocalSite, converge: Callable[..., None]
) -> None:
    stack, one = Simulated(), trial(replicas=2)
    converge(stack, one, site)
    target = stack.target(one, site)
    servers = [url.removesuffix("/metrics") for url in target.metrics_urls]
    request = {"model": target.model, "prompt": list(range(100, 260)), "max_tokens": 2}

    def cached(server: str) -> int:
        answer = ask("POST", f"{server}/v1/completions", timeout_s=30, document=request)
        return int((answer.json()["usage"]["prompt_tokens_details"] or {})["cached_tokens"])

    assert [cached(server) for server in servers] == [0, 0]
    assert all(cached(server) > 0 for server in servers)
    assert stack.cleanse(one, site, frozenset()).clean is True
    assert [cached(server) for server in servers] == [0, 0]
    assert stack.remove(site) == []


SPLIT = (EXAMPLES / "router/prefill-decode.yaml").read_text()


def completion(url: str, model: str, **more: Any) -> Any:
    body = {"model": model, "prompt": list(range(100, 164)), "max_tokens": 3, **more}
    return ask("POST", f"{url}/v1/completions", timeout_s=30, document=body)


def told(url: str, metric: str) -> float:
    """Add up a metric of a server over its labels."""
    lines = ask("GET", url).body.decode().splitlines()
    values = [line.rsplit(" ", 1)[1] for line in lines if line.startswith(f"{metric}{{")]
    assert values
    return sum(map(float, values))


@pytest.mark.slow
def test_prompts_are_prefilled_by_the_servers_that_are_there_for_it(
    trial: Make, site: LocalSite, converge: Callable[..., None]
) -> None:
    stack = Simulated()
    one = trial(replicas=2, prefill={"replicas": 1}, router={"config": {"text": SPLIT}})
    stack.check(one.treatment)
    assert one.treatment.stack.accelerators == 3
    converge(stack, one, site)
    target = stack.target(one, site)
    assert len(target.metrics_urls) == 3
    (prefill,) = target.prefill_urls
    decode = [url for url in target.metrics_urls if url != prefill]
    assert completion(target.base_url, target.model).status == 200
    assert told(prefill, "vllm:generation_tokens_total") == 1
    assert sum(told(url, "vllm:generation_tokens_total") for url in decode) == 3
    assert stack.remove(site) == []


@pytest.mark.slow
def test_the_time_of_faults_begins_with_each_trial_and_a_crash_is_told(
    trial: Make, site: LocalSite, converge: Callable[..., None]
) -> None:
    stack = Simulated()
    faults = [{"kind": "crash", "replica": 1, "at": "1s", "duration": "1s"}]
    one = trial(replicas=2, faults=faults)
    converge(stack, one, site)
    time.sleep(1.5)
    assert stack.restarts(one, site) == 0, "no trial has begun"
    for changed in (frozenset(Step), frozenset()):
        assert until(lambda: stack.healthy(Step.SERVER, one, site), 10)
        assert stack.cleanse(one, site, changed).clean is True
        assert stack.restarts(one, site) == 0
        assert until(lambda: stack.restarts(one, site) == 1, 10), "it crashes in each trial"
        assert not stack.healthy(Step.SERVER, one, site)
        (ending,) = stack.endings(one, site)
        assert "simulated server 1" in ending
        assert "crashed, as its fault asks" in ending
    assert stack.remove(site) == []


@pytest.mark.slow
def test_a_stall_without_an_end_is_over_when_the_next_trial_begins(
    trial: Make, site: LocalSite, converge: Callable[..., None]
) -> None:
    stack = Simulated()
    one = trial(faults=[{"kind": "stall", "at": "500ms"}])
    converge(stack, one, site)
    target = stack.target(one, site)
    for _ in range(2):
        assert stack.cleanse(one, site, frozenset()).clean is True
        assert completion(target.base_url, target.model).status == 200
        time.sleep(0.6)
        with pytest.raises(Unreachable, match="did not answer"):
            ask(
                "POST",
                f"{target.base_url}/v1/completions",
                timeout_s=1.0,
                document={"model": target.model, "prompt": [1, 2, 3], "max_tokens": 1},
            )
    assert stack.restarts(one, site) == 0
    assert stack.remove(site) == []


@pytest.mark.slow
def test_a_slow_replica_takes_longer_and_the_others_do_not(
    trial: Make, site: LocalSite, converge: Callable[..., None]
) -> None:
    stack = Simulated()
    one = trial(replicas=2, jitter=0.05, faults=[{"kind": "slow", "replica": 1, "factor": 30}])
    converge(stack, one, site)
    target = stack.target(one, site)
    servers = [url.removesuffix("/metrics") for url in target.metrics_urls]

    def prefill_s(server: str) -> float:
        name = "vllm:time_to_first_token_seconds_sum"
        before = told(f"{server}/metrics", name)
        assert completion(server, target.model).status == 200
        return told(f"{server}/metrics", name) - before

    before = [prefill_s(server) for server in servers]
    assert before[1] < 3 * before[0], "no trial has begun"
    assert stack.cleanse(one, site, frozenset()).clean is True
    after = [prefill_s(server) for server in servers]
    assert after[1] > 10 * after[0]
    assert stack.remove(site) == []


@pytest.mark.slow
def test_a_server_that_cannot_start_says_why(trial: Make, site: LocalSite) -> None:
    with pytest.raises(StepFailure, match=r"server .* ended while it was starting") as caught:
        Simulated().apply(Step.SERVER, trial(model="huge-400B"), site, threading.Event())
    assert "huge-400B" in caught.value.log
    assert processes.recorded(site.folder) == []


def test_an_announcement_of_another_process_is_not_believed(site: LocalSite) -> None:
    (site.folder / "router.json").write_text('{"pid": 1, "router": "http://127.0.0.1:9"}')
    assert simulated._announced(site.folder, "router") is None
    (site.folder / "router.json").write_text('{"pid"')
    assert simulated._announced(site.folder, "router") is None
