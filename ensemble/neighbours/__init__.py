"""Distances between images from the members' features, and exact nearest neighbours."""

from ensemble.neighbours.distance_blocks import blocks, rank, ranked, summed
from ensemble.neighbours.distances import DistanceMatrices
from ensemble.neighbours.knn import Neighbours, nearest, nearest_gallery
from ensemble.neighbours.search_cost import DoesNotFit, estimate_search_cost

__all__ = [
    "DistanceMatrices",
    "DoesNotFit",
    "Neighbours",
    "blocks",
    "estimate_search_cost",
    "nearest",
    "nearest_gallery",
    "rank",
    "ranked",
    "summed",
]
