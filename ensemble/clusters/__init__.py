"""Clusters from a sparse graph of distances: which images show one individual. No N x N array is made."""

from ensemble.clusters.pair_graph import PairGraph, graph_of_lists
from ensemble.clusters.registry import METHODS, Method, method_of

__all__ = ["METHODS", "Method", "PairGraph", "graph_of_lists", "method_of"]
