"""Statistics on the dataset: pure functions, no I/O."""
