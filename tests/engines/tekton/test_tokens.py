"""A token for the Hub: who may read it where, and claims that no pod could mount."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmatrix.cluster.access import rights_of
from llmatrix.engines.tekton import refusals, rights, roles
from llmatrix.errors import SpecError
from llmatrix.stacks.site_rights import TOKEN_KIND, role_of

HUB = {"source": "huggingface", "revision": "a" * 40}
APART: dict[str, Any] = {"engine": "tekton"}
SHARED = APART | {"cluster": {"namespaced": True}}


def stack(**files: Any) -> dict[str, Any]:
    return {
        "kind": "llm-d",
        "gateway": {"mode": "none"},
        "model": HUB | files,
        "server": {"simulated": True},
    }


def names(objects: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def test_the_steps_may_read_that_secret_only_and_only_where_they_must(
    plan_of: Callable[..., Any], settings_of: Callable[..., Any]
) -> None:
    settings = settings_of(plan_of(stack=stack(token={"secret": "my-token"}), run=APART))
    made = names(roles.account_and_roles(settings))
    role = made["Role", "llmatrix-token-my-token"]
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "verbs": ["get"],
            "resourceNames": ["my-token"],
        }
    ]
    assert ("ClusterRole", role_of(TOKEN_KIND)) in made
    (asked,) = rights_of(role["rules"], "bench")
    assert asked in rights.of_the_account(settings)
    assert asked in rights.to_make_the_account(settings)


@pytest.mark.parametrize(
    ("files", "run"), [({}, APART), ({"token": {"secret": "my-token"}}, SHARED)]
)
def test_nobody_else_may_read_a_secret(
    plan_of: Callable[..., Any],
    settings_of: Callable[..., Any],
    files: dict[str, Any],
    run: dict[str, Any],
) -> None:
    settings = settings_of(plan_of(stack=stack(**files), run=run))
    assert "secrets" not in str(roles.account_and_roles(settings))


@pytest.mark.parametrize("files", [{"claim": "weights"}, {"source": "pvc", "claim": "weights"}])
def test_a_claim_needs_sites_in_its_namespace(
    plan_of: Callable[..., Any], files: dict[str, Any]
) -> None:
    described = stack()
    described["model"] = files if "source" in files else HUB | files
    with pytest.raises(SpecError, match=r"stack\.model\.claim: a claim is mounted in its own"):
        refusals.hold(plan_of(stack=described, run=APART))
    refusals.hold(plan_of(stack=described, run=SHARED))


def test_a_trial_may_take_as_long_as_its_download(
    plan_of: Callable[..., Any], compiled_of: Callable[..., Any]
) -> None:
    del plan_of

    def seconds(**files: Any) -> int:
        made = compiled_of(stack=stack(**files), run=APART).pipelineruns[0][0]
        hours, _, rest = made["spec"]["timeouts"]["tasks"].partition("h")
        return int(hours) * 3600 + int(rest.partition("m")[0]) * 60

    assert seconds(timeout="10h") - seconds(timeout="5h") >= 3 * 5 * 3600
