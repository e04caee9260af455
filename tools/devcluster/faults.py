"""What can keep the cluster from standing, said so that the reader knows what to do."""

from __future__ import annotations


class ClusterFault(Exception):
    """Something is missing, in the way, or did not become ready; the message says what to do."""


class CannotRunHere(ClusterFault):
    """This machine cannot have the cluster: not Linux, not root, a kernel feature missing."""
