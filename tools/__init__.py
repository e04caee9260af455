"""Programs for development, and what tests and benchmarks share."""
