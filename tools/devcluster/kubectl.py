"""The built kubectl, as an administrator of the cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.devcluster.command import output


@dataclass(frozen=True, slots=True)
class Kubectl:
    """One program and one cluster."""

    program: Path
    kubeconfig: Path

    def run(self, *words: str, given: str | None = None) -> str:
        """Run kubectl and give what it printed.

        Raises:
            ClusterFault: it ended with an error.
        """
        return output([self.program, f"--kubeconfig={self.kubeconfig}", *words], given=given)

    def get(self, *words: str) -> Any:
        """Give what ``kubectl get`` finds, as JSON."""
        return json.loads(self.run("get", "-o", "json", *words))

    def apply(self, objects: Sequence[dict[str, Any]]) -> None:
        """Apply the objects in their order, whoever changed them since."""
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        words = ("apply", "--server-side", "--force-conflicts", "--field-manager=devcluster")
        self.run(*words, "-f", "-", given=json.dumps(document))
