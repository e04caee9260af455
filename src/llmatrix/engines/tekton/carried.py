"""What trials need and their documents do not hold, carried beside the PipelineRuns.

What brought layers render to, tokenizers, and recorded traffic of more than a few KiB: each is
kept by its hash in ConfigMaps of the home namespace (``cluster.carriers``), once for an
experiment, whatever the number of trials that name it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from llmatrix.cluster import carriers, labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import Refused
from llmatrix.cluster.kinds import CONFIG_MAP, Object
from llmatrix.cluster.naming import label_value
from llmatrix.engines.tekton.refusals import place
from llmatrix.engines.tekton.sites import Piece
from llmatrix.errors import Problem, SpecError
from llmatrix.plan.build import Plan
from llmatrix.plan.trial import Trial
from llmatrix.spec.charts import Rendered
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.files import read_bytes
from llmatrix.spec.llmd import LlmdStack
from llmatrix.spec.named_files import NamedFile, left_out
from llmatrix.stacks.llmd import layers

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of all that is carried for an experiment, compressed: etcd is not made for files."""


@dataclass(frozen=True, slots=True)
class Content:
    """Something that a treatment's document knows by its hash only.

    Attributes:
        field: dotted path of what it is the content of.
        digest: SHA-256 of it, in hexadecimal.
        read: gives it, on the machine that planned the treatment; raises ``ValueError`` with what
            is wrong in words.
    """

    field: str
    digest: str
    read: Callable[[], bytes]


def contents(treatment: Treatment) -> Iterator[Content]:
    """Give what the steps of a treatment's trials need besides its document."""
    for field, rendered in _rendered_layers(treatment.stack):
        yield Content(field, rendered.sha256, rendered.text.encode)
    for file in left_out(treatment):
        yield Content(file.field, file.sha256, partial(_read, file))


def carries(plan: Plan) -> bool:
    """Tell whether any trial of a plan needs more than its document."""
    return any(True for trial in plan for _ in contents(trial.treatment))


def config_maps(plan: Plan, trials: Iterable[Trial], home: str, expires: int) -> list[Object]:
    """Give the ConfigMaps that trials of a plan need, each content once.

    Args:
        plan: that the trials are of.
        trials: that are to be run.
        home: namespace for the ConfigMaps.
        expires: POSIX second after which nobody wants them.

    Raises:
        SpecError: a file is gone, or is another by now, or all together are too large.
    """
    wanted = {each.digest: each for trial in trials for each in contents(trial.treatment)}
    found: list[Object] = []
    room = MOST_BYTES
    for digest in sorted(wanted):
        compressed = _packed(plan, wanted[digest], room)
        room -= len(compressed)
        found += carriers.config_maps(
            plan.experiment.name, digest, compressed, namespace=home, expires=expires
        )
    return found


def standing(cluster: Cluster, home: str, experiment: str | None = None) -> list[Object]:
    """Give the ConfigMaps that stand, of one experiment or of all, without what they hold.

    None that we may not see.
    """
    of = {} if experiment is None else {labels.EXPERIMENT: label_value(experiment)}
    try:
        return cluster.find_metadata(CONFIG_MAP, home, {**carriers.SELECTION, **of})
    except Refused:
        return []


def pieces(found: Iterable[Object]) -> list[Piece]:
    """Refer to ConfigMaps so that they can be removed."""
    return [Piece.of(CONFIG_MAP, each) for each in found]


def _rendered_layers(stack: object) -> Iterator[tuple[str, Rendered]]:
    if not isinstance(stack, LlmdStack):
        return
    for step in layers.BRINGABLE:
        rendered = layers.layer(stack, step).rendered
        if rendered is not None:
            yield f"stack.{step}", rendered


def _read(file: NamedFile) -> bytes:
    try:
        return read_bytes(file.place, limit=file.most)
    except ValueError as error:
        raise ValueError(f"{file.place}, which was read for the plan, {error}") from None


def _checked(content: Content) -> bytes:
    """Give a content that still is what the trials were planned with.

    Raises:
        ValueError: it is not.
    """
    plain = content.read()
    if carriers.sha256(plain) != content.digest:
        raise ValueError("its content has changed since the trials were planned; run again")
    return plain


def _packed(plan: Plan, content: Content, room: int) -> bytes:
    try:
        plain = _checked(content)
    except ValueError as error:
        raise SpecError(Problem(place(plan, content.field), content.field, f"{error}.")) from None
    compressed = carriers.packed(plain, room)
    if compressed is not None:
        return compressed
    message = (
        f"with this, what the trials need of files is more than {MOST_BYTES // 1024**2} MiB, "
        f"compressed, and cannot be brought to the steps on the cluster."
    )
    advice = "Take a smaller file, or fewer of them, or set run.engine: local."
    raise SpecError(Problem(place(plan, content.field), content.field, message, advice))
