"""Distances between images from the members' features, and exact nearest neighbours."""

from ensemble.kernels.left_out import LeftOut, leave_out
from ensemble.neighbours.distance_blocks import blocks, rank, ranked, summed
from ensemble.neighbours.distances import DistanceMatrices
from ensemble.neighbours.knn import Neighbours, nearest, nearest_gallery
from ensemble.neighbours.search_cost import DoesNotFit, estimate_search_cost
from ensemble.neighbours.without import without

__all__ = [
    "DistanceMatrices",
    "DoesNotFit",
    "LeftOut",
    "Neighbours",
    "blocks",
    "estimate_search_cost",
    "leave_out",
    "nearest",
    "nearest_gallery",
    "rank",
    "ranked",
    "summed",
    "without",
]
