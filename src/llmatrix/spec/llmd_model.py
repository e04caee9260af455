"""The model layer of an llm-d stack: where the model's files come from, and where they lie."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from llmatrix.spec.base import Section
from llmatrix.spec.cluster import OBJECT_NAME, QUANTITY
from llmatrix.spec.stack_parts import IMAGE
from llmatrix.spec.units import PositiveDuration

REPO = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$"
"""OWNER/NAME, as the Hub names its repositories."""
COMMIT = r"^[0-9a-f]{40}$"
PATTERN = r"^[A-Za-z0-9._*?/\[\]!+=, @-]{1,255}$"
"""As the shell's; no `$`, which Kubernetes would put something else in place of."""
URL = r"^https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~/-]*)?$"
"""With no user and no password: what is written here is in every pod's spec."""

Patterns = Annotated[tuple[Annotated[str, Field(pattern=PATTERN)], ...], Field(strict=False)]


class HubToken(Section):
    """Where the token for the Hub is; only the Job that downloads is given it."""

    secret: Annotated[str, Field(pattern=OBJECT_NAME)] = "hf-secret"  # noqa: S105 - its name
    """Name of the secret, in the namespace of the PipelineRuns."""
    key: Annotated[str, Field(pattern=r"^[-._A-Za-z0-9]{1,253}$")] = "HF_TOKEN"
    """Key in it."""


class LlmdModel(Section):
    """Where the servers find the model's files."""

    source: Literal["server", "huggingface", "pvc", "hostpath", "oci"] = "server"
    """`server`: it downloads them itself; `huggingface`: a Job does, once, into a claim; `pvc`: a
    claim that holds them; `hostpath`: a folder of the node; `oci`: an image that holds them."""
    claim: Annotated[str, Field(pattern=OBJECT_NAME)] | None = None
    """With `pvc`, the claim that holds them; with `huggingface`, one to download into, default: it
    is made. It must be in the namespace of the servers."""
    path: Annotated[str, Field(max_length=1024)] | None = None
    """With `pvc`, the model's path on the claim; with `oci`, in the image; with `huggingface`, in
    the repository (llama-cpp: its .gguf file); with `hostpath`, absolute on the node."""
    image: Annotated[str, Field(pattern=IMAGE)] | None = None
    """With `oci`, the image that holds the files; the cluster needs the feature ImageVolume."""
    repo: Annotated[str, Field(pattern=REPO)] | None = None
    """With `huggingface`, the repository; default: model.name."""
    revision: Annotated[str, Field(pattern=COMMIT)] | None = None
    """With `huggingface`, the commit (40 hexadecimal digits): a branch or tag may move on between
    two trials."""
    allow: Patterns = ()
    """With `huggingface`, patterns of the files to take: `["*.safetensors", "*.json"]`; default:
    all, or only `path` where that is a .gguf file."""
    ignore: Patterns = ()
    """With `huggingface`, patterns of files to leave out: `["original/*"]`."""
    size: Annotated[str, Field(pattern=QUANTITY)] = "50Gi"
    """Of the claim that is made."""
    storage_class: Annotated[str, Field(pattern=OBJECT_NAME)] | None = None
    """Class of the claim that is made; default: the cluster's."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = "ReadWriteOnce"
    """Of the claim that is made; servers on several nodes, and lanes that share, need
    `ReadWriteMany`."""
    endpoint: Annotated[str, Field(pattern=URL)] | None = None
    """Of the Hub or a mirror of it; default: https://huggingface.co."""
    token: HubToken | None = None
    """Token for the Hub, for gated and private models."""
    timeout: PositiveDuration = 7200.0
    """Seconds that a download may take; what it has got by then is kept for the next try."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        fields = type(self).model_fields
        given = {name for name in fields if getattr(self, name) != fields[name].default}
        for name in sorted(given - {"source"} - _TAKES[self.source]):
            raise ValueError(f"source: {self.source} takes no {name}")
        for name in _NEEDS[self.source]:
            if getattr(self, name) is None:
                raise ValueError(f"source: {self.source} needs {name}{_WHY.get(name, '')}")
        if self.claim is not None and self.source == "huggingface" and given & _OF_A_CLAIM:
            raise ValueError("claim is there already: leave out size, storage_class, access_mode")
        _hold_path(self.source, self.path or "")
        return self

    @property
    def taken(self) -> tuple[str, ...]:
        """Patterns of the files that are downloaded; none: all."""
        if not self.allow and self.path is not None and self.path.endswith(".gguf"):
            return (self.path,)
        return self.allow


_OF_A_CLAIM: Final = frozenset({"size", "storage_class", "access_mode"})
_TAKES: Final = {
    "server": frozenset[str](),
    "pvc": frozenset({"claim", "path"}),
    "hostpath": frozenset({"path"}),
    "oci": frozenset({"image", "path"}),
    "huggingface": frozenset(
        {"claim", "path", "repo", "revision", "allow", "ignore", "endpoint", "token", "timeout"}
    )
    | _OF_A_CLAIM,
}
_NEEDS: Final = {
    "server": (),
    "pvc": ("claim",),
    "hostpath": ("path",),
    "oci": ("image",),
    "huggingface": ("revision",),
}
_WHY: Final = {
    "revision": ", the commit to load (40 digits, on the repository's page under Files > History)",
    "path": ", an absolute one",
}


def _hold_path(source: str, path: str) -> None:
    if source == "hostpath":
        if not path.startswith("/"):
            raise ValueError("source: hostpath needs path, an absolute one")
    elif path.startswith("/"):
        raise ValueError("path leads out of the volume; write it without a / before and ..")
    if ".." in path.split("/"):
        raise ValueError("path leads out of the volume; write it without a / before and ..")
    if "$(" in path:
        raise ValueError("path has a $( in it, which Kubernetes would put something in place of")
