"""Feature banks of the members, and features that other code made."""
