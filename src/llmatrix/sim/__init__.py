"""A simulated model server and router: a program of its own, importing nothing of the rest."""
