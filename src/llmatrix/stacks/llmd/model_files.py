"""Where the pods of an llm-d stack find the model's files, wherever they come from."""

from __future__ import annotations

from typing import Any, Final

from llmatrix.cluster.kinds import Object
from llmatrix.cluster.naming import dns_name, short_hash
from llmatrix.plan.digest import canonical
from llmatrix.spec.llmd_model import LlmdModel
from llmatrix.stacks.hub.wanted import Wanted
from llmatrix.stacks.site_address import SiteAddress

FOLDER: Final = "/models"
"""Where the files are mounted."""
_KEPT: Final = "llmatrix-model"


def wanted(model: str, files: LlmdModel) -> Wanted:
    """Give what is downloaded from the Hub for a model of this name."""
    return Wanted(files.repo or model, files.revision or "", files.taken, files.ignore)


def claim(model: str, files: LlmdModel, address: SiteAddress) -> str:
    """Name the claim that holds the files, with ``pvc`` and ``huggingface``.

    One that is made lies in the site's own namespace and holds all models of the lane; in a
    namespace that sites share, one for each model outlives them. There lanes share it if its
    access mode lets them, since they may be on different nodes.
    """
    if files.claim is not None:
        return files.claim
    layout = canonical([files.size, files.storage_class, files.access_mode])
    if address.own_namespace:
        return f"model-{short_hash(layout)}"
    lane = [] if files.access_mode == "ReadWriteMany" else [str(address.lane)]
    return dns_name(_KEPT, short_hash(layout, wanted(model, files).folder), *lane)


def mounted(
    model: str, files: LlmdModel, address: SiteAddress
) -> tuple[list[Object], list[Object]]:
    """Give the volume of the files and where it is mounted; none where the server fetches them."""
    volume: dict[str, Any] = {"name": "model"}
    if files.source == "server":
        return [], []
    if files.source == "hostpath":
        volume["hostPath"] = {"path": files.path}
    elif files.source == "oci":
        volume["image"] = {"reference": files.image, "pullPolicy": "IfNotPresent"}
    else:
        name = claim(model, files, address)
        volume["persistentVolumeClaim"] = {"claimName": name, "readOnly": True}
    return [volume], [{"name": "model", "mountPath": FOLDER, "readOnly": True}]


def path(model: str, files: LlmdModel) -> str:
    """Give where a pod has the file or folder to load; "" where the server fetches it."""
    if files.source == "server":
        return ""
    inside = [] if files.source == "hostpath" or not files.path else [files.path]
    if files.source == "huggingface":
        inside = [wanted(model, files).folder, *inside]
    return "/".join([FOLDER, *inside])
