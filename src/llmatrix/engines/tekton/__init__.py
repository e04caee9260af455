"""The Tekton engine: a plan as PipelineRuns on a Kubernetes cluster."""
