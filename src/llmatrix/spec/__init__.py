"""What the user writes: typed models, defaults, and errors that say where."""
