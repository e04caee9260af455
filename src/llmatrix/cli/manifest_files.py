"""The manifests of a plan as files, and as texts that can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from llmatrix.cluster import yaml_text
from llmatrix.cluster.naming import dns_name
from llmatrix.errors import UserError
from llmatrix.plan.build import Plan
from llmatrix.plan.digest import digest, document_digest
from llmatrix.plan.trial import Trial
from llmatrix.results.claim import default_image
from llmatrix.spec.experiment import Treatment
from llmatrix.stacks import manifests
from llmatrix.stacks.site_address import LONGEST_NAME, SiteAddress

MADE: Final = "# Made by: llmatrix plan --render"
"""How every file begins; one that does is ours to overwrite or remove."""
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._=,-]+")
_LONGEST: Final = 100
"""Characters of a folder's name."""


def deployments(plan: Plan) -> Iterator[tuple[str, Trial]]:
    """Give a name, and a trial, for each distinct deployment, in the order of the file."""
    seen: set[str] = set()
    for trial in map(plan.trial, range(len(plan))):
        model, stack = trial.treatment.model, trial.treatment.stack
        key = digest(document_digest(model), document_digest(stack))
        if key not in seen:
            seen.add(key)
            yield f"{len(seen):02d}{_told(trial.levels)}", trial


def layer_texts(treatment: Treatment, address: SiteAddress) -> dict[str, str]:
    """Write the manifests of each layer: name of a file → its text."""
    found = manifests.of(treatment, address)
    return {f"{step}.yaml": yaml_text.text(objects) for step, objects in found.items()}


def site_of(plan: Plan) -> SiteAddress:
    """Give a site that stands for those that the plan's lanes will have."""
    experiment = plan.experiment
    cluster = experiment.run.cluster
    name = dns_name("llmatrix", experiment.name, limit=LONGEST_NAME)
    home = cluster.namespace or "default"
    return SiteAddress(
        name=name,
        namespace=home if cluster.namespaced else name,
        own_namespace=not cluster.namespaced,
        experiment=experiment.name,
        run="rendered",
        lane=0,
        expires=0,
        home=home,
        account=cluster.service_account,
        image=cluster.image or default_image(),
        pull_policy=cluster.image_pull_policy,
    )


def write(plan: Plan, folder: Path) -> int:
    """Write every manifest of every distinct deployment, a folder each; give how many there are.

    Files of an earlier call go; those of others stay.

    Raises:
        UserError: a file that is not ours would be overwritten, or the folder cannot be written.
    """
    address = site_of(plan)
    written = {
        f"{name}/{file}": f"{MADE}\n{text}"
        for name, trial in deployments(plan)
        for file, text in layer_texts(trial.treatment, address).items()
    }
    try:
        _write(folder, written)
    except OSError as error:
        raise UserError(f"--render {folder}: cannot be written: {error.strerror}") from None
    return len({name.partition("/")[0] for name in written})


def _write(folder: Path, written: Mapping[str, str]) -> None:
    earlier = [path for path in folder.glob("*/*.yaml") if path.is_file()]
    ours = {path for path in earlier if path.read_bytes().startswith(MADE.encode())}
    for name in written:
        if (folder / name).exists() and folder / name not in ours:
            raise UserError(f"{folder / name} is there and was not made by this verb; move it away")
    for path in ours:
        path.unlink()
    for name, text in written.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    for path in {each.parent for each in ours}:
        if not any(path.iterdir()):
            path.rmdir()


def _told(levels: Mapping[str, str]) -> str:
    """Name the levels that shape a deployment, as far as a name of a folder can."""
    shaping = {p: label for p, label in levels.items() if not p.startswith("workload")}
    words = ",".join(f"{p.rpartition('.')[2]}={label}" for p, label in shaping.items())
    fit = _UNFIT.sub("-", words)[:_LONGEST].strip("-.,=")
    return f"-{fit}" if fit else ""
