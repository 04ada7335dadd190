"""What a build will make, why, and what it costs."""
