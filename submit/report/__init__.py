"""The report of a build: scores, errors by query, and provenance."""
