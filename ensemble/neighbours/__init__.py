"""Distances of images by the members' features, and exact nearest neighbours."""

from ensemble.neighbours.distance_blocks import blocks, rank, ranked, summed
from ensemble.neighbours.distances import Distances
from ensemble.neighbours.knn import Neighbours, nearest, nearest_gallery
from ensemble.neighbours.search_cost import DoesNotFit, forecast

__all__ = [
    "Distances",
    "DoesNotFit",
    "Neighbours",
    "blocks",
    "forecast",
    "nearest",
    "nearest_gallery",
    "rank",
    "ranked",
    "summed",
]
