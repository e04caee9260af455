"""Rights as they are told, and the commands that grant them."""

from __future__ import annotations

from llmatrix.cluster.access import Right, grants, rights, rights_of
from llmatrix.cluster.kinds import NAMESPACE, PIPELINE_RUN, POD


def test_rights_are_told_as_kubectl_names_them() -> None:
    told = [
        *map(str, rights(PIPELINE_RUN, "create patch", "bench")),
        *map(str, rights(POD, "get", "bench", below="log")),
        *map(str, rights(NAMESPACE, "delete", "bench")),
    ]
    assert told == [
        "create pipelineruns.tekton.dev in namespace bench",
        "patch pipelineruns.tekton.dev in namespace bench",
        "get pods/log in namespace bench",
        "delete namespaces in the cluster",
    ]


def test_rules_are_taken_apart() -> None:
    rules = [
        {"apiGroups": ["", "apps"], "resources": ["a", "b"], "verbs": ["get"]},
        {
            "apiGroups": ["rbac.authorization.k8s.io"],
            "resources": ["clusterroles"],
            "resourceNames": ["llmatrix-site"],
            "verbs": ["bind"],
        },
    ]
    assert rights_of(rules, "n") == [
        Right("get", "", "a", "n"),
        Right("get", "", "b", "n"),
        Right("get", "apps", "a", "n"),
        Right("get", "apps", "b", "n"),
        Right("bind", "rbac.authorization.k8s.io", "clusterroles", "n", "llmatrix-site"),
    ]


def test_one_command_grants_all_verbs_on_a_resource() -> None:
    missing = [*rights(PIPELINE_RUN, "create patch", "bench"), *rights(NAMESPACE, "list")]
    assert grants(missing, "system:serviceaccount:bench:ci") == {
        "create, patch pipelineruns.tekton.dev in namespace bench": (
            "kubectl create role llmatrix-pipelineruns-tekton-dev -n bench --verb=create,patch "
            "--resource=pipelineruns.tekton.dev && kubectl create rolebinding "
            "llmatrix-pipelineruns-tekton-dev -n bench --role=llmatrix-pipelineruns-tekton-dev "
            "--serviceaccount=bench:ci"
        ),
        "list namespaces in the cluster": (
            "kubectl create clusterrole llmatrix-namespaces --verb=list --resource=namespaces && "
            "kubectl create clusterrolebinding llmatrix-namespaces "
            "--clusterrole=llmatrix-namespaces --serviceaccount=bench:ci"
        ),
    }


def test_a_user_with_a_name_like_a_command_is_quoted() -> None:
    (command,) = grants([Right("get", "", "pods", "n")], "a user; rm -rf /").values()
    assert command.endswith(" '--user=a user; rm -rf /'") or "--user='a user; rm -rf /'" in command
