"""Find weights for a backbone, read them safely, match them by name, and load them."""
