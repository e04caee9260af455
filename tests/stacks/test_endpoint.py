"""An endpoint is checked, never changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llmatrix.errors import EnvironmentFault, FailureClass, StepFailure, UserError
from llmatrix.plan.trial import Trial
from llmatrix.stacks.endpoint import Endpoint
from llmatrix.stacks.local_site import LocalSite

if TYPE_CHECKING:
    from stacks.conftest import Scripted

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def trial(scripted: Scripted, make_trial: Callable[..., Trial]) -> Callable[..., Trial]:
    scripted.answers["GET /v1/models"] = [(200, {"data": [{"id": "org/m"}]})]

    def make(model: str = "org/m", **more: Any) -> Trial:
        return make_trial({"kind": "endpoint", "url": scripted.url, **more}, model=model)

    return make


def test_what_is_asked_is_what_is_measured(
    trial: Callable[..., Trial],
    scripted: Scripted,
    site: LocalSite,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("THE_KEY", "s3cr3t")
    one = trial(api_key_env="THE_KEY", metrics_urls=[f"{scripted.url}/metrics"])
    Endpoint().preflight(one.treatment)
    target = Endpoint().target(one, site)
    assert (target.base_url, target.model) == (scripted.url, "org/m")
    assert target.api_key_env == "THE_KEY"
    assert target.metrics_urls == (f"{scripted.url}/metrics",)
    assert not target.simulated
    assert all(headers["Authorization"] == "Bearer s3cr3t" for _, headers in scripted.asked)
    assert "s3cr3t" not in repr(target)


def test_our_own_simulator_is_never_taken_for_a_real_server(
    trial: Callable[..., Trial], scripted: Scripted, site: LocalSite
) -> None:
    scripted.answers["GET /version"] = [(200, {"version": "1", "simulated": True})]
    assert Endpoint().target(trial(), site).simulated


def test_another_model(trial: Callable[..., Trial], site: LocalSite) -> None:
    one = trial(model="org/other")
    with pytest.raises(UserError, match="does not serve 'org/other' but 'org/m'"):
        Endpoint().preflight(one.treatment)
    with pytest.raises(StepFailure, match="does not serve 'org/other' but 'org/m'") as caught:
        Endpoint().target(one, site)
    assert caught.value.failure is FailureClass.USER


def test_nobody_there(make_trial: Callable[..., Trial], site: LocalSite) -> None:
    one = make_trial({"kind": "endpoint", "url": NOBODY})
    with pytest.raises(EnvironmentFault, match=r"cannot be reached.*is the endpoint up"):
        Endpoint().preflight(one.treatment)
    with pytest.raises(StepFailure, match="cannot be reached") as caught:
        Endpoint().target(one, site)
    assert caught.value.failure is FailureClass.ENVIRONMENT


def test_a_key_that_is_not_set(
    trial: Callable[..., Trial], site: LocalSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    one = trial(api_key_env="NO_SUCH_KEY", reset_prefix_cache=True)
    with pytest.raises(UserError, match="variable NO_SUCH_KEY, which is not set"):
        Endpoint().preflight(one.treatment)
    with pytest.raises(StepFailure, match="NO_SUCH_KEY") as caught:
        Endpoint().target(one, site)
    assert caught.value.failure is FailureClass.USER
    assert Endpoint().cleanse(one, site, frozenset()).clean is False


def test_a_refused_key(trial: Callable[..., Trial], scripted: Scripted) -> None:
    one = trial()
    scripted.answers["GET /v1/models"] = [(401, {})]
    with pytest.raises(UserError, match="check the API key"):
        Endpoint().preflight(one.treatment)


def test_caches_are_reset_where_asked_for(
    trial: Callable[..., Trial], scripted: Scripted, site: LocalSite
) -> None:
    scripted.answers["POST /reset_prefix_cache"] = [(200, {"success": True})]
    asked = trial(reset_prefix_cache=True)
    assert Endpoint().cleanse(asked, site, frozenset()).clean is True
    not_asked = Endpoint().cleanse(trial(), site, frozenset())
    assert not_asked.clean is None
    assert "stack.reset_prefix_cache is false" in not_asked.detail
    assert [name for name, _ in scripted.asked] == ["POST /reset_prefix_cache"]


def test_a_reset_of_one_of_several_servers_proves_nothing(
    trial: Callable[..., Trial], scripted: Scripted, site: LocalSite
) -> None:
    scripted.answers["POST /reset_prefix_cache"] = [(200, {"success": True})]
    metrics = [f"{scripted.url}/1", f"{scripted.url}/2"]
    found = Endpoint().cleanse(
        trial(reset_prefix_cache=True, metrics_urls=metrics), site, frozenset()
    )
    assert found.clean is None
    assert "one of 2 servers" in found.detail


def test_nothing_is_written_to_the_site(
    trial: Callable[..., Trial], site: LocalSite, tmp_path: Path
) -> None:
    Endpoint().target(trial(), site)
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["outbox"]
