"""Runs the simulator: ``python -m llmatrix.sim``."""

from llmatrix.sim.program import command

if __name__ == "__main__":
    command(prog_name="python -m llmatrix.sim")
