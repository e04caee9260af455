"""A model of the Hugging Face Hub, downloaded into a folder: whole, verified, and only once."""
