"""What the tests do not notice: one-line faults in a copy of the tree, `python -m tests.mutants`."""
