"""The stack of kind llm-d on Kubernetes: one module a layer, and the stack that joins them."""
