"""The page people look at: a build's scores, its errors query by query, and where it came from."""
