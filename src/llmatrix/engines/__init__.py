"""What carries trials through the steps."""
