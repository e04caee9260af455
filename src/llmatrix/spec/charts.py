"""Layers of a stack that the user brings: a chart, manifests or a kustomization.

As the file has them they say how to render; in a resolved document ``rendered`` stands in their
place and says what came of it. So keys and ids hold what is rendered and not how, and a trial
travels without its chart.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from llmatrix.spec.base import NamedContent, Section

WAYS: Final = ("chart", "manifests", "kustomize")
"""The fields by which a layer is brought."""
EXACT: Final = r"^v?[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?$"
_OBJECT_NAME: Final = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
_FILE: Final = r"^[^-\s]"

File = Annotated[str, Field(pattern=_FILE, max_length=1024)]


class Chart(Section):
    """A Helm chart, rendered on this machine by `helm template`."""

    source: File
    """`oci://…/NAME`, the URL of a repository, or a folder seen from the experiment file."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$")] | None = None
    """Of the chart; with the URL of a repository, and only there."""
    version: Annotated[str, Field(pattern=EXACT)] | None = None
    """Exact version; needed unless the source is a folder."""
    values: dict[str, Any] = {}
    """Values of the chart; factor paths lead into them, `\\.` being a dot in a key."""
    values_files: Annotated[tuple[File, ...], Field(strict=False)] = ()
    """Files of values, each over those before it, and `values` over all."""
    api_versions: Annotated[tuple[File, ...], Field(strict=False)] = ()
    """APIs that the chart may take for given: `[gateway.networking.k8s.io/v1]`."""

    @property
    def remote(self) -> bool:
        """Whether it is fetched from elsewhere."""
        return "://" in self.source

    @model_validator(mode="after")
    def _whole(self) -> Self:
        scheme = self.source.partition("://")[0] if self.remote else ""
        if scheme not in {"", "oci", "https", "http"}:
            raise ValueError("source must be oci://…, the URL of a repository, or a folder")
        if self.remote and urlsplit(self.source).username is not None:
            raise ValueError("source has a password in it; use helm registry login instead")
        if (scheme in {"https", "http"}) != (self.name is not None):
            raise ValueError("name is needed with the URL of a repository, and only there")
        if self.remote == (self.version is None):
            raise ValueError("version must be pinned unless source is a folder, and only then")
        return self


class Rendered(NamedContent):
    """What a brought layer renders to."""

    WRITTEN: ClassVar[bool] = False

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Hash of its objects as canonical JSON."""
    accelerators: int = 0
    """That its pods ask for together."""
    text: str = Field(default="", exclude=True)
    """The objects, where it was rendered; on a cluster they are in a ConfigMap."""


class Brought(Section):
    """A layer that the user may bring instead of taking the preset."""

    PRESET: ClassVar[frozenset[str]] = frozenset()
    """Fields that say how the preset is deployed, and nothing to a layer that is brought."""

    chart: Chart | None = None
    """A Helm chart instead of the preset."""
    manifests: Annotated[tuple[File, ...], Field(strict=False)] = ()
    """Files of manifests instead of the preset, seen from the experiment file."""
    kustomize: File | None = None
    """Folder of a kustomization instead of the preset."""
    rendered: SkipJsonSchema[Rendered | None] = None
    """Stands in a resolved document for the three above."""

    @property
    def way(self) -> str | None:
        """Which of the three it is brought by, before it is rendered."""
        return next((way for way in WAYS if getattr(self, way)), None)

    @property
    def brought(self) -> bool:
        """Whether it is brought, rendered or not."""
        return self.rendered is not None or self.way is not None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [way for way in WAYS if getattr(self, way)]
        if len(ways) + (self.rendered is not None) > 1:
            raise ValueError("takes one of chart, manifests and kustomize")
        fields = type(self).model_fields
        for name in sorted(self.PRESET if self.brought else ()):
            if getattr(self, name) != fields[name].default:
                raise ValueError(
                    f"has {name}, which is the preset's; with {ways[0] if ways else 'chart'} it "
                    f"belongs into what is rendered"
                )
        return self


class Fronted(Brought):
    """A brought layer that others speak to."""

    service: Annotated[str, Field(pattern=_OBJECT_NAME)] | None = None
    """With a chart or manifests: the Service that is spoken to, if there are several."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """With a chart or manifests: the port of that Service, if it has several."""

    @model_validator(mode="after")
    def _told_of_what_is_brought(self) -> Self:
        if not self.brought and (self.service is not None or self.port is not None):
            raise ValueError("has service or port, which tell of a chart or of manifests")
        return self
