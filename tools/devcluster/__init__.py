"""A real Kubernetes with a real Tekton on this machine, as plain processes, for the tests."""
