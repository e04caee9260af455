"""Users of containers, where the cluster chooses them."""

from __future__ import annotations

from llmatrix.cluster.users import USER, left_to_the_cluster
from llmatrix.stacks import kubernetes_parts


def test_our_user_is_left_out_and_nothing_else() -> None:
    container = kubernetes_parts.container(
        "it", ["it"], image="i", pull_policy="Always", port=1, requests={}
    )
    asked = kubernetes_parts.pod([container], grace_s=7)
    assert asked["securityContext"]["runAsUser"] == USER
    fitted = left_to_the_cluster(asked)
    context = fitted.pop("securityContext")
    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert fitted == {key: value for key, value in asked.items() if key != "securityContext"}
    assert asked["securityContext"]["fsGroup"] == USER  # what was given is left alone


def test_a_user_of_somebody_elses_choice_stays() -> None:
    asked = {
        "initContainers": [{"name": "a", "securityContext": {"runAsUser": 0, "runAsGroup": USER}}],
        "containers": [{"name": "b"}, {"name": "c", "securityContext": {"runAsUser": USER}}],
    }
    assert left_to_the_cluster(asked) == {
        "initContainers": [{"name": "a", "securityContext": {"runAsUser": 0}}],
        "containers": [{"name": "b"}, {"name": "c", "securityContext": {}}],
    }
