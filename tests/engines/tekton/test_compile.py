"""A plan as Tekton's objects."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from llmatrix.cli import main as cli
from llmatrix.cluster import labels
from llmatrix.cluster.kinds import Object
from llmatrix.engines.tekton.compile import Compiled, compiled
from llmatrix.engines.tekton.lane import trials_of
from llmatrix.engines.tekton.pipelineruns import MOST_BYTES, MOST_TASKS
from llmatrix.engines.tekton.pod import picked
from llmatrix.engines.tekton.queueing import PENDING
from llmatrix.engines.tekton.settings import Settings
from llmatrix.errors import SpecError, UserError
from llmatrix.plan.build import Plan
from llmatrix.plan.document import decode_trials
from llmatrix.plan.step import Step
from llmatrix.steps.lane_orders import LaneOrders
from llmatrix.steps.told import RESULTS

NOW = 1_800_000_000.0
FACTORS = {"workload.question_len": [100, 200], "workload.output_len": [5, 10]}
FRESH = {"isolation": "fresh"}

PlanOf = Callable[..., Plan]
SettingsOf = Callable[..., Settings]
CompiledOf = Callable[..., Compiled]


def everything(made: Compiled) -> Iterator[Object]:
    yield from made.account_and_roles
    yield from () if made.claim is None else (made.claim,)
    yield from made.stepactions
    yield from made.tasks
    for lane in made.pipelineruns:
        yield from lane


def tasks(run: Object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run["spec"]["pipelineSpec"]["tasks"]
    return found


def orders(run: Object) -> LaneOrders:
    (param,) = run["spec"]["params"]
    return LaneOrders.decoded(param["value"])


def seconds(duration: str) -> int:
    match = re.fullmatch(r"(?:(\d+)h)?(\d+)m(\d+)s", duration)
    assert match is not None, duration
    hours, minutes, rest = (int(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + rest


def param(task: dict[str, Any], name: str) -> Any:
    return next(each["value"] for each in task["params"] if each["name"] == name)


def noise(size: int) -> str:
    """Give a comment of so many random bytes, in hexadecimal."""
    drawn = random.Random(7).randbytes(size)  # noqa: S311 - noise, not a secret
    return f"# {drawn.hex()}\n"


def test_the_program_takes_the_words_that_the_tasks_give_it(compiled_of: CompiledOf) -> None:
    made = compiled_of(FACTORS, run=FRESH)
    closing = made.tasks[1]["spec"]["steps"]
    programs = [each["spec"] for each in made.stepactions] + closing
    assert len(programs) == len(Step) + 1
    group = cli.llmatrix
    for each in programs:
        command: click.Command | None = group
        context = click.Context(group)
        words = [word for word in each["args"] if not word.endswith("[*])")]
        while isinstance(command, click.Group):
            _, command, words = command.resolve_command(context, words)
        assert command is not None
        command.make_context(command.name, words)  # raises for one that it lacks


# Lanes


def test_a_lane_is_a_chain_of_its_trials_in_the_plans_order(
    plan_of: PlanOf, settings_of: SettingsOf
) -> None:
    plan = plan_of(FACTORS, replicates=2)
    made = compiled(plan, settings_of(plan), now=NOW)
    ((run,),) = made.pipelineruns
    planned = [trial.id for trial in plan]
    assert [trial.id for trial in trials_of(run)] == planned
    assert len(tasks(run)) == 8
    for number, (task, trial) in enumerate(zip(tasks(run), planned, strict=True), start=1):
        assert task["name"] == f"t{number:04d}-{trial[:8]}"
        assert task["onError"] == "continue"
        assert "retries" not in task  # Tekton's webhook refuses both
        (decoded,) = decode_trials(param(task, "trial"))
        assert decoded.id == trial
    before = [task.get("runAfter") for task in tasks(run)]
    assert before == [None, *([task["name"]] for task in tasks(run)[:-1])]


def test_each_lane_has_its_own_site_and_every_lane_its_own_pipeline_run(
    compiled_of: CompiledOf,
) -> None:
    matrix = {**FACTORS, "stack.replicas": [1, 2]}
    made = compiled_of(matrix, run={"parallelism": 2})
    runs = [run for (run,) in made.pipelineruns]
    sites = [orders(run).site for run in runs]
    assert [site.lane for site in sites] == [0, 1]
    assert len({site.name for site in sites}) == len({r["metadata"]["name"] for r in runs}) == 2
    assert all(site.namespace == site.name and site.own_namespace for site in sites)
    assert sum(len(tasks(run)) for run in runs) == 8


def test_namespaced_keeps_the_sites_in_the_namespace_of_the_pipeline_runs(
    compiled_of: CompiledOf,
) -> None:
    made = compiled_of(FACTORS, run={"cluster": {"namespaced": True, "namespace": "mine"}})
    ((run,),) = made.pipelineruns
    site = orders(run).site
    assert (site.namespace, site.home, site.own_namespace) == ("mine", "mine", False)
    assert all(not each["kind"].startswith("Cluster") for each in made.account_and_roles)
    assert all(each["metadata"]["namespace"] == "mine" for each in everything(made))


def test_only_the_missing_trials_are_compiled(plan_of: PlanOf, settings_of: SettingsOf) -> None:
    plan = plan_of(FACTORS)
    whole = compiled(plan, settings_of(plan), now=NOW)
    ids = [trial.id for trial in plan]
    made = compiled(plan, settings_of(plan), now=NOW, finished={ids[0], ids[3]})
    ((run,),) = made.pipelineruns
    assert [trial.id for trial in trials_of(run)] == ids[1:3]
    assert made.run != whole.run
    assert compiled(plan, settings_of(plan), now=NOW, finished=set(ids)).pipelineruns == []


def test_a_long_lane_is_cut_into_segments_that_wait_for_one_another(
    compiled_of: CompiledOf,
) -> None:
    matrix = {"workload.question_len": list(range(1, 251))}
    (lane,) = compiled_of(matrix).pipelineruns
    assert [len(tasks(run)) for run in lane] == [MOST_TASKS, MOST_TASKS, 50]
    assert [run["spec"].get("status") for run in lane] == [None, PENDING, PENDING]
    names = [run["metadata"]["name"] for run in lane]
    following = [param(run["spec"]["pipelineSpec"]["finally"][0], "next") for run in lane]
    assert following == [*names[1:], ""]
    assert len({orders(run).site for run in lane}) == 1
    numbers = [task["name"][:5] for run in lane for task in tasks(run)]
    assert numbers == [f"t{number:04d}" for number in range(1, 251)]
    assert all("runAfter" not in tasks(run)[0] for run in lane)


def test_a_pipeline_run_is_never_too_large_for_the_cluster(
    compiled_of: CompiledOf, tmp_path: Path
) -> None:
    # 20 KB that hardly compress, in every trial.
    (tmp_path / "picker.yaml").write_text(noise(10_000))
    stack = {"kind": "simulated", "router": {"config": "picker.yaml"}}
    matrix = {"workload.question_len": list(range(1, 61))}
    for isolation in ("reuse", "fresh"):
        run = {"isolation": isolation, "cluster": {"env": {"A": "b"}}}
        (lane,) = compiled_of(matrix, stack=stack, run=run).pipelineruns
        assert sum(len(list(trials_of(each))) for each in lane) == 60
        sizes = [len(json.dumps(each)) for each in lane]
        assert max(sizes) < MOST_BYTES + 20_000, (isolation, sizes)


# Native matrices


def test_a_whole_factorial_of_plain_levels_is_a_matrix_of_params(
    plan_of: PlanOf, settings_of: SettingsOf
) -> None:
    plan = plan_of(FACTORS, replicates=2, run={**FRESH, "parallelism": 3})
    made = compiled(plan, settings_of(plan), now=NOW)
    ((run,),) = made.pipelineruns
    (task,) = tasks(run)
    params = {each["name"]: each["value"] for each in task["matrix"]["params"]}
    assert {name: sorted(levels) for name, levels in params.items()} == {
        "workload-question_len": ["100", "200"],
        "workload-output_len": ["10", "5"],
        "replicate": ["1.1", "1.2"],
    }
    assert (orders(run).fresh, orders(run).slots) == (True, 3)

    # What the first step is told picks exactly one trial in each combination.
    trial_task = made.tasks[0]
    step = trial_task["spec"]["steps"][0]
    words = next(each["value"] for each in step["params"] if each["name"] == "picks")
    assert words[::2] == ["--pick"] * 3
    trials = decode_trials(param(task, "trial"))
    found = set()
    for question in params["workload-question_len"]:
        for output in params["workload-output_len"]:
            for replicate in params["replicate"]:
                values = {
                    "workload-question_len": question,
                    "workload-output_len": output,
                    "replicate": replicate,
                }
                said = [re.sub(r"\$\(params\.(.+?)\)", lambda m: values[m[1]], w) for w in words]  # noqa: B023 - called at once
                picks = dict(each.split("=") for each in said[1::2])
                found.add(picked(trials, picks).id)
    assert found == {trial.id for trial in plan}


@pytest.mark.parametrize(
    ("matrix", "changes"),
    [
        ({**FACTORS, "exclude": [{"workload.question_len": 100, "workload.output_len": 5}]}, {}),
        ({"stack.accelerator": [{"name": "$(params.x)", "value": "H100"}, "A100"]}, {}),
        ({"stack.accelerator": [{"name": "two words", "value": "H100"}, "A100"]}, {}),
        (
            {
                "workload.question_len": [100, 200],
                "include": [{"workload.question_len": 100, "workload.output_len": 3}],
            },
            {},
        ),
    ],
    ids=["exclude", "substitution", "space", "include"],
)
def test_what_params_cannot_say_is_named_one_by_one(
    compiled_of: CompiledOf, matrix: dict[str, Any], changes: dict[str, Any]
) -> None:
    ((run,),) = compiled_of(matrix, run=FRESH, **changes).pipelineruns
    (task,) = tasks(run)
    assert "params" not in task["matrix"]
    for combination in task["matrix"]["include"]:
        (trial,) = decode_trials(param(combination, "trial"))
        assert combination["name"] == f"t-{trial.id[:8]}"
    assert "$" not in json.dumps([param(c, "treatment") for c in task["matrix"]["include"]])


def test_more_combinations_than_the_cluster_allows_are_split_never_refused(
    plan_of: PlanOf, settings_of: SettingsOf
) -> None:
    plan = plan_of({"workload.question_len": list(range(1, 31))}, run=FRESH)
    settings = settings_of(plan, combinations=12)
    ((run,),) = compiled(plan, settings, now=NOW).pipelineruns
    assert [len(task["matrix"]["include"]) for task in tasks(run)] == [12, 12, 6]
    assert [task.get("runAfter") for task in tasks(run)] == [None, ["trials-1"], ["trials-2"]]
    assert {trial.id for trial in trials_of(run)} == {trial.id for trial in plan}


def test_a_thousand_combinations_are_as_many_pipeline_runs_as_they_need(
    compiled_of: CompiledOf,
) -> None:
    (lane,) = compiled_of({"workload.question_len": list(range(1, 1001))}, run=FRESH).pipelineruns
    assert sum(len(list(trials_of(run))) for run in lane) == 1000
    assert all(len(task["matrix"]["include"]) <= 256 for run in lane for task in tasks(run))
    assert all(len(json.dumps(run)) < MOST_BYTES + 20_000 for run in lane)


# What is told to people and programs


def test_nothing_that_a_user_wrote_travels_where_tekton_substitutes(
    compiled_of: CompiledOf,
) -> None:
    nasty = '$(params.orders) `id` "q"'
    matrix = {"stack.accelerator": [{"name": nasty, "value": "H100"}, "A100"]}
    for isolation in ("reuse", "fresh"):
        ((run,),) = compiled_of(matrix, run={"isolation": isolation}).pipelineruns
        spec = json.dumps({**run["spec"], "taskRunSpecs": []})
        found = set(re.findall(r"\$[^\"]*", spec))
        assert found == {"$(params.orders)", "$(context.pipelineRun.name)"}
        assert "`" not in spec
        levels = {trial.levels["stack.accelerator"] for trial in trials_of(run)}
        assert levels == {nasty, "A100"}


def test_each_trial_of_a_chain_is_labelled_with_its_id_and_annotated_with_its_levels(
    compiled_of: CompiledOf,
) -> None:
    ((run,),) = compiled_of(FACTORS).pipelineruns
    specs = {each["pipelineTaskName"]: each["metadata"] for each in run["spec"]["taskRunSpecs"]}
    for task, trial in zip(tasks(run), trials_of(run), strict=True):
        metadata = specs[task["name"]]
        assert metadata["labels"] == {labels.TRIAL: trial.id}
        assert json.loads(metadata["annotations"][labels.LEVELS]) == dict(trial.levels)
        assert task["displayName"] == param(task, "treatment")
        assert f"question_len={trial.levels['workload.question_len']}" in task["displayName"]


def test_everything_is_labelled_as_ours_and_carries_the_hash_of_what_was_asked(
    compiled_of: CompiledOf,
) -> None:
    made = compiled_of(FACTORS)
    for each in everything(made):
        metadata = each["metadata"]
        assert metadata["labels"][labels.MANAGED_BY] == labels.OURS
        assert re.fullmatch(r"[0-9a-f]{8}", metadata["annotations"][labels.SPEC])
    ((run,),) = made.pipelineruns
    expected = {
        labels.EXPERIMENT: "compile-test",
        labels.RUN: made.run,
        labels.LANE: "0",
        labels.EXPIRES: str(orders(run).site.expires),
    }
    assert expected.items() <= run["metadata"]["labels"].items()
    assert orders(run).site.run == made.run


def test_records_never_expire(compiled_of: CompiledOf) -> None:
    claim = compiled_of(FACTORS).claim
    assert claim is not None
    assert labels.EXPIRES not in claim["metadata"]["labels"]
    assert labels.RUN not in claim["metadata"]["labels"]


def test_compiled_later_the_names_and_hashes_are_the_same(
    plan_of: PlanOf, settings_of: SettingsOf
) -> None:
    plan = plan_of(FACTORS)
    settings = settings_of(plan)
    one, later = (compiled(plan, settings, now=NOW + wait) for wait in (0, 3600))
    for each, other in zip(everything(one), everything(later), strict=True):
        assert each["metadata"]["name"] == other["metadata"]["name"]
        assert each["metadata"]["annotations"] == other["metadata"]["annotations"]
    again = compiled(plan, settings, now=NOW, again="2")
    assert again.run != one.run
    assert (
        again.pipelineruns[0][0]["metadata"]["name"] != one.pipelineruns[0][0]["metadata"]["name"]
    )


def test_what_was_asked_for_otherwise_has_other_names(
    plan_of: PlanOf, settings_of: SettingsOf
) -> None:
    plan = plan_of(FACTORS)
    one = compiled(plan, settings_of(plan), now=NOW)
    other = compiled(plan, settings_of(plan, image="example.org/llmatrix:2"), now=NOW)
    names = [{e["metadata"]["name"] for e in (*c.stepactions, *c.tasks)} for c in (one, other)]
    assert not names[0] & names[1]
    assert one.run != other.run


def test_names_fit_whatever_the_experiment_is_called(compiled_of: CompiledOf) -> None:
    name = "a" * 53
    for run in ({}, FRESH, {"parallelism": 2}):
        made = compiled_of({**FACTORS, "stack.replicas": [1, 2]}, name=name, run=run)
        for each in everything(made):
            assert len(each["metadata"]["name"]) <= 63
            for value in each["metadata"]["labels"].values():
                assert len(value) <= 63
        for (lane,) in made.pipelineruns:
            assert len(orders(lane).site.name) <= 40
            sites = [orders(lane).site_of(trial) for trial in trials_of(lane)]
            assert all(len(site.name) <= 40 for site in sites)


# Timeouts


@pytest.mark.parametrize("isolation", ["reuse", "fresh"])
def test_timeouts_leave_room_for_every_try_and_for_what_finally_runs_again(
    compiled_of: CompiledOf, isolation: str
) -> None:
    run = {"isolation": isolation, "retries": 2, "parallelism": 1}
    workload = {
        "kind": "random",
        "question_len": 1,
        "output_len": 1,
        "load": {"rate": 1},
        "duration": "10m",
        "warmup": 0,
    }
    ((one,),) = compiled_of(
        {"workload.question_len": [1, 2, 3]}, run=run, workload=workload
    ).pipelineruns
    timeouts = {name: seconds(text) for name, text in one["spec"]["timeouts"].items()}
    each = [seconds(task["timeout"]) for task in tasks(one)]
    assert timeouts["pipeline"] == timeouts["tasks"] + timeouts["finally"]
    assert timeouts["tasks"] > sum(each)
    assert sum(each) >= 3 * 600 * 3  # three tries of three trials
    assert timeouts["finally"] >= 3 * 600 * 3
    (closing,) = one["spec"]["pipelineSpec"]["finally"]
    assert seconds(closing["timeout"]) == timeouts["finally"]
    if isolation == "fresh":  # they begin together, and wait for the one slot
        assert len(each) == 1


def test_a_slow_start_is_waited_for(compiled_of: CompiledOf) -> None:
    stack = {"kind": "simulated", "engine": {"startup": "2h"}}
    ((run,),) = compiled_of(FACTORS, stack=stack).pipelineruns
    assert all(seconds(task["timeout"]) > 3 * 7200 for task in tasks(run))


# Storage, secrets, queues


def test_a_folder_is_a_claim_that_is_mounted(compiled_of: CompiledOf) -> None:
    made = compiled_of(FACTORS, run={"cluster": {"results_size": "1Gi"}})
    claim = made.claim
    assert claim is not None
    name = claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    ((run,),) = made.pipelineruns
    assert run["spec"]["workspaces"][0]["persistentVolumeClaim"] == {"claimName": name}
    assert orders(run).store == "/results"
    given = [*tasks(run), *run["spec"]["pipelineSpec"]["finally"]]
    assert all(t["workspaces"] == [{"name": "results", "workspace": "results"}] for t in given)


def test_lanes_side_by_side_share_the_claim(compiled_of: CompiledOf) -> None:
    claim = compiled_of(FACTORS, run={"parallelism": 2}).claim
    assert claim is not None
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_a_claim_that_is_there_is_not_made(compiled_of: CompiledOf) -> None:
    made = compiled_of(FACTORS, run={"cluster": {"results_claim": "theirs"}})
    assert made.claim is None
    ((run,),) = made.pipelineruns
    assert run["spec"]["workspaces"][0]["persistentVolumeClaim"] == {"claimName": "theirs"}


def test_an_object_store_needs_no_claim(compiled_of: CompiledOf) -> None:
    made = compiled_of(FACTORS, results={"store": "s3://bucket/team"})
    ((run,),) = made.pipelineruns
    assert made.claim is None
    assert orders(run).store == "s3://bucket/team"
    assert "workspaces" not in run["spec"]
    assert "workspaces" not in tasks(run)[0]


def test_the_environment_is_only_where_it_is_needed(compiled_of: CompiledOf) -> None:
    env = {"KEY": {"secret": "s3", "key": "id"}, "PLAIN": "a$HOME$$b"}
    made = compiled_of(FACTORS, run={"cluster": {"env": env}})
    expected = [
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "id"}}},
        {"name": "PLAIN", "value": "a$$HOME$$$$b"},
    ]
    having = {
        step
        for step, action in zip(Step, made.stepactions, strict=True)
        if action["spec"].get("env") == expected
    }
    assert having == {Step.WORKLOAD, Step.UPLOAD, Step.TEARDOWN}
    assert made.tasks[1]["spec"]["steps"][0]["env"] == expected


def test_a_queue_holds_the_first_segments_and_the_others_wait_for_them(
    compiled_of: CompiledOf,
) -> None:
    matrix = {"workload.question_len": list(range(1, 121))}
    stack = {"kind": "simulated", "replicas": 4, "tensor_parallel": 2}
    run = {"queue": "gpus", "cluster": {"harness_cpu": "1500m"}}
    (lane,) = compiled_of(matrix, stack=stack, run=run).pipelineruns
    first, second = lane
    assert first["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert "kueue.x-k8s.io/queue-name" not in second["metadata"]["labels"]
    assert first["spec"]["status"] == second["spec"]["status"] == PENDING
    for each in lane:
        asked = each["metadata"]["annotations"]
        assert asked["kueue.konflux-ci.dev/requests-accelerators"] == "8"
        assert asked["kueue.konflux-ci.dev/requests-cpu"] == "1570m"


def test_trials_on_their_own_sites_ask_the_queue_for_all_that_run_at_once(
    compiled_of: CompiledOf,
) -> None:
    run = {**FRESH, "queue": "gpus", "parallelism": 3}
    ((one,),) = compiled_of(FACTORS, run=run).pipelineruns
    assert one["metadata"]["annotations"]["kueue.konflux-ci.dev/requests-accelerators"] == "3"


# The steps


def test_the_steps_run_one_program_without_a_shell(compiled_of: CompiledOf) -> None:
    made = compiled_of(FACTORS)
    for step, action in zip(Step, made.stepactions, strict=True):
        spec = action["spec"]
        assert spec["command"] == ["llmatrix"]
        assert spec["args"][:2] == ["step", step.value]
        assert "script" not in spec
        assert ("params" in spec) == (step is Step.NAMESPACE)
    task = made.tasks[0]["spec"]
    assert [each["name"] for each in task["steps"]] == [step.value for step in Step]
    assert all(each["onError"] == "continue" for each in task["steps"])
    results = {each["name"]: each["value"] for each in task["results"]}
    assert results == {name: f"$(steps.upload.results.{name})" for name in RESULTS}
    upload = made.stepactions[list(Step).index(Step.UPLOAD)]["spec"]
    assert set(RESULTS) <= {each["name"] for each in upload["results"]}


def test_containers_keep_to_the_restricted_standard(
    plan_of: PlanOf, settings_of: SettingsOf
) -> None:
    plan = plan_of(FACTORS)
    for openshift in (False, True):
        made = compiled(plan, settings_of(plan, openshift=openshift), now=NOW)
        containers = [each["spec"] for each in made.stepactions]
        containers += made.tasks[1]["spec"]["steps"]
        for each in containers:
            security = each["securityContext"]
            assert security["runAsNonRoot"] is True
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            assert ("runAsUser" in security) is not openshift
        ((run,),) = made.pipelineruns
        template = run["spec"]["taskRunTemplate"]["podTemplate"]
        assert ("securityContext" in template) is not openshift


# Refusals


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"stack": {"kind": "process", "command": ["x", "{port}"]}},
            r"experiment\.yaml:\d+:\d+: stack\.kind: .* run\.engine: local",
        ),
        (
            {"stack": {"kind": "endpoint", "url": "http://a:1", "api_key_env": "KEY"}},
            r"experiment\.yaml:\d+:\d+: stack\.api_key_env: .* KEY\. Add to run\.cluster\.env",
        ),
    ],
    ids=["process", "key"],
)
def test_what_is_only_on_this_machine_is_refused(
    compiled_of: CompiledOf, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        compiled_of({"workload.question_len": [1, 2]}, **changes)


def test_a_key_by_secret_is_taken(compiled_of: CompiledOf) -> None:
    stack = {"kind": "endpoint", "url": "http://a:1", "api_key_env": "KEY"}
    run = {"cluster": {"env": {"KEY": {"secret": "s", "key": "k"}}}}
    assert compiled_of({"workload.question_len": [1, 2]}, stack=stack, run=run).pipelineruns


def test_a_value_that_tekton_would_change_is_refused(compiled_of: CompiledOf) -> None:
    run = {"cluster": {"env": {"A": "$(params.trial)"}}}
    with pytest.raises(UserError, match=r"yaml:\d+:\d+: run\.cluster\.env\.A: .*secret"):
        compiled_of(FACTORS, run=run)


def test_a_queue_of_too_long_a_name_is_refused(compiled_of: CompiledOf) -> None:
    with pytest.raises(UserError, match=r"run\.queue: .* at most 63 characters, not 64"):
        compiled_of(FACTORS, run={"queue": "q" * 64})


def test_a_document_that_no_program_can_be_given_is_refused(
    compiled_of: CompiledOf, tmp_path: Path
) -> None:
    (tmp_path / "picker.yaml").write_text(noise(100_000))
    stack = {"kind": "simulated", "router": {"config": "picker.yaml"}}
    with pytest.raises(UserError, match=r"document of .* make the files that it names smaller"):
        compiled_of(FACTORS, stack=stack)
