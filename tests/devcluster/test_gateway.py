"""Envoy Gateway is installed in an order in which it works, and mended where it would not."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tools.devcluster import extras, gateway, images, stack, step_image
from tools.devcluster.gateway import Wanted
from tools.devcluster.kubectl import Kubectl
from tools.devcluster.layout import Layout


@dataclass(frozen=True, slots=True)
class Recording(Kubectl):
    """Does nothing but remember what it was told; the cluster has these secrets."""

    program: Path = Path("kubectl")
    kubeconfig: Path = Path("kubeconfig")
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def run(self, *words: str, given: str | None = None) -> str:
        objects = json.loads(given)["items"] if given else []
        self.told.append(" ".join([*words[:3], *(one["kind"] for one in objects)]))
        return json.dumps(
            {
                "items": [
                    {"metadata": {"name": name}, "data": data}
                    for name, data in self.secrets.items()
                ]
            }
        )


def installed(kubectl: Recording) -> list[str]:
    job = {"kind": "Job", "metadata": {"name": "certgen"}}
    gateway.install(kubectl, Wanted([{"kind": "Namespace"}], job, [{"kind": "Deployment"}]))
    return [one for one in kubectl.told if not one.startswith("get ")]


def test_the_controller_comes_after_its_certificates() -> None:
    told = installed(Recording(secrets={"envoy": {"ca.crt": "one"}, "hmac": {"secret": "x"}}))
    steps = [one.split()[-1] for one in told]
    assert steps == ["Namespace", "certgen", "Job", "certgen", "Deployment"]
    assert [one.split()[0] for one in told] == ["apply", "delete", "apply", "wait", "apply"]


def test_certificates_of_two_authorities_are_made_again() -> None:
    mixed = Recording(secrets={"envoy": {"ca.crt": "one"}, "envoy-gateway": {"ca.crt": "other"}})
    assert not gateway.certificates_agree(mixed)
    told = installed(mixed)
    assert told[2] == "delete secrets envoy"
    assert told[-1].startswith("delete pods")


def test_what_was_added_is_told_where_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Layout(tmp_path)
    place.pki.mkdir()
    place.data.mkdir()
    place.kubeconfig.touch()
    monkeypatch.setattr(images, "present", lambda _: {"epp:1", "step:1"})
    monkeypatch.setattr(step_image, "image_name", lambda: "step:1")
    nothing = extras.parts(place)
    assert nothing["helm"] is None
    assert nothing["images"]["step"] == "step:1"
    found = {"helm": "/bin/helm", "images": {"epp": "epp:1", "envoy": "envoy:1"}}
    (place.data / "added.json").write_text(json.dumps({"gateway": found}))
    told = extras.parts(place)
    assert told["helm"] == "/bin/helm"
    assert told["images"]["epp"] == "epp:1"
    assert told["images"]["envoy"] is None, "containerd lacks it"


def test_a_flag_of_the_picker_is_one_word() -> None:
    """Of two words, Go's flags end at the second where the flag is true or false."""
    objects = stack.picker("epp", "epp:1", "ns", "pool", "{}", {"secure-serving": "false"})
    (deployment,) = [one for one in objects if one["kind"] == "Deployment"]
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--secure-serving=false" in arguments
    assert all(word.startswith("--") and "=" in word for word in arguments)
