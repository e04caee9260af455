"""When a picker must be started anew: what it remembers, and of which prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.spec.workloads import DatasetWorkload
from llmatrix.stacks.llmd.memory import Memory, Met, prompts, why_anew
from llmatrix.stacks.site_state import SiteState, with_standing

Make = Callable[..., Trial]


@pytest.fixture
def trial(make_trial: Make) -> Trial:
    return make_trial({"kind": "endpoint", "url": "http://127.0.0.1:1"})


def site(uid: str, **data: str | None) -> SiteState:
    pod = {"metadata": {"name": "picker-0", "uid": uid}, "status": {}}
    found = with_standing(Step.ROUTER, [pod]) | data
    return SiteState({name: text for name, text in found.items() if text is not None})


def met(state: SiteState, *trials: Trial) -> SiteState:
    for each in trials:
        state = SiteState({**state.data, **Met.of(state).and_also(each)})  # type: ignore[dict-item]
    return state


def test_a_picker_need_not_forget_prompts_that_it_cannot_meet_again(trial: Trial) -> None:
    others = [replace(trial, traffic_seed=seed) for seed in (2, 3)]
    known = Met.of(met(site("a"), *others))
    assert known.prompts == ("2", "3")
    assert not why_anew(Memory.PROMPTS, known, replace(trial, traffic_seed=4), [])
    # A factor of the servers alone, a try after one that failed: the same seed.
    assert why_anew(Memory.PROMPTS, known, others[0], []) == "it had met these prompts"


def test_new_servers_and_other_memories_need_a_new_picker(trial: Trial) -> None:
    known = Met.of(met(site("a"), replace(trial, traffic_seed=2)))
    assert why_anew(Memory.PROMPTS, known, trial, [Step.SERVER]) == "the servers are new"
    assert "more" in why_anew(Memory.MORE, known, trial, [])
    assert not why_anew(Memory.NOTHING, known, trial, [Step.SERVER])


def test_a_picker_that_was_started_since_has_met_nothing(trial: Trial) -> None:
    before = met(site("a"), trial)
    since = SiteState({**before.data, **site("b").data})
    assert Met.of(before).prompts
    assert not Met.of(since).prompts
    assert not any(
        why_anew(memory, Met.of(since), trial, [Step.SERVER, Step.ROUTER]) for memory in Memory
    )


def test_recorded_prompts_are_the_same_whatever_the_seed(trial: Trial, tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").write_text('{"prompt": "a b c"}\n')
    plain = {"kind": "dataset", "dataset": "chats.jsonl", "output_len": 4, "load": {"rate": 1}}
    workload = DatasetWorkload.model_validate(plain, context={"folder": str(tmp_path)})
    recorded = replace(trial, treatment=trial.treatment.model_copy(update={"workload": workload}))
    assert prompts(recorded) == prompts(replace(recorded, traffic_seed=9))
    assert prompts(trial) != prompts(replace(trial, traffic_seed=9))
