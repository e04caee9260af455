"""``llmatrix sim``: the simulated model server and router."""

from llmatrix.sim.program import command

__all__ = ["command"]
