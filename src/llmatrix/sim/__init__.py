"""A simulated model server and router: a program of its own, importing nothing of the rest."""

from typing import Final

BEHAVIOUR: Final = "2"
"""Changes whenever the same traffic would be served differently, so that no two are compared."""
