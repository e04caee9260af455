"""From factors to treatments, trials and lanes: pure functions, no I/O."""
