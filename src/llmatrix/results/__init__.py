"""Records, the store that keeps them, and the dataset they make."""
