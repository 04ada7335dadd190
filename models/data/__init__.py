"""Images and labels: where they lie, how they are read, what training sees of them."""
