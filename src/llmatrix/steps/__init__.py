"""The eight steps and the loop that converges them."""
