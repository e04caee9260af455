"""The parts of an llm-d stack work together: servers, real picker, real Envoy, real Gateway."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmatrix.stacks.waiting import until
from tools.devcluster import data_plane, engine, extras, gateway, stack
from tools.devcluster.extras import Extras
from tools.devcluster.layout import layout

pytestmark = pytest.mark.long

MODEL = "Qwen/Qwen3-0.6B"
TOKENS = 48
WHOLE = ("length", "stop")
REQUESTS = 10
# What was not built yet is built: minutes.
patient = pytest.mark.timeout(1800)

CLIENT = """
import json, sys, time, urllib.error, urllib.request as web
url, count, body = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
PASSED = "x-went-into-resp-headers"

def ask(path, data=None):
    kind = {"Content-Type": "application/json"}
    return web.urlopen(web.Request(url + path, data, kind), timeout=60)

def by_way_of_the_picker():
    try:
        with ask("/v1/models") as answer:
            return answer.headers.get(PASSED) == "true"
    except (OSError, urllib.error.URLError) as error:
        print(error, file=sys.stderr)
    return False

for _ in range(120):
    if by_way_of_the_picker():
        break
    time.sleep(0.5)
else:
    sys.exit("no answer by way of the picker")
for number in range(count):
    with ask("/v1/completions", json.dumps(body).encode()) as answer:
        events = [row[6:] for row in answer.read().decode().split("\\n\\n") if row]
    usage = [json.loads(one).get("usage") for one in events if one != "[DONE]"]
    print(json.dumps({
        "picked": answer.headers.get(PASSED),
        "last": events[-1],
        "completion_tokens": [one for one in usage if one][-1]["completion_tokens"],
    }))
"""
"""Waits until the picker is asked, then sends COUNT streaming requests, one after the other."""

HANG_UP = """
import sys, urllib.request as web

url, body = sys.argv[1] + "/v1/completions", sys.argv[2].encode()
answer = web.urlopen(web.Request(url, body, {"Content-Type": "application/json"}), timeout=120)
print(answer.read1(65536))
"""
"""Asks for a long answer and goes away with its first piece."""


@dataclass(frozen=True)
class Parts:
    """The images of the stack's parts, and a command that serves a simulated model."""

    extras: Extras
    step: str

    def image(self, name: str) -> str:
        """Give an image's name in the cluster."""
        return self.extras.images[name].name

    def servers(self, name: str, *options: str, replicas: int = 2) -> list[dict[str, Any]]:
        """Describe simulated servers."""
        serve = ("python", "-m", "llmatrix.sim", "serve", f"--model={MODEL}")
        command = [*serve, "--host=0.0.0.0", f"--port={stack.PORT}", *options]
        return stack.servers(name, self.step, command, replicas)


@pytest.fixture(scope="session")
def parts(cluster: Any) -> Parts:
    if os.environ.get("LLMATRIX_E2E_KUBECONFIG"):
        pytest.skip("the gateway's parts are built here and loaded into our own cluster only")
    return Parts(extras.add(layout(), "gateway"), cluster.llmatrix)


@pytest.fixture
def ask(namespace: Any, our_image: str, pod: Callable[..., Any]) -> Callable[..., Any]:
    """Send streaming requests from a pod and give what came back of each."""

    def send(url: str, count: int, **more: Any) -> list[dict[str, Any]]:
        command = ("python", "-c", CLIENT, url, str(count), json.dumps(body(**more)))
        namespace.apply(pod("client", *command, image=our_image))
        printed = ended(namespace, "client")
        return [json.loads(row) for row in printed.splitlines() if row.startswith("{")]

    return send


@pytest.fixture
def assert_not_kept_back(
    namespace: Any, our_image: str, pod: Callable[..., Any]
) -> Callable[[str], None]:
    """Make sure that pieces pass at once: the server was at work when the client had the first."""

    def check(url: str) -> None:
        command = ("python", "-c", HANG_UP, url, json.dumps(body(max_tokens=30_000)))
        namespace.apply(pod("impatient", *command, image=our_image))
        assert "data: " in ended(namespace, "impatient")
        namespace.until(lambda _: finished(namespace, "model", "abort") == [0, 1], "pods")

    return check


def ended(namespace: Any, name: str) -> str:
    """Wait, longer than elsewhere, until the pod has ended well and give what it printed."""
    until(lambda: namespace.get("pod", name)["status"]["phase"] in {"Succeeded", "Failed"}, 300.0)
    printed: str = namespace.pod_ended(name)
    return printed


def body(**more: Any) -> dict[str, Any]:
    """Describe a streaming request."""
    return {
        "model": MODEL,
        "prompt": "once upon a time " * 40,
        "max_tokens": TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
        **more,
    }


def scraped(namespace: Any, pod: str, port: int) -> dict[str, list[Any]]:
    """Give a pod's metrics: name → samples."""
    path = f"/api/v1/namespaces/{namespace.name}/pods/{pod}:{port}/proxy/metrics"
    text = namespace.cluster.kubectl.run("get", "--raw", path)
    found: dict[str, list[Any]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def pods(namespace: Any, app: str) -> list[str]:
    """Name the pods of a Deployment."""
    found = namespace.get("pods", "-l", f"app={app}")["items"]
    return sorted(one["metadata"]["name"] for one in found)


def finished(namespace: Any, app: str, *reasons: str) -> list[int]:
    """Give how many answers of each server ended for these reasons, fewest first."""
    counts = [
        scraped(namespace, pod, stack.PORT)["vllm:request_success_total"]
        for pod in pods(namespace, app)
    ]
    return sorted(
        int(sum(one.value for one in samples if one.labels["finished_reason"] in reasons))
        for samples in counts
    )


def available(namespace: Any, *deployments: str) -> None:
    """Wait until these have all their pods."""
    for name in deployments:
        namespace.until(
            lambda it: it["status"].get("readyReplicas", 0) == it["spec"]["replicas"],
            "deployment",
            name,
        )


def assert_streamed(answers: list[dict[str, Any]], count: int) -> None:
    assert len(answers) == count
    for answer in answers:
        assert answer["picked"] == "true"
        assert answer["last"] == "[DONE]"
        assert answer["completion_tokens"] == TOKENS


@patient
def test_envoy_alone_sends_each_request_where_the_picker_says(
    namespace: Any,
    parts: Parts,
    ask: Callable[..., Any],
    assert_not_kept_back: Callable[[str], None],
) -> None:
    config = stack.picker_config({"prefix-cache-scorer": 1})
    picker = stack.picker(
        "epp", parts.image("epp"), namespace.name, "pool", config, stack.METRICS["vllm"]
    )
    envoy = data_plane.envoy("envoy", parts.image("envoy"), f"epp.{namespace.name}")
    pool = stack.pool("pool", of="model", picker="epp")
    namespace.apply(*parts.servers("model"), pool, *picker, *envoy)
    available(namespace, "model", "epp", "envoy")
    url = f"http://envoy:{data_plane.LISTENER}"
    answers = ask(url, REQUESTS)
    assert_streamed(answers, REQUESTS)
    # One prefix belongs to one server; chance would spread these over both.
    assert finished(namespace, "model", *WHOLE) == [0, REQUESTS]
    assert_not_kept_back(url)
    (epp,) = pods(namespace, "epp")
    metrics = scraped(namespace, epp, stack.PICKER_METRICS)
    assert [sample.value for sample in metrics["inference_pool_ready_pods"]] == [2]
    seen = metrics["inference_pool_per_pod_queue_size"]
    assert sorted(sample.labels["model_server_pod"].rsplit("-rank")[0] for sample in seen) == pods(
        namespace, "model"
    )


@patient
def test_a_picker_sees_the_load_only_by_the_names_that_the_servers_use(
    namespace: Any, parts: Parts, our_image: str, pod: Callable[..., Any]
) -> None:
    """With its defaults it sees the pods and their queues, and is blind to their caches."""
    flags = {"refresh-prometheus-metrics-interval": "200ms"}
    config = stack.picker_config()
    for name, more in (("seeing", stack.METRICS["vllm"]), ("blind", {})):
        namespace.apply(
            *stack.picker(
                name, parts.image("epp"), namespace.name, "pool", config, {**flags, **more}
            )
        )
    narrow = ("--max-num-seqs=1", "--kv-cache-tokens=4096")
    namespace.apply(
        *parts.servers("model", *narrow, replicas=1),
        stack.pool("pool", of="model", picker="seeing"),
    )
    available(namespace, "model", "seeing", "blind")
    long = (
        "import json, sys, threading, urllib.request as web; "
        "ask = lambda: web.urlopen(web.Request(sys.argv[1], sys.argv[2].encode(), "
        "{'Content-Type': 'application/json'}), timeout=120).read(); "
        "them = [threading.Thread(target=ask) for _ in range(6)]; "
        "[one.start() for one in them]; [one.join() for one in them]"
    )
    body = json.dumps({"model": MODEL, "prompt": "word " * 1500, "max_tokens": 2000})
    url = f"http://model:{stack.PORT}/v1/completions"
    namespace.apply(pod("load", "python", "-c", long, url, body, image=our_image))
    (seeing,), (blind,) = pods(namespace, "seeing"), pods(namespace, "blind")

    def seen(picker: str, what: str) -> float:
        samples = scraped(namespace, picker, stack.PICKER_METRICS).get(f"inference_pool_{what}")
        return samples[0].value if samples else 0.0

    def loaded(_: Any) -> bool:
        queued = [seen(one, "average_queue_size") for one in (seeing, blind)]
        return min(queued) > 0 and seen(seeing, "average_kv_cache_utilization") > 0.3

    namespace.until(loaded, "pod", "load")
    assert seen(blind, "average_kv_cache_utilization") == 0


@patient
def test_a_picker_with_an_unknown_plugin_ends_and_says_so(namespace: Any, parts: Parts) -> None:
    config = stack.picker_config({"queue-scorerx": 1})
    namespace.apply(
        stack.pool("pool", of="model", picker="epp"),
        *stack.picker("epp", parts.image("epp"), namespace.name, "pool", config, {}),
    )

    said = namespace.until(lambda it: bool(last_words(it)), "pods", "-l", "app=epp")
    assert "plugin type 'queue-scorerx' is not found" in last_words(said)


def last_words(pods: dict[str, Any]) -> str:
    """Give what the containers that ended said last."""
    statuses = [
        status for one in pods["items"] for status in one["status"].get("containerStatuses", ())
    ]
    states = [one[state] for one in statuses for state in ("state", "lastState")]
    return "".join(one["terminated"]["message"] for one in states if "terminated" in one)


@patient
def test_a_gateway_sends_each_request_where_the_picker_of_the_chart_says(
    namespace: Any,
    parts: Parts,
    ask: Callable[..., Any],
    assert_not_kept_back: Callable[[str], None],
) -> None:
    """The chart unchanged but for images and values, before Envoy Gateway, which knows no pools."""
    namespace.apply(*parts.servers("model"))
    for one in rendered_pool(namespace.name, parts):
        namespace.apply(one)
    namespace.apply(*data_plane.gateway("gate", gateway.CLASS, namespace.name, "pool-epp"))
    gate = namespace.until(lambda it: holds(it["status"], "Programmed"), "gateway", "gate")
    namespace.until(policy_holds("Accepted"), "envoyextensionpolicy", "gate")
    namespace.until(policy_holds("Programmed"), "envoypatchpolicy", "gate")
    available(namespace, "model", "pool-epp")
    (address,) = gate["status"]["addresses"]
    url = f"http://{address['value']}"
    answers = ask(url, REQUESTS)
    assert_streamed(answers, REQUESTS)
    assert finished(namespace, "model", *WHOLE) == [0, REQUESTS]
    assert_not_kept_back(url)


def rendered_pool(namespace: str, parts: Parts) -> list[dict[str, Any]]:
    """Render the chart ``inferencepool`` of the picker's own project."""
    hub, _, rest = parts.image("epp").rpartition("/")
    name, _, tag = rest.partition(":")
    values = {
        "inferencePool": {"modelServers": {"matchLabels": {"app": "model"}}},
        "inferenceExtension": {
            "image": {"hub": hub, "name": name, "tag": tag, "pullPolicy": "IfNotPresent"},
            "flags": stack.METRICS["vllm"],
            "pluginsConfigFile": "ours.yaml",
            "pluginsCustomConfig": {"ours.yaml": stack.picker_config({"prefix-cache-scorer": 1})},
        },
    }
    programs = parts.extras.programs
    chart = programs["gaie"] / "manifests/charts/inferencepool"
    return gateway.render(programs["helm"] / "helm", chart, "pool", namespace, values)


def holds(status: dict[str, Any], condition: str) -> bool:
    """Tell whether an object's status has this condition."""
    found = status.get("conditions", ())
    return any(one["type"] == condition and one["status"] == "True" for one in found)


def policy_holds(condition: str) -> Callable[[dict[str, Any]], bool]:
    """Tell whether a policy's status has this condition for all that it is attached to."""

    def all_hold(it: dict[str, Any]) -> bool:
        ancestors = it.get("status", {}).get("ancestors", ())
        return bool(ancestors) and all(holds(one, condition) for one in ancestors)

    return all_hold


@patient
@pytest.mark.skipif(not engine.installed(), reason="needs the extra llamacpp: make engine")
def test_a_real_engine_answers_by_way_of_the_picker(
    namespace: Any, parts: Parts, ask: Callable[..., Any]
) -> None:
    llama = extras.add(layout(), "llama").images["llama"]
    address = ["--host", "0.0.0.0", "--port", str(stack.PORT)]  # noqa: S104 - of a pod
    options = ["--alias", MODEL, "--metrics", "--threads", "1", "--ctx-size", "4096"]
    command = [*llama.entrypoint, "--model", engine.MODEL, *address, *options]
    picker = stack.picker(
        "epp",
        parts.image("epp"),
        namespace.name,
        "pool",
        stack.picker_config(),
        stack.METRICS["llama-cpp"],
    )
    namespace.apply(
        *stack.servers("model", llama.name, command, replicas=2),
        stack.pool("pool", of="model", picker="epp"),
        *picker,
        *data_plane.envoy("envoy", parts.image("envoy"), f"epp.{namespace.name}"),
    )
    available(namespace, "model", "epp", "envoy")
    answers = ask(f"http://envoy:{data_plane.LISTENER}", REQUESTS, ignore_eos=True)
    assert_streamed(answers, REQUESTS)
    (epp,) = pods(namespace, "epp")
    metrics = scraped(namespace, epp, stack.PICKER_METRICS)
    assert [sample.value for sample in metrics["inference_pool_ready_pods"]] == [2]
