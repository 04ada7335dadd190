"""One member: images in, features out."""
