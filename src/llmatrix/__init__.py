"""Plan, run and judge LLM-serving experiments."""

__version__ = "0.1.0"
