"""Members that other code made: files of features or of distances, taken in by the names of their images."""

from ensemble.features.external.save import save as save
