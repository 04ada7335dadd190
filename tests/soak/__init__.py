"""What a night does to a build, a thousand times over: `python -m tests.soak`."""
