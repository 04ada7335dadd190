"""Members that other code made: files of features or of distances, taken in by the names of their images."""

from ensemble.features.external.save_file import save as save
