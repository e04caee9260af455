"""What trials need besides their documents, on its way to the steps and out of the cluster."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from llmatrix.cli.prepare import prepare
from llmatrix.cluster import carriers, labels
from llmatrix.cluster.access import rights_of
from llmatrix.cluster.faults import Refused
from llmatrix.cluster.kinds import CONFIG_MAP, Object
from llmatrix.engines.tekton import carried, rendering, rights, roles, submitter, unwanted
from llmatrix.engines.tekton.compile import Compiled, compiled
from llmatrix.engines.tekton.pod_files import brought
from llmatrix.engines.tekton.reading import LaneRun, Phase, moment
from llmatrix.errors import FailureClass, SpecError, StepFailure
from llmatrix.plan.build import Plan
from llmatrix.plan.document import decode, decode_trials, encode_trials
from llmatrix.plan.trial import Trial
from llmatrix.spec.base import TokenizerFolder
from llmatrix.spec.llmd import LlmdStack
from llmatrix.spec.named_files import left_out
from llmatrix.stacks.llmd import layers
from llmatrix.stacks.llmd.placeholders import SITE

NOW = 1_800_000_000.0
SettingsOf = Callable[..., Any]
PlanOf = Callable[..., Plan]
HOSTILE = "a $(params.trial) `id`\n'\"; ..é"
"""A folder as nobody should call one."""


class Home:
    """A cluster that has these ConfigMaps and no others."""

    def __init__(self, found: list[Object], *, allowed: bool = True) -> None:
        self.found = {each["metadata"]["name"]: each for each in found}
        self.allowed = allowed
        self.asked = 0

    def get(self, kind: Any, name: str, namespace: str) -> Any:
        assert (kind, namespace) == (CONFIG_MAP, "bench")
        self.asked += 1
        if not self.allowed:
            raise Refused("cannot read configmaps", status=403)
        return self.found.get(name)


def noise(size: int, seed: int = 1) -> str:
    return random.Random(seed).randbytes(size // 2).hex()  # noqa: S311 - bytes, no secret


def prompts(count: int) -> str:
    rows = ({"prompt": f"number {n}", "output_len": 1 + n % 9} for n in range(count))
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def travelled(trial: Trial) -> Trial:
    (found,) = decode_trials(encode_trials([trial]))
    return found


# Files that an experiment names


@pytest.fixture
def filed(tmp_path: Path) -> PlanOf:
    """Plan an experiment over a tokenizer and a dataset, both of which must be carried."""

    def make(
        tokenizer: str = HOSTILE, dataset: str = "prompts.jsonl", rows: int = 2000, **changes: Any
    ) -> Plan:
        folder = tmp_path / tokenizer
        folder.mkdir(exist_ok=True)
        (folder / "tokenizer.json").write_text(json.dumps({"noise": noise(3_000_000)}))
        (folder / "tokenizer_config.json").write_text("{}")
        (tmp_path / dataset).write_text(prompts(rows))
        document = {
            "name": "filed",
            "model": {"name": "tiny-1B", "tokenizer": tokenizer},
            "stack": {"kind": "simulated"},
            "workload": {
                "kind": "dataset",
                "dataset": dataset,
                "load": {"rate": 5},
                "duration": "4s",
            },
            "matrix": {"workload.load.rate": [5, 6, 7]},
            "run": {"engine": "tekton"},
            **changes,
        }
        if not document["matrix"]:
            del document["matrix"]
        file = tmp_path / "e.yaml"
        file.write_text(yaml.safe_dump(document, sort_keys=False))
        return prepare(file, (), ()).plan

    return make


def test_each_file_travels_once_whatever_the_number_of_trials(
    filed: PlanOf, settings_of: SettingsOf
) -> None:
    plan = filed()
    made = compiled(plan, settings_of(plan), now=NOW)
    assert len(plan) == 3
    by_digest: dict[str, list[Object]] = {}
    for each in made.carried:
        by_digest.setdefault(each["metadata"]["annotations"][labels.SPEC], []).append(each)
        assert int(each["metadata"]["labels"][labels.EXPIRES]) > NOW
    trial = plan.trial(0)
    tokenizer, dataset = left_out(trial.treatment)
    assert by_digest.keys() == {tokenizer.sha256, dataset.sha256}
    assert len(by_digest[tokenizer.sha256]) == 2  # 1.5 MB of it is noise
    assert len(by_digest[dataset.sha256]) == 1
    again = compiled(plan, settings_of(plan), now=NOW)
    assert (again.carried, again.run) == (made.carried, made.run)


def test_where_a_file_is_and_what_it_is_called_stays_here(
    filed: PlanOf, settings_of: SettingsOf
) -> None:
    plan, plain = filed(), filed("plain")
    one, other = (compiled(each, settings_of(each), now=NOW) for each in (plan, plain))
    assert [trial.id for trial in plan] == [trial.id for trial in plain]
    assert (one.carried, one.pipelineruns) == (other.carried, other.pipelineruns)
    assert "params.trial" not in json.dumps(one.carried)


def test_steps_find_the_files_in_their_own_folder(
    filed: PlanOf, settings_of: SettingsOf, tmp_path: Path
) -> None:
    plan = filed()
    home = Home(compiled(plan, settings_of(plan), now=NOW).carried)
    cluster: Any = home
    address: Any = SimpleNamespace(experiment="filed", home="bench")
    work = tmp_path / "work"
    trial = travelled(plan.trial(0))
    assert trial.id == plan.trial(0).id
    treatment = brought(trial.treatment, cluster, address, work)
    tokenizer, workload = treatment.model.tokenizer, treatment.workload
    assert isinstance(tokenizer, TokenizerFolder)
    assert workload.kind == "dataset"
    for path in (tokenizer.path, workload.dataset.path):
        assert Path(path).is_relative_to(work)
    there = Path(tokenizer.path) / "tokenizer.json"
    assert there.read_bytes() == (tmp_path / HOSTILE / "tokenizer.json").read_bytes()
    assert [each.name for each in there.parent.iterdir()] == ["tokenizer.json"]
    assert Path(workload.dataset.path).read_text() == prompts(2000)
    assert treatment == trial.treatment.model_copy(  # nothing else is changed
        update={"model": treatment.model, "workload": treatment.workload}
    )
    assert treatment.model_dump() == trial.treatment.model_dump()
    asked = home.asked
    assert brought(trial.treatment, cluster, address, work) == treatment
    assert home.asked == asked
    there.write_text("half of")  # as an earlier pod of this one may have left it
    assert brought(trial.treatment, cluster, address, work) == treatment
    assert there.read_bytes() == (tmp_path / HOSTILE / "tokenizer.json").read_bytes()


def test_a_file_that_is_gone_or_torn_is_the_users_to_bring_again(
    filed: PlanOf, settings_of: SettingsOf, tmp_path: Path
) -> None:
    plan = filed()
    parts = compiled(plan, settings_of(plan), now=NOW).carried
    address: Any = SimpleNamespace(experiment="filed", home="bench")
    treatment = travelled(plan.trial(0)).treatment

    def failed(home: Any) -> StepFailure:
        with pytest.raises(StepFailure) as told:
            brought(treatment, home, address, tmp_path / "work")
        assert told.value.failure is FailureClass.USER
        return told.value

    name = carriers.name("filed", left_out(treatment)[0].sha256)
    without = [each for each in parts if each["metadata"]["name"] != f"{name}-2"]
    words = str(failed(Home(without)))
    assert words == (
        f"the content of model.tokenizer cannot be read from ConfigMap bench/{name}-2: it is not "
        f"there; submit it again."
    )
    torn = [{**each, "binaryData": {}} for each in parts]
    assert f"ConfigMap bench/{name}: it does not hold what" in str(failed(Home(torn)))
    assert "roles.yaml" in str(failed(Home(parts, allowed=False)))
    assert not list((tmp_path / "work").rglob("*.json"))


def test_a_folder_that_cannot_be_written_is_the_environments(
    filed: PlanOf, settings_of: SettingsOf, tmp_path: Path
) -> None:
    plan = filed()
    home: Any = Home(compiled(plan, settings_of(plan), now=NOW).carried)
    address: Any = SimpleNamespace(experiment="filed", home="bench")
    (tmp_path / "work").write_text("a file")
    with pytest.raises(StepFailure, match=r"model\.tokenizer: .* cannot be written") as told:
        brought(travelled(plan.trial(0)).treatment, home, address, tmp_path / "work")
    assert told.value.failure is FailureClass.ENVIRONMENT


def test_a_hostile_hash_leads_nowhere(filed: PlanOf, tmp_path: Path) -> None:
    treatment = filed().trial(0).treatment
    tokenizer = TokenizerFolder(sha256="../../../outside", path="/etc")
    model = treatment.model.model_copy(update={"tokenizer": tokenizer})
    evil = treatment.model_copy(update={"model": model})
    home: Any = Home([])
    address: Any = SimpleNamespace(experiment="filed", home="bench")
    with pytest.raises(StepFailure, match="it is not there"):
        brought(evil, home, address, tmp_path / "work")
    assert not (tmp_path / "outside").exists()


RANDOM = {"kind": "random", "question_len": 16, "output_len": 4, "load": {"rate": 5}}


@pytest.mark.parametrize(
    ("workload", "fields"),
    [
        ({**RANDOM, "prompt": "text"}, ["model.tokenizer"]),
        ({**RANDOM, "prompt": "token-ids"}, []),
        ({"kind": "dataset", "dataset": "small.jsonl", "load": {"rate": 5}}, ["model.tokenizer"]),
        (
            {"kind": "trace", "trace": "trace.csv", "duration": "4s", "warmup": 0},
            ["workload.trace"],
        ),
        (
            {"kind": "trace", "trace": "trace.csv", "duration": "4s", "prompt": "text"},
            ["model.tokenizer", "workload.trace"],
        ),
    ],
)
def test_only_what_a_workload_reads_travels(
    filed: PlanOf,
    settings_of: SettingsOf,
    tmp_path: Path,
    workload: dict[str, Any],
    fields: list[str],
) -> None:
    (tmp_path / "small.jsonl").write_text(prompts(10))
    lines = "".join(f"{n},100,5\n" for n in range(5000))
    (tmp_path / "trace.csv").write_text(f"timestamp,input_length,output_length\n{lines}")
    plan = filed(workload={"warmup": 0, "duration": "4s", **workload}, matrix={})
    found = [each.field for each in carried.contents(plan.trial(0).treatment)]
    assert found == fields
    settings = settings_of(plan)
    assert settings.carries is bool(fields)
    assert bool(compiled(plan, settings, now=NOW).carried) is bool(fields)


def test_nothing_is_carried_where_all_is_finished(filed: PlanOf, settings_of: SettingsOf) -> None:
    plan = filed()
    finished = {trial.id for trial in plan}
    assert compiled(plan, settings_of(plan), now=NOW, finished=finished).carried == []


def test_more_than_etcd_is_made_for_is_refused_once(
    filed: PlanOf, settings_of: SettingsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = filed()
    settings = settings_of(plan)
    compressed = sum(
        len(each["binaryData"]["part.bz2"]) * 3 // 4
        for each in compiled(plan, settings, now=NOW).carried
    )
    monkeypatch.setattr(carried, "MOST_BYTES", compressed - 10)
    words = r"e\.yaml:\d+:\d+: (model\.tokenizer|workload\.dataset): with this, .* than 1 MiB, "
    with pytest.raises(SpecError, match=words) as told:
        compiled(plan, settings, now=NOW)
    assert "run.engine: local" in str(told.value)
    assert len(told.value.problems) == 1
    monkeypatch.setattr(carried, "MOST_BYTES", compressed + 10)
    assert compiled(plan, settings, now=NOW).carried


@pytest.mark.parametrize("how", ["gone", "changed", "a folder"])
def test_a_file_that_is_another_by_now_is_told_of_at_its_place(
    filed: PlanOf, settings_of: SettingsOf, tmp_path: Path, how: str
) -> None:
    plan = filed()
    file = tmp_path / "prompts.jsonl"
    if how == "changed":
        file.write_text(prompts(2001))
    else:
        file.unlink()
    if how == "a folder":
        file.mkdir()
    why = {"gone": "is not there", "changed": "has changed since", "a folder": "is a folder"}
    with pytest.raises(SpecError, match=rf"e\.yaml:\d+:\d+: workload\.dataset: .*{why[how]}"):
        compiled(plan, settings_of(plan), now=NOW)


def test_a_file_that_is_a_level_is_told_of_as_one(
    filed: PlanOf, settings_of: SettingsOf, tmp_path: Path
) -> None:
    (tmp_path / "more.jsonl").write_text(prompts(3000))
    matrix = {"workload.dataset": ["prompts.jsonl", "more.jsonl"]}
    plan = filed(matrix=matrix)
    digests = {
        each["metadata"]["annotations"][labels.SPEC]
        for each in compiled(plan, settings_of(plan), now=NOW).carried
    }
    assert len(digests) == 3
    (tmp_path / "more.jsonl").unlink()
    with pytest.raises(SpecError, match=r"e\.yaml:\d+:\d+: workload\.dataset: .*more\.jsonl"):
        compiled(plan, settings_of(plan), now=NOW)


# What brought layers render to


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
def plan(tmp_path: Path) -> PlanOf:
    """Plan an experiment over two pickers, each a file of manifests."""

    def make(name: str = SITE, **cluster: Any) -> Plan:
        for version in ("1", "2"):
            (tmp_path / f"{version}.yaml").write_text(manifests(name, f"reg/p:{version}"))
        document = {
            "name": "brought",
            "model": {"name": "tiny-1B", "tokenizer": "words"},
            "stack": {"kind": "llm-d", "server": {"simulated": True}},
            "workload": {**RANDOM, "prompt": "text", "duration": "4s"},
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
def made(plan: PlanOf, settings_of: SettingsOf) -> Compiled:
    found = plan()
    return compiled(found, settings_of(found), now=NOW)


def rendered_sets(trials: list[Trial]) -> dict[str, str]:
    stacks = [each for trial in trials if isinstance(each := trial.treatment.stack, LlmdStack)]
    assert len(stacks) == len(trials)
    found = [layers.layer(stack, step).rendered for stack in stacks for step in layers.BRINGABLE]
    return {each.sha256: each.text for each in found if each is not None}


def test_each_distinct_set_travels_once_and_trials_only_name_it(
    plan: PlanOf, made: Compiled
) -> None:
    trials = list(plan())
    named = rendered_sets(trials)
    assert len(made.carried) == len(named) == 2
    cluster: Any = Home(made.carried)
    for digest, text in named.items():
        assert carriers.read(cluster, "bench", "brought", digest).decode() == text
    after = [travelled(trial) for trial in trials]
    assert [each.keys for each in after] == [each.keys for each in trials]
    assert rendered_sets(after) == dict.fromkeys(named, "")
    assert "reg/p" not in json.dumps(decode(encode_trials(trials)))


def test_a_step_reads_its_set_from_there_and_says_when_it_is_gone(
    plan: PlanOf, made: Compiled
) -> None:
    stack = travelled(plan().trial(0)).treatment.stack
    assert isinstance(stack, LlmdStack)
    rendered = stack.router.rendered
    assert rendered is not None
    address = SimpleNamespace(experiment="brought", home="bench")

    def read(found: list[Object]) -> str:
        site: Any = SimpleNamespace(cluster=Home(found), address=address)
        return layers.on(site)(rendered)

    assert "reg/p:" in read(made.carried)
    for found in ([], [{**each, "binaryData": {}} for each in made.carried]):
        with pytest.raises(StepFailure, match=r"bench/llmatrix-carried-.*again") as told:
            read(found)
        assert told.value.failure is FailureClass.USER


def test_a_name_that_two_sites_would_claim_is_refused_in_a_shared_namespace(
    plan: PlanOf, settings_of: SettingsOf
) -> None:
    shared = plan("fixed", namespaced=True)
    with pytest.raises(SpecError, match=r"Service fixed, Deployment fixed: .*Put llmatrix-site-"):
        compiled(shared, settings_of(shared), now=NOW)
    for fine in (plan("fixed"), plan(namespaced=True)):
        assert compiled(fine, settings_of(fine), now=NOW).carried


def test_a_hand_written_hash_is_refused(tmp_path: Path, plan: PlanOf) -> None:
    plan()
    file = tmp_path / "e.yaml"
    document = yaml.safe_load(file.read_text())
    del document["matrix"]["stack.router.manifests"]
    document["stack"]["router"] = {"rendered": {"sha256": "0" * 64}}
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(SpecError, match="is not for people to write"):
        prepare(file, (), ())


def test_the_stack_of_a_travelled_trial_is_still_of_its_kind(plan: PlanOf) -> None:
    stack = travelled(plan().trial(0)).treatment.stack
    assert isinstance(stack, LlmdStack)
    assert stack.router.brought
    assert stack.router.way is None


# Files for kubectl, rights, and the end


def test_files_for_kubectl_hold_them_and_are_applied_before_the_runs(
    made: Compiled, filed: PlanOf, settings_of: SettingsOf
) -> None:
    files = filed()
    for each in (made, compiled(files, settings_of(files), now=NOW)):
        written = rendering.files(each, [])
        assert list(yaml.safe_load_all(written["carried.yaml"])) == each.carried
        said = rendering.commands(each, Path("out"))
        (at,) = [n for n, line in enumerate(said) if "carried.yaml" in line]
        assert "--server-side" in said[at]
        assert at < next(n for n, line in enumerate(said) if "pipelinerun-" in line)


CONFIG_MAPS = {"apiGroups": [""], "resources": ["configmaps"]}


@pytest.mark.parametrize("namespaced", [False, True])
def test_the_steps_may_read_them_and_people_may_make_them(
    plan: PlanOf, filed: PlanOf, settings_of: SettingsOf, *, namespaced: bool
) -> None:
    run = {"engine": "tekton", "cluster": {"namespaced": namespaced}}
    for found in (plan(namespaced=namespaced), filed(run=run)):
        settings = settings_of(found)
        objects = roles.account_and_roles(settings)
        made = {(each["kind"], each["metadata"]["name"]): each for each in objects}
        read = {**CONFIG_MAPS, "verbs": ["get"]}
        if namespaced:  # the role of the sites has it
            assert ("Role", "llmatrix-carried") not in made
        else:
            role = made["Role", "llmatrix-carried"]
            assert role["rules"] == [read]
            assert role["metadata"]["namespace"] == "bench"
            bound = made["RoleBinding", "llmatrix-carried"]
            assert bound["roleRef"]["name"] == "llmatrix-carried"
            assert [each["name"] for each in bound["subjects"]] == ["llmatrix"]
        (right,) = rights_of([read], "bench")
        assert right in rights.of_the_account(settings)
        (people, *_) = submitter.submitter(settings)
        assert next(rule for rule in people["rules"] if rule not in submitter.AT_HOME) == {
            **CONFIG_MAPS,
            "verbs": ["create", "patch"],
        }
        assert {**CONFIG_MAPS, "verbs": ["get", "list", "delete"]} in people["rules"]


@pytest.mark.parametrize("kind", ["simulated", "llm-d"])
def test_nobody_has_those_rights_where_nothing_is_carried(
    filed: PlanOf, settings_of: SettingsOf, kind: str
) -> None:
    stack: dict[str, Any] = {"kind": kind}
    if kind == "llm-d":
        stack |= {"server": {"simulated": True}, "gateway": {"mode": "none"}}
    plan = filed(stack=stack, matrix={}, workload={**RANDOM, "duration": "4s"})
    settings = settings_of(plan)
    objects = [*roles.account_and_roles(settings), *submitter.submitter(settings)]
    at_home = [each for each in objects if each["metadata"].get("namespace") == "bench"]
    found = [
        (each["metadata"]["name"], rule["verbs"])
        for each in at_home
        for rule in each.get("rules", ())
        if "configmaps" in rule["resources"]
    ]
    assert found == [("llmatrix-submitter", ["get", "list", "delete"])]
    assert "carried.yaml" not in rendering.files(compiled(plan, settings, now=NOW), [])


def carrier(experiment: str, *, age_s: float, expires: float) -> Any:
    compressed = carriers.packed(b"[]", 1000)
    assert compressed is not None
    (document,) = carriers.config_maps(
        experiment, carriers.sha256(b"[]"), compressed, namespace="bench", expires=round(expires)
    )
    made_at = "2026-11-24T00:00:00Z"
    at = moment(made_at)
    assert at is not None
    document["metadata"] |= {"uid": "u", "creationTimestamp": made_at}
    return document, at + age_s


@pytest.mark.parametrize(
    ("phase", "age_s", "left_s", "experiment", "gone"),
    [
        (Phase.RUNNING, 2 * unwanted.UNUSED_S, 1000, None, False),
        (Phase.PENDING, 2 * unwanted.UNUSED_S, -1000, None, False),
        (Phase.ENDED, 10, 1000, None, False),
        (Phase.ENDED, 2 * unwanted.UNUSED_S, 1000, None, True),
        (Phase.ENDED, 10, -1000, None, True),
        (Phase.ENDED, 10, 1000, "e", True),
        (Phase.ENDED, 2 * unwanted.UNUSED_S, -1000, "another", False),
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
    seen = unwanted.Seen([], [run], carried=[document])
    told = {each.told for each in unwanted.decide(seen, now, experiment).remove}
    assert (f"ConfigMap {document['metadata']['name']}" in told) is gone
