"""What reuse saves on a real cluster with a real picker and Envoy, and whether it biases figures.

Four configurations of the picker × 2 × 2 workloads over simulated servers that take a minute to
start, as a real one of this size does at least. Needs ``KUBECONFIG``, ``LLMATRIX_IMAGE``, a
namespace that it may use, and images of picker and Envoy that the cluster has:

    .venv/bin/python -m benchmarks.llmd --namespace bench --picker IMAGE --proxy IMAGE \
        [reuse fresh prefix]

``reuse`` and ``fresh`` are the same experiment; both together tell how many times as fast reuse is,
and by how much it changes each figure over the 16 treatments, with an interval. ``prefix`` holds
the prefix-aware configuration against a random choice, three replicates each.
"""

from __future__ import annotations

import argparse
import math
import statistics
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any, Self

import yaml

from benchmarks.cluster import EXAMPLES, measured, told
from llmatrix.analysis.replicates import student_t
from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import POD

START_S = 60
FIGURES = ("ttft_ms_p50", "itl_ms_p50", "output_tokens_per_s", "picker_prefix_hit_ratio")
NOISY = 0.05
"""A mean change beyond this share, and beyond its interval, is a bias."""


def document(asked: argparse.Namespace, name: str, **run: Any) -> dict[str, Any]:
    """Give the example's experiment with these images, in a size that two cores carry."""
    found: dict[str, Any] = yaml.safe_load(
        (EXAMPLES / "llm-d/inference-scheduling.yaml").read_text()
    )
    found["name"] = name
    found["stack"]["gateway"]["proxy"] = {"image": asked.proxy}
    found["stack"]["router"] = {"image": asked.picker}
    found["stack"]["server"] |= {"replicas": 2}
    found["stack"]["server"]["engine"] |= {"startup": f"{START_S}s"}
    found["workload"] |= {
        "groups": 8,
        "load": {"rate": 10, "arrivals": "constant"},
        "warmup": "2s",
        "duration": "10s",
    }
    routers = EXAMPLES / "router"
    found["matrix"] = {
        "stack.router.config": [
            str(routers / f"{each}.yaml") for each in ("none", "prefix", "kv", "queue")
        ],
        "workload.question_len": [100, 400],
        "workload.output_len": [10, 30],
    }
    found["replicates"] = 1
    found["run"] |= run
    del found["slo"], found["results"]
    return found


class Pods:
    """The pods of an experiment, by step, as long as it runs."""

    def __init__(self, cluster: Cluster, experiment: str) -> None:
        self.seen: dict[str, set[str]] = defaultdict(set)
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, args=(cluster, experiment))

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self, cluster: Cluster, experiment: str) -> None:
        while not self._over.wait(1):
            for pod in cluster.find(POD, None, {labels.EXPERIMENT: experiment}):
                marks = pod["metadata"]["labels"]
                if labels.STEP in marks:
                    self.seen[marks[labels.STEP]].add(pod["metadata"]["uid"])


def run(cluster: Cluster, asked: argparse.Namespace, what: dict[str, Any], trials: int) -> Any:
    """Run an experiment and tell what it took and which pods it made."""
    with Pods(cluster, what["name"]) as pods:
        found = measured(cluster, asked.namespace, what)
    told(what["name"], found, trials)
    print("  pods made:", ", ".join(f"{step} {len(each)}" for step, each in pods.seen.items()))
    for record in found["records"]:
        for check in record["checks"]:
            if check["verdict"] == "fail":
                print(f"  {record['levels']}: {check['name']} {check.get('value')}")
    return found


def figures(found: Any) -> dict[tuple[str, ...], dict[str, float | None]]:
    """Give the figures of each treatment."""
    return {tuple(each["levels"].values()): each["metrics"] for each in found["records"]}


def agreement(reuse: Any, fresh: Any) -> bool:
    """Tell by how much reuse changes figures, on average over the treatments, and how surely."""
    one, other = figures(reuse), figures(fresh)
    fine = True
    for name in FIGURES:
        pairs = [(one[each].get(name), other[each].get(name)) for each in one.keys() & other.keys()]
        logs = [math.log(a / b) for a, b in pairs if a and b]
        if len(logs) < 3:
            continue
        half = student_t(0.95, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
        mean = statistics.fmean(logs)
        biased = abs(mean) > half and abs(mean) > math.log1p(NOISY)
        fine = fine and not biased
        low, high = math.expm1(mean - half), math.expm1(mean + half)
        print(f"  {name}: reuse against fresh {math.expm1(mean):+.1%} "
              f"(95%: {low:+.1%} to {high:+.1%}, {len(logs)} treatments, "
              f"{'BIASED' if biased else 'agrees'})")  # fmt: skip
    return fine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--picker", required=True, metavar="IMAGE")
    parser.add_argument("--proxy", required=True, metavar="IMAGE")
    parser.add_argument("parts", nargs="*", default=["reuse", "fresh", "prefix"])
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    fine = True
    with Cluster.connect() as cluster:
        for part in [each for each in ("reuse", "fresh") if each in asked.parts]:
            what = document(asked, f"pickers-{part}", isolation=part)
            found[part] = run(cluster, asked, what, 16)
        if len(found) == 2:
            ratio = found["fresh"]["seconds"] / found["reuse"]["seconds"]
            print(f"  reuse is {ratio:.2f} times as fast as a deployment for each treatment")
            fine = agreement(found["reuse"], found["fresh"]) and ratio >= 3
        if "prefix" in asked.parts:
            what = document(asked, "prefix-random")
            # 24 prefixes are 49,152 tokens: half of them fit a server, all of them do not.
            what["stack"]["server"]["engine"] = {"startup": "0s", "kv_cache_tokens": 32768}
            what["matrix"] = {
                "stack.router.config": what["matrix"]["stack.router.config"][:2],
            }
            what["workload"] |= {"question_len": 100, "output_len": 10, "groups": 24}
            what["workload"] |= {"warmup": "5s", "duration": "20s"}
            what["replicates"] = 3
            found["prefix"] = run(cluster, asked, what, 6)
            fine = better(found["prefix"]) and fine
    raise SystemExit(not fine)


def better(found: Any) -> bool:
    """Hold the prefix-aware configuration against the random one, with an interval."""
    by: dict[str, list[dict[str, float]]] = defaultdict(list)
    for record in found["records"]:
        by[Path(record["levels"]["stack.router.config"]).stem].append(record["metrics"])
    fine = True
    for name, sign in (("server_prefix_hit_ratio", 1), ("ttft_ms_mean", -1)):
        a, b = ([each[name] for each in by[config]] for config in ("none", "prefix"))
        error = math.sqrt(statistics.variance(a) / len(a) + statistics.variance(b) / len(b))
        # Equal sizes: at the fewest degrees of freedom that Welch's test can have.
        half = student_t(0.95, min(len(a), len(b)) - 1) * error
        change = statistics.fmean(b) - statistics.fmean(a)
        fine = fine and change * sign > half
        print(f"  {name}: random {statistics.fmean(a):.3g}, prefix-aware "
              f"{statistics.fmean(b):.3g}, difference {change:+.3g} "
              f"(95%: {change - half:+.3g} to {change + half:+.3g})")  # fmt: skip
    return fine


if __name__ == "__main__":
    main()
