"""The Tekton engine: trials carried through their steps in a Kubernetes cluster."""
