"""What gc removes: decided from what is seen, never more than what llmatrix made for this home."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.cluster import labels
from llmatrix.cluster.kinds import CONFIG_MAP, NAMESPACE, STEP_ACTION, TASK
from llmatrix.engines.tekton.reading import LaneRun, Phase
from llmatrix.engines.tekton.sites import (
    Piece,
    StandingSite,
    is_of_site,
    is_site_namespace,
    read_sites,
)
from llmatrix.engines.tekton.unwanted import Decision, Seen, decide

NOW = 1_000_000.0
HOME = "bench"


def run(
    name: str, experiment: str, of: str, phase: Phase, expires: int | None = None, task: str = ""
) -> LaneRun:
    spec = {"pipelineSpec": {"tasks": [{"name": "t", "taskRef": {"name": task}}]}} if task else {}
    document = {"metadata": {"name": name, "namespace": HOME, "uid": name}, "spec": spec}
    return LaneRun(
        name, experiment, of, 0, expires, phase, None, "", "", None, None, document=document
    )


def site(name: str, experiment: str, of: str, expires: int | None = None) -> StandingSite:
    return StandingSite(name, experiment, of, expires, (Piece(NAMESPACE, None, name, name),))


def doomed(decision: Decision) -> set[str]:
    return {each.told.split()[-1] for each in decision.remove}


PAST, FUTURE = int(NOW) - 1, int(NOW) + 1000


@pytest.mark.parametrize(
    ("runs", "sites", "experiment", "gone", "ended"),
    [
        ([], [site("s", "e", "1")], None, {"s"}, set()),
        ([run("r", "e", "1", Phase.RUNNING)], [site("s", "e", "1")], None, set(), set()),
        ([run("r", "e", "1", Phase.PENDING)], [site("s", "e", "1")], None, set(), set()),
        ([run("r", "e", "1", Phase.WAITING)], [site("s", "e", "1")], None, set(), set()),
        ([run("r", "e", "1", Phase.ENDED)], [site("s", "e", "1")], None, {"s"}, set()),
        ([run("r", "e", "2", Phase.RUNNING)], [site("s", "e", "1")], None, {"s"}, set()),
        ([run("r", "f", "1", Phase.RUNNING)], [site("s", "e", "1")], None, {"s"}, set()),
        # Of a run that goes on, not even what has expired: another of its lanes says it lives.
        ([run("r", "e", "1", Phase.RUNNING)], [site("s", "e", "1", PAST)], None, set(), set()),
        (
            [run("r", "e", "1", Phase.RUNNING, PAST)],
            [site("s", "e", "1", PAST)],
            None,
            {"r", "s"},
            {"r"},
        ),
        ([run("r", "e", "1", Phase.ENDED, PAST)], [], None, {"r"}, set()),
        ([run("r", "e", "1", Phase.ENDED, FUTURE)], [], None, set(), set()),
        ([run("r", "e", "1", Phase.ENDED, FUTURE)], [], "e", {"r"}, set()),
        ([run("r", "e", "1", Phase.RUNNING)], [site("s", "e", "1")], "e", set(), set()),
        ([run("r", "f", "1", Phase.ENDED, PAST)], [site("s", "f", "1")], "e", set(), set()),
    ],
)
def test_what_goes(
    runs: list[LaneRun],
    sites: list[StandingSite],
    experiment: str | None,
    gone: set[str],
    ended: set[str],
) -> None:
    decision = decide(Seen(sites, runs), NOW, experiment)
    assert doomed(decision) == gone
    assert {each.name for each in decision.end} == ended


EXPERIMENTS = st.sampled_from(["e", "f"])
EXPIRES = st.sampled_from([None, PAST, FUTURE])
RUNS = st.builds(
    run,
    st.uuids().map(str),
    EXPERIMENTS,
    st.sampled_from("12"),
    st.sampled_from(list(Phase)),
    EXPIRES,
)
SITES = st.builds(site, st.uuids().map(str), EXPERIMENTS, st.sampled_from("12"), EXPIRES)


@given(st.lists(RUNS, max_size=6), st.lists(SITES, max_size=6), st.sampled_from([None, "e"]))
def test_what_is_alive_is_never_removed_and_what_nobody_wants_always(
    runs: list[LaneRun], sites: list[StandingSite], experiment: str | None
) -> None:
    decision = decide(Seen(sites, runs), NOW, experiment)
    gone = doomed(decision)
    alive = [r for r in runs if r.phase is not Phase.ENDED and r.expires != PAST]
    wanted = {(r.experiment, r.run) for r in alive}
    assert not gone & {r.name for r in alive}
    assert not {each.name for each in decision.end} & {r.name for r in alive}
    for each in sites:
        concerned = experiment in (None, each.experiment)
        assert (each.name in gone) == (concerned and (each.experiment, each.run) not in wanted)
    for late in runs:
        if late.expires == PAST and experiment in (None, late.experiment):
            assert late.name in gone
            assert (late in decision.end) == (late.phase is not Phase.ENDED)
    assert len(gone) == len(decision.remove)


def kept(name: str, expires: int, of: str = "1") -> StandingSite:
    return replace(site(name, "e", of, expires), kept=True)


def test_what_was_kept_goes_when_it_has_expired_or_that_is_asked_for() -> None:
    seen = Seen([kept("up", FUTURE), kept("late", PAST), site("lost", "e", "1")], [])
    decision = decide(seen, NOW)
    assert (doomed(decision), decision.kept) == ({"late", "lost"}, ("up",))
    assert decide(seen, NOW, "e").kept == ("up",)
    asked = decide(seen, NOW, with_kept=True)
    assert (doomed(asked), asked.kept) == ({"up", "late", "lost"}, ())
    alive = Seen([kept("up", FUTURE)], [run("r", "e", "1", Phase.RUNNING)])
    assert decide(alive, NOW, with_kept=True).remove == ()


def namespace(name: str, **marked: str) -> dict[str, Any]:
    known = {"managed": "app.kubernetes.io/managed-by"}
    marks = {known.get(key, f"llmatrix.dev/{key}"): value for key, value in marked.items()}
    return {"metadata": {"name": name, "uid": name, "labels": marks}}


@pytest.mark.parametrize(
    ("document", "ours"),
    [
        (namespace("s", managed="llmatrix", site="s", home=HOME), True),
        (namespace("s", managed="llmatrix", site="t", home=HOME), False),
        (namespace("s", managed="llmatrix", home=HOME), False),
        (namespace("s", managed="llmatrix", site="s"), False),
        (namespace("s", managed="llmatrix", site="s", home="elsewhere"), False),
        (namespace("s", managed="helm", site="s", home=HOME), False),
        (namespace("s", site="s", home=HOME), False),
        (namespace(HOME, managed="llmatrix", site=HOME, home=HOME), False),
        *(
            (namespace(name, managed="llmatrix", site=name, home=HOME), False)
            for name in ("default", "kube-system", "openshift-x", "tekton-pipelines")
        ),
        ({"metadata": {"name": "bare"}}, False),
    ],
)
def test_only_our_namespaces_are_sites(document: dict[str, Any], ours: bool) -> None:  # noqa: FBT001
    assert is_site_namespace(document, HOME) is ours


def test_pods_of_trials_are_no_objects_of_sites() -> None:
    document = namespace("pod", managed="llmatrix", site="s", home=HOME)
    assert is_of_site(document, HOME)
    document["metadata"]["ownerReferences"] = [{"kind": "TaskRun", "controller": True}]
    assert not is_of_site(document, HOME)


@pytest.mark.parametrize("keep", [{}, {"keep": "true"}])
def test_that_a_site_was_kept_is_on_its_namespace_or_its_record(keep: dict[str, str]) -> None:
    own = namespace("s", managed="llmatrix", site="s", home=HOME, **keep)
    record = namespace("t-site", managed="llmatrix", site="t", home=HOME, **keep)
    other = namespace("t-server", managed="llmatrix", site="t", home=HOME)
    sites = read_sites([own], [(CONFIG_MAP, other), (CONFIG_MAP, record)], HOME)
    assert [each.kept for each in sites] == [bool(keep)] * 2


def test_what_carries_the_same_site_is_put_together() -> None:
    own = namespace("s", managed="llmatrix", site="s", home=HOME, run="1", expires="7")
    one = namespace("a", managed="llmatrix", site="t", home=HOME, run="2", expires="9")
    two = namespace("b", managed="llmatrix", site="t", home=HOME, run="2", expires="8")
    sites = read_sites([own], [(CONFIG_MAP, one), (CONFIG_MAP, two)], HOME)
    assert [(s.name, s.run, s.expires, [str(p) for p in s.pieces]) for s in sites] == [
        ("s", "1", 7, ["namespace s"]),
        ("t", "2", 9, ["ConfigMap a", "ConfigMap b"]),
    ]


def definition(name: str, created: str, *refs: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": name, "namespace": HOME, "creationTimestamp": created},
        "spec": {"steps": [{"name": "s", "ref": {"name": ref}} for ref in refs]},
    }


def test_definitions_go_when_nothing_names_them_and_they_are_old() -> None:
    old, young = "1970-01-01T00:00:00Z", "1970-01-12T13:00:00Z"  # NOW is that day, 13:46
    definitions = [
        (TASK, definition("used", old, "act-1")),
        (TASK, definition("lost", old, "act-2")),
        (TASK, definition("fresh", young, "act-3")),
        *((STEP_ACTION, definition(f"act-{n}", old)) for n in (1, 2, 3)),
        (STEP_ACTION, definition("act-4", young)),
    ]
    seen = Seen([], [run("r", "e", "1", Phase.ENDED, FUTURE, task="used")], definitions)
    assert doomed(decide(seen, NOW)) == {"lost", "act-2"}
    assert doomed(decide(seen, NOW, "e")) == {"r"}


def test_pods_by_themselves_go_when_they_have_expired() -> None:
    reader = namespace("reader", managed="llmatrix", expires=str(PAST))
    pods = [
        reader,
        namespace("young", managed="llmatrix", expires=str(FUTURE)),
        namespace("of-a-site", managed="llmatrix", site="s", expires=str(PAST)),
        namespace("unmarked", managed="llmatrix"),
    ]
    assert doomed(decide(Seen([], [], pods=pods), NOW)) == {"reader"}
    owned = {"metadata": {**reader["metadata"], "ownerReferences": [{"kind": "TaskRun"}]}}
    assert doomed(decide(Seen([], [], pods=[owned]), NOW)) == set()


def test_claims_of_models_go_when_no_site_has_renewed_them() -> None:
    component = {labels.COMPONENT: "model"}

    def claim(name: str, expires: int | None, **marks: str) -> dict[str, Any]:
        told = {} if expires is None else {"expires": str(expires)}
        made = namespace(name, managed="llmatrix", **told, **marks)
        made["metadata"]["labels"] |= component
        return made

    results = namespace("results", managed="llmatrix", expires=str(PAST))
    claims = [
        claim("old", PAST),
        claim("young", FUTURE),
        claim("unmarked", None),
        claim("of-a-site", PAST, site="s"),
        results,
    ]
    assert doomed(decide(Seen([], [], claims=claims), NOW)) == {"old"}
    assert doomed(decide(Seen([], [], claims=claims), NOW, "e")) == set()
