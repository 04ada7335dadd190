"""What was asked for: YAML, the frozen models it loads into, and the address of every result."""
