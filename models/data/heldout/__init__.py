"""Parts of the training data that are kept aside to score on."""
