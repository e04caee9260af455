"""The Tekton engine: the same trials through the same steps, as Pipelines on a cluster."""
