"""The model layer of an llm-d stack as data; that a Job downloads is shown in tests/e2e."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from llmatrix.cli.main import INTERNAL
from llmatrix.cli.model import command as group
from llmatrix.cluster import labels
from llmatrix.cluster.kinds import Object
from llmatrix.errors import FailureClass, StepFailure, UserError
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.llmd import LlmdStack
from llmatrix.stacks.hub import told
from llmatrix.stacks.hub.wanted import Wanted
from llmatrix.stacks.llmd import checks, model, model_files, server
from llmatrix.stacks.site_address import SiteAddress
from llmatrix.stacks.site_rights import MORE_ON_SITE, ON_SITE
from stacks.addresses import OWN, SHARED

COMMIT = "0123456789" * 4
HUB = {"source": "huggingface", "revision": COMMIT}
WORKLOAD = {"kind": "random", "question_len": 16, "output_len": 4, "load": {"concurrency": 1}}
Make = Callable[..., Treatment]


@pytest.fixture
def treatment() -> Make:
    def make(files: dict[str, Any], name: str = "Qwen/Qwen3-0.6B", **server: Any) -> Treatment:
        described = {
            "kind": "llm-d",
            "gateway": {"mode": "none"},
            "model": files,
            "server": {"image": "vllm:1"} | server,
        }
        return Treatment.model_validate(
            {"model": {"name": name}, "stack": described, "workload": WORKLOAD}
        )

    return make


def claim_of(treatment: Treatment, address: SiteAddress = OWN) -> str:
    assert isinstance(treatment.stack, LlmdStack)
    return model_files.claim(treatment.model.name, treatment.stack.model, address)


def pod_of(treatment: Treatment, address: SiteAddress = OWN) -> Object:
    return dict(model.job(treatment, address)["spec"]["template"]["spec"])


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"source": "huggingface"}, "needs revision, the commit"),
        ({"source": "huggingface", "revision": "main"}, "match pattern"),
        (HUB | {"image": "x:1"}, "takes no image"),
        (HUB | {"claim": "c", "size": "9Gi"}, "leave out size"),
        (HUB | {"repo": "no-owner"}, "match pattern"),
        (HUB | {"path": "/etc"}, "leads out"),
        (HUB | {"path": "$(HF_TOKEN)"}, r"has a \$\("),
        (HUB | {"allow": ["$(HF_TOKEN)"]}, "match pattern"),
        (HUB | {"endpoint": "https://me:secret@hub.example"}, "match pattern"),
        ({"source": "oci"}, "needs image"),
        ({"source": "pvc", "claim": "c", "token": {"key": "k"}}, "takes no token"),
        ({"source": "server", "size": "9Gi"}, "takes no size"),
    ],
)
def test_what_does_not_go_together_is_refused(
    treatment: Make, files: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        treatment(files)


def test_the_servers_load_the_folder_that_the_job_fills(treatment: Make) -> None:
    made = treatment(HUB)
    folder = f"/models/Qwen--Qwen3-0.6B/{COMMIT}"
    pod = server.objects(made, OWN)[1]["spec"]["template"]["spec"]
    assert pod["containers"][0]["command"][2] == folder
    mounted = {"claimName": claim_of(made), "readOnly": True}
    assert pod["volumes"][-1] == {"name": "model", "persistentVolumeClaim": mounted}
    job = pod_of(made)
    assert job["volumes"][-1]["persistentVolumeClaim"] == {"claimName": claim_of(made)}
    told = job["containers"][0]["command"]
    assert told[:3] == ["llmatrix", "model", "download"]
    assert {
        "--repo=Qwen/Qwen3-0.6B",
        f"--revision={COMMIT}",
        "--endpoint=https://huggingface.co",
        "--into=/models",
    } <= set(told)


def test_llama_cpp_loads_one_file_and_no_other_comes(treatment: Make) -> None:
    files = HUB | {"repo": "some/gguf", "path": "q4.gguf"}
    made = treatment(files, preset="llama-cpp")
    told = pod_of(made)["containers"][0]["command"]
    assert {"--allow=q4.gguf", "--path=q4.gguf"} <= set(told)
    words = server.objects(made, OWN)[1]["spec"]["template"]["spec"]["containers"][0]["args"]
    wanted = Wanted("some/gguf", COMMIT, ("q4.gguf",))
    assert words[words.index("--model") + 1] == f"/models/{wanted.folder}/q4.gguf"
    with pytest.raises(UserError, match=r"stack\.model\.path: llama-cpp loads one file"):
        checks.check(treatment(HUB, preset="llama-cpp"))


def test_a_name_that_is_no_repository_needs_one(treatment: Make) -> None:
    with pytest.raises(UserError, match=r"stack\.model\.repo: 'tiny-1B' \(model\.name\)"):
        checks.check(treatment(HUB, name="tiny-1B"))
    checks.check(treatment(HUB | {"repo": "tiny-org/tiny"}, name="tiny-1B"))


def test_models_of_a_lane_lie_on_one_claim_where_it_is_the_lanes_own(treatment: Make) -> None:
    one, two = treatment(HUB), treatment(HUB | {"revision": "f" * 40})
    assert claim_of(one) == claim_of(two)
    assert claim_of(one) != claim_of(treatment(HUB | {"size": "9Gi"}))
    assert "--make-room" in pod_of(one)["containers"][0]["command"]
    assert model.claim(one, OWN)["metadata"]["labels"][labels.SITE] == "site"


def test_in_a_shared_namespace_a_model_has_its_claim_which_outlives_the_site(
    treatment: Make,
) -> None:
    one, two = treatment(HUB), treatment(HUB | {"revision": "f" * 40})
    assert claim_of(one, SHARED) != claim_of(two, SHARED)
    assert claim_of(one, SHARED).startswith("llmatrix-model-")
    assert "--make-room" not in pod_of(one, SHARED)["containers"][0]["command"]
    made = model.claim(one, SHARED)
    marks = made["metadata"]["labels"]
    assert labels.SITE not in marks
    assert marks[labels.EXPIRES] == "77"
    assert marks[labels.COMPONENT] == model.COMPONENT
    assert made["spec"]["accessModes"] == ["ReadWriteOnce"]
    # Lanes may be on two nodes.
    other = replace(SHARED, lane=1)
    assert claim_of(one, SHARED) != claim_of(one, other)
    many = treatment(HUB | {"access_mode": "ReadWriteMany", "storage_class": "nfs"})
    assert claim_of(many, SHARED) == claim_of(many, other)
    assert model.claim(many, SHARED)["spec"]["storageClassName"] == "nfs"


def test_a_claim_that_is_named_is_taken_as_it_is(treatment: Make) -> None:
    made = treatment(HUB | {"claim": "weights"})
    assert claim_of(made, SHARED) == "weights"
    assert "--make-room" not in pod_of(made)["containers"][0]["command"]


def test_only_the_job_is_given_the_token_by_reference(treatment: Make) -> None:
    made = treatment(HUB | {"token": {}})
    reference = {"name": "hf-secret", "key": "HF_TOKEN"}
    assert pod_of(made)["containers"][0]["env"] == [
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}}
    ]
    assert "hf-secret" not in str(server.objects(made, OWN))
    assert "env" not in pod_of(treatment(HUB))["containers"][0]


def test_servers_that_end_before_a_download_are_looked_for_by_rights_that_there_are() -> None:
    """One kind more than a step may list is a refusal, and no model would ever come."""
    may = {
        (group, resource)
        for rule in [*ON_SITE, *MORE_ON_SITE["llm-d"]]
        if {"list", "delete"} <= set(rule["verbs"])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert {(kind.group, kind.plural) for kind in model._SERVERS} <= may


def test_the_job_runs_where_the_servers_can_and_once(treatment: Make) -> None:
    made = treatment(HUB, node_selector={"gpu": "h100"}, tolerations=[{"key": "nvidia.com/gpu"}])
    spec = model.job(made, OWN)["spec"]
    assert spec["backoffLimit"] == 0
    pod = spec["template"]["spec"]
    assert pod["nodeSelector"] == {"gpu": "h100"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert pod["restartPolicy"] == "Never"
    assert "ports" not in pod["containers"][0]
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"]


def test_the_program_takes_the_words_that_the_job_gives_it(treatment: Make) -> None:
    files = HUB | {"token": {}, "path": "a", "allow": ["*.json", "a/*"], "ignore": ["b"]}
    for address in (OWN, SHARED):
        program, *verbs = pod_of(treatment(files), address)["containers"][0]["command"]
        assert program == "llmatrix"
        command, words = verbs[1], verbs[2:]
        given = group.commands[command].make_context(command, words).params
        assert given["allow"] == ("*.json", "a/*")
        assert given["make_room"] is address.own_namespace
        assert str(given["told"]) == "/dev/termination-log"
        assert verbs[0] in INTERNAL


def test_what_a_download_tells_is_read_again() -> None:
    done = told.Done(3, 5 * 2**30, 2**20)
    assert told.read(done.encoded()) == done
    assert str(done) == "3 files, 5.0 GiB, 1.0 MiB of it downloaded now"
    failure = StepFailure("ä" * 5000, FailureClass.USER)
    written = told.encoded_failure(failure)
    assert len(written.encode()) < 4096
    read = told.read(written)
    assert isinstance(read, StepFailure)
    assert read.failure is FailureClass.USER
    for nothing in ("", "Killed", "[]", "{}", '{"failure": "else", "message": "x"}'):
        assert told.read(nothing) is None
    lines = ["a word", told.Progress(1, 3).encoded(), told.Progress(2**20, 2**30).encoded(), "{}"]
    assert str(told.Progress.last("\n".join(lines))) == "1.0 MiB of 1.0 GiB downloaded"
    assert told.Progress.last("nothing") is None
