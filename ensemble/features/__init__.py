"""Feature banks of the members, and external features."""
