"""What a person sees: the command line, signals, progress, the log of a build."""
