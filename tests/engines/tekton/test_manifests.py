"""What brought layers render to, on its way to the steps and out of the cluster again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from llmatrix.cli.prepare import prepare
from llmatrix.cluster import labels
from llmatrix.cluster.kinds import CONFIG_MAP, ROLE
from llmatrix.engines.tekton import gc, rendering, roles, submitter
from llmatrix.engines.tekton.compile import Compiled, compiled
from llmatrix.engines.tekton.manifests import rendered_layers
from llmatrix.engines.tekton.reading import LaneRun, Phase, moment
from llmatrix.errors import FailureClass, SpecError, StepFailure
from llmatrix.plan.build import Plan
from llmatrix.plan.document import decode, decode_trials, encode_trials
from llmatrix.spec.llmd import LlmdStack
from llmatrix.stacks.llmd import layers, manifest_set
from llmatrix.stacks.llmd.placeholders import SITE

NOW = 1_800_000_000.0
SettingsOf = Callable[..., Any]


def manifests(name: str, image: str) -> str:
    spec = {"containers": [{"name": "c", "image": image}]}
    template = {"metadata": {"labels": {"app": name}}, "spec": spec}
    return yaml.safe_dump_all(
        [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name},
                "spec": {"selector": {"matchLabels": {"app": name}}, "template": template},
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"selector": {"app": name}, "ports": [{"port": 9002}]},
            },
        ]
    )


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Plan]:
    """Plan an experiment over two pickers, each a file of manifests."""

    def make(name: str = SITE, **cluster: Any) -> Plan:
        for version in ("1", "2"):
            (tmp_path / f"{version}.yaml").write_text(manifests(name, f"reg/p:{version}"))
        document = {
            "name": "brought",
            "model": {"name": "tiny-1B", "tokenizer": "words"},
            "stack": {"kind": "llm-d", "server": {"simulated": True}},
            "workload": {
                "kind": "random",
                "question_len": 16,
                "output_len": 4,
                "prompt": "text",
                "load": {"rate": 5},
                "duration": "4s",
            },
            "matrix": {
                "stack.router.manifests": [["1.yaml"], ["2.yaml"]],
                "workload.output_len": [4, 5],
            },
            "run": {"engine": "tekton", "cluster": cluster},
        }
        file = tmp_path / "e.yaml"
        file.write_text(yaml.safe_dump(document, sort_keys=False))
        return prepare(file, (), ()).plan

    return make


@pytest.fixture
def made(plan: Callable[..., Plan], settings_of: SettingsOf) -> Compiled:
    found = plan()
    return compiled(found, settings_of(found), now=NOW)


def test_each_distinct_set_travels_once_and_trials_only_name_it(
    plan: Callable[..., Plan], made: Compiled
) -> None:
    assert len(made.manifests) == 2
    trials = list(plan())
    named = {r.sha256: r.text for t in trials for r in rendered_layers(t.treatment.stack)}
    assert len(named) == 2
    for carrier in made.manifests:
        metadata = carrier["metadata"]
        assert metadata["namespace"] == "bench"
        assert int(metadata["labels"][labels.EXPIRES]) > NOW
        digest = metadata["annotations"][labels.SPEC]
        assert manifest_set.carried(carrier, digest) == named[digest]
    travelled = decode_trials(encode_trials(trials))
    for before, after in zip(trials, travelled, strict=True):
        assert after.keys == before.keys
        (rendered,) = rendered_layers(after.treatment.stack)
        assert rendered.text == ""
        assert rendered.sha256 in named
    assert "reg/p" not in json.dumps(decode(encode_trials(trials)))


def test_files_for_kubectl_hold_them_and_are_applied_before_the_runs(made: Compiled) -> None:
    written = rendering.files(made, [])
    assert list(yaml.safe_load_all(written["manifests.yaml"])) == made.manifests
    said = rendering.commands(made, Path("out"))
    (at,) = [n for n, line in enumerate(said) if "manifests.yaml" in line]
    assert "--server-side" in said[at]
    assert at < next(n for n, line in enumerate(said) if "pipelinerun-" in line)


class Home:
    """A cluster that has these ConfigMaps and no others."""

    def __init__(self, carriers: list[Any]) -> None:
        self.found = {each["metadata"]["name"]: each for each in carriers}

    def get(self, kind: Any, name: str, namespace: str) -> Any:
        assert (kind, namespace) == (CONFIG_MAP, "bench")
        return self.found.get(name)


def test_a_step_reads_its_set_from_there_and_says_when_it_is_gone(
    plan: Callable[..., Plan], made: Compiled
) -> None:
    (trial, *_) = decode_trials(encode_trials([plan().trial(0)]))
    (rendered,) = rendered_layers(trial.treatment.stack)
    address = SimpleNamespace(experiment="brought", home="bench")

    def read(carriers: list[Any]) -> str:
        site: Any = SimpleNamespace(cluster=Home(carriers), address=address)
        return layers.on(site)(rendered)

    assert "reg/p:" in read(made.manifests)
    for carriers in ([], [{**each, "binaryData": {}} for each in made.manifests]):
        with pytest.raises(StepFailure, match=r"bench/llmatrix-manifests-.*again") as told:
            read(carriers)
        assert told.value.failure is FailureClass.USER


def test_a_name_that_two_sites_would_claim_is_refused_in_a_shared_namespace(
    plan: Callable[..., Plan], settings_of: SettingsOf
) -> None:
    shared = plan("fixed", namespaced=True)
    with pytest.raises(SpecError, match=r"Service fixed, Deployment fixed: .*Put llmatrix-site-"):
        compiled(shared, settings_of(shared), now=NOW)
    for fine in (plan("fixed"), plan(namespaced=True)):
        assert compiled(fine, settings_of(fine), now=NOW).manifests


def test_the_steps_may_read_them_and_people_may_make_them(
    plan: Callable[..., Plan], settings_of: SettingsOf
) -> None:
    settings = settings_of(plan())
    home = [each for each in roles.account_and_roles(settings) if each["kind"] == ROLE.name]
    assert any(
        "configmaps" in rule["resources"] and rule["verbs"] == ["get"]
        for each in home
        for rule in each["rules"]
    )
    (people, *_) = submitter.submitter(settings)
    verbs = [rule["verbs"] for rule in people["rules"] if rule["resources"] == ["configmaps"]]
    assert {verb for each in verbs for verb in each} >= {"create", "patch", "delete", "list"}


def test_a_hand_written_hash_is_refused(tmp_path: Path, plan: Callable[..., Plan]) -> None:
    plan()
    file = tmp_path / "e.yaml"
    document = yaml.safe_load(file.read_text())
    del document["matrix"]["stack.router.manifests"]
    document["stack"]["router"] = {"rendered": {"sha256": "0" * 64}}
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(SpecError, match="is not for people to write"):
        prepare(file, (), ())


def carrier(experiment: str, *, age_s: float, expires: float) -> Any:
    digest = manifest_set.sha256("[]")
    document = manifest_set.config_map(experiment, digest, "[]", expires=round(expires))
    at = moment("2026-11-24T00:00:00Z")
    assert at is not None
    made_at = "2026-11-24T00:00:00Z"
    document["metadata"] |= {"namespace": "bench", "uid": "u", "creationTimestamp": made_at}
    return document, at + age_s


@pytest.mark.parametrize(
    ("phase", "age_s", "left_s", "experiment", "gone"),
    [
        (Phase.RUNNING, 2 * gc.UNUSED_S, 1000, None, False),
        (Phase.PENDING, 2 * gc.UNUSED_S, -1000, None, False),
        (Phase.ENDED, 10, 1000, None, False),
        (Phase.ENDED, 2 * gc.UNUSED_S, 1000, None, True),
        (Phase.ENDED, 10, -1000, None, True),
        (Phase.ENDED, 10, 1000, "e", True),
        (Phase.ENDED, 2 * gc.UNUSED_S, -1000, "another", False),
    ],
)
def test_gc_removes_what_no_step_will_read(
    phase: Phase, age_s: float, left_s: float, experiment: str | None, *, gone: bool
) -> None:
    _, now = carrier("e", age_s=age_s, expires=0)
    document, _ = carrier("e", age_s=age_s, expires=now + left_s)
    run = LaneRun(
        "r",
        "e",
        "1",
        0,
        None,
        phase,
        None,
        "",
        "",
        None,
        None,
        document={"metadata": {"name": "r"}},
    )
    seen = gc.Seen([], [run], manifests=[document])
    told = {each.told for each in gc.decide(seen, now, experiment).remove}
    assert (f"ConfigMap {document['metadata']['name']}" in told) is gone


def test_the_stack_of_a_travelled_trial_is_still_of_its_kind(plan: Callable[..., Plan]) -> None:
    (trial,) = decode_trials(encode_trials([plan().trial(0)]))
    assert isinstance(trial.treatment.stack, LlmdStack)
    assert trial.treatment.stack.router.brought
    assert trial.treatment.stack.router.way is None
