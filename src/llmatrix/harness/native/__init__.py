"""The native harness: one lean process that sends exactly the asked load and times the answers.

This package is imported by the measuring child, which must start fast and stay small: only
``parent`` imports the specification models, and only ``rows`` and ``metrics_text`` (after the
window) import pyarrow and the Prometheus parser.
"""
