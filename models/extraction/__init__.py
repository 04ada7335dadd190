"""Features of images by a trained member."""
