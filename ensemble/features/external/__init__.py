"""External members: files of features or distances from other code, matched by image names."""

from ensemble.features.external.save_file import save as save
