"""Files that an experiment names, brought to the steps on the real cluster, and gone at the end."""

from __future__ import annotations

import json
import random
import shlex
import string
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from llmatrix.cluster import labels
from llmatrix.cluster.naming import dns_name
from llmatrix.engines.tekton.submitter import AT_HOME, OF_SITES, TO_CARRY

Runs = Callable[..., Any]
pytestmark = pytest.mark.timeout(600)

WORDS = 400
LENGTHS = {"question_len": 57, "output_len": 4}
SENT = {"warmup": 0, "duration": "3s"}
RANDOM = {"kind": "random", **LENGTHS, "prompt": "text", "load": {"rate": 10}, **SENT}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Make a tokenizer of words in ``tokenizer/``, so long that it takes several ConfigMaps."""
    library = pytest.importorskip("tokenizers")
    drawn = random.Random(1)  # noqa: S311 - no secret
    found = ["".join(drawn.choices(string.ascii_lowercase, k=6)) for _ in range(WORDS)]
    others = [drawn.randbytes(12).hex() for _ in range(90_000)]
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *found, *others])}
    made = library.Tokenizer(library.models.WordLevel(vocabulary, "[UNK]"))
    made.pre_tokenizer = library.pre_tokenizers.WhitespaceSplit()
    (tmp_path / "tokenizer").mkdir()
    made.save(str(tmp_path / "tokenizer/tokenizer.json"))
    return found


@pytest.fixture
def files(words: list[str], tmp_path: Path) -> None:
    """Write a dataset and a trace, both too long for a trial's document."""
    drawn = random.Random(2)  # noqa: S311 - no secret
    rows = [
        {"prompt": " ".join(drawn.choices(words, k=10 + n % 50)), "output_len": 1 + n % 9}
        for n in range(2000)
    ]
    (tmp_path / "prompts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    lines = "".join(f"{n / 10:.1f},{20 + n % 40},{1 + n % 5}\n" for n in range(5000))
    (tmp_path / "trace.csv").write_text(f"timestamp,input_length,output_length\n{lines}")
    for name in ("prompts.jsonl", "trace.csv"):
        assert (tmp_path / name).stat().st_size > 2 * 16 * 1024


@pytest.fixture
def described(
    files: None,  # noqa: ARG001 - they are named
    our_image: str,
    namespace: Any,
    tmp_path: Path,
) -> Iterator[Callable[..., None]]:
    """Describe the experiment: ``described(matrix, run=…)`` writes its file."""

    def write(
        matrix: dict[str, Any] | None = None, *, namespaced: bool = False, **run: Any
    ) -> None:
        place = {"namespace": namespace.name, "image": our_image, "namespaced": namespaced}
        document = {
            "name": "carried",
            "model": {"name": "tiny-1B", "tokenizer": "tokenizer"},
            "stack": {"kind": "simulated"},
            "workload": RANDOM,
            "run": {"engine": "tekton", "retries": 0, "cluster": place, **run},
        }
        document |= {"matrix": matrix} if matrix else {}
        (tmp_path / "carried.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    yield write
    # The binding is the cluster's, not the namespace's.
    binding = dns_name("llmatrix-sites", namespace.name, "llmatrix")
    namespace.cluster.kubectl.run("delete", "clusterrolebinding", binding, "--ignore-not-found")


def standing(namespace: Any) -> dict[str, dict[str, Any]]:
    """Give the metadata of the ConfigMaps that carry something."""
    marks = f"{labels.MANAGED_BY}={labels.OURS},{labels.COMPONENT}=carried"
    found = namespace.get("configmaps", "-l", marks)["items"]
    return {each["metadata"]["name"]: each["metadata"] for each in found}


def nothing_left(namespace: Any) -> None:
    ours = f"{labels.MANAGED_BY}={labels.OURS}"
    kinds = "pipelineruns,taskruns,pods,configmaps,persistentvolumeclaims,services,statefulsets"
    left = namespace.get(kinds, "-l", ours)["items"]
    assert [(each["kind"], each["metadata"]["name"]) for each in left] == []
    selected = f"{labels.EXPERIMENT}=carried,{labels.HOME}={namespace.name}"
    assert namespace.cluster.kubectl.get("namespaces", "-l", selected)["items"] == []


def test_a_tokenizer_and_recorded_traffic_are_measured_by_an_account_with_exact_rights(
    described: Callable[..., None],
    llmatrix: Runs,
    account: Callable[..., Path],
    namespace: Any,
    tmp_path: Path,
) -> None:
    recorded = {
        "dataset": {"kind": "dataset", "dataset": "prompts.jsonl", "load": {"rate": 10}, **SENT},
        "trace": {"kind": "trace", "trace": "trace.csv", "prompt": "text", **SENT},
    }
    levels = [{"name": "random", "value": RANDOM}]
    levels += [{"name": name, "value": value} for name, value in recorded.items()]
    described({"workload": levels})
    rendered = llmatrix("tekton", "render", "carried.yaml", "-o", "out")
    assert rendered.code == 0, rendered.err
    namespace.cluster.kubectl.run("apply", "-f", str(tmp_path / "out/roles.yaml"))
    person = account(namespace, "exact", [*AT_HOME, *TO_CARRY], OF_SITES)

    said = llmatrix("run", "carried.yaml", kubeconfig=person)
    assert said.code == 0, said.err
    found = {}
    for file in (tmp_path / "results/carried").glob("*/record.json"):
        record = json.loads(file.read_bytes())
        found[record["levels"]["workload"]] = record
        rows = pq.read_table(file.with_name("requests.parquet")).to_pylist()
        # The end of a trial cuts off what it sent while the last requests of the window ended.
        ended = [row for row in rows if row["error"] != "aborted" or row["phase"] != "drain"]
        assert len(ended) >= 15
        for row in ended:
            assert row["prompt_tokens"] == row["prompt_tokens_asked"] > 0
            assert row["output_tokens"] == row["output_tokens_asked"]
    assert found.keys() == {"random", *recorded}
    for name, record in found.items():
        verdicts = {check["name"]: check["verdict"] for check in record["checks"]}
        assert verdicts["error_share"] == verdicts["output_tokens_exact"] == "pass", record
        exact = "unknown" if name == "dataset" else "pass"
        assert verdicts["prompt_tokens_exact"] == exact, record["checks"]
    nothing_left(namespace)


def test_what_stands_is_adopted_what_is_torn_is_told_and_the_end_leaves_nothing(
    described: Callable[..., None], llmatrix: Runs, namespace: Any, ending: Callable[..., Any]
) -> None:
    described(queue="nobody")  # it waits until it is let go
    said = llmatrix("submit", "carried.yaml")
    assert said.code == 0, said.err
    before = standing(namespace)
    first, second = sorted(before)
    assert second == f"{first}-2"
    assert {each["annotations"][labels.PARTS] for each in before.values()} == {"2"}

    # Submitting again changes nothing but the expiry, and brings what is missing.
    namespace.run("delete", "configmap", second)
    time.sleep(1.1)
    (run,) = namespace.get("pipelineruns")["items"]
    namespace.run("delete", "pipelinerun", run["metadata"]["name"])
    said = llmatrix("submit", "carried.yaml")
    assert said.code == 0, said.err
    after = standing(namespace)
    assert after.keys() == before.keys()
    assert after[first]["uid"] == before[first]["uid"]
    assert after[second]["uid"] != before[second]["uid"]
    expires = [int(each[first]["labels"][labels.EXPIRES]) for each in (before, after)]
    assert expires[0] < expires[1]

    # A trial that finds a part missing says so, and which.
    namespace.run("delete", "configmap", second)
    (run,) = namespace.get("pipelineruns")["items"]
    name = run["metadata"]["name"]
    namespace.run("patch", "pipelinerun", name, "--type=merge", '-p={"spec":{"status":null}}')
    assert ending(namespace.run_ended("pipelinerun", name))["status"] == "True"
    (task,) = namespace.get("taskruns", "-l", "tekton.dev/pipelineTask!=close")["items"]
    told = {each["name"]: each["value"] for each in task["status"]["results"]}
    assert told["status"] == "failed"
    assert f"{namespace.name}/{second}: it is not there; submit it again" in told["why"]

    said = llmatrix("cancel", "carried.yaml")
    assert said.code == 0, said.err
    assert standing(namespace) == {}


def test_the_way_of_kubectl_in_one_namespace_and_gc(
    described: Callable[..., None],
    llmatrix: Runs,
    namespace: Any,
    tmp_path: Path,
    ending: Callable[..., Any],
) -> None:
    described(namespaced=True)
    rendered = llmatrix("tekton", "render", "carried.yaml", "-o", "out")
    assert rendered.code == 0, rendered.err
    kubectl = namespace.cluster.kubectl
    *commands, _ = rendered.out.splitlines()
    assert any("carried.yaml" in each for each in commands)
    for command in commands:
        called = command.replace("kubectl ", f"{shlex.quote(str(kubectl.program))} ", 1)
        done = subprocess.run(
            ["sh", "-c", called],  # noqa: S607 - the commands are written for a shell
            env={"KUBECONFIG": str(kubectl.kubeconfig), "PATH": "/usr/bin:/bin"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    roles = list(yaml.safe_load_all((tmp_path / "out/roles.yaml").read_text()))
    assert {each["kind"] for each in roles} == {"ServiceAccount", "Role", "RoleBinding"}
    (run,) = namespace.get("pipelineruns")["items"]
    end = ending(namespace.run_ended("pipelinerun", run["metadata"]["name"]))
    assert end["status"] == "True"
    (task,) = namespace.get("taskruns", "-l", "tekton.dev/pipelineTask!=close")["items"]
    told = {each["name"]: each["value"] for each in task["status"]["results"]}
    assert told["status"] in {"valid", "invalid"}, told
    assert len(standing(namespace)) == 2
    gone = llmatrix("gc", "--cluster", "--namespace", namespace.name, "--experiment", "carried")
    assert gone.code == 0, gone.err
    assert "llmatrix-carried-" in gone.out + gone.err
    assert standing(namespace) == {}
