"""k-reciprocal and camera-aware re-ranking, query expansion, whitening, and the table of re-rankers."""

from ensemble.rerank.ca_jaccard import CAJaccard
from ensemble.rerank.k_reciprocal_encoding import KReciprocal, blocks, k_reciprocal
from ensemble.rerank.query_expansion import database, queries
from ensemble.rerank.whitening import Whitener, learn

__all__ = ["CAJaccard", "KReciprocal", "Whitener", "blocks", "database", "k_reciprocal", "learn", "queries"]
