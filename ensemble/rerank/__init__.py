"""k-reciprocal re-ranking, and query expansion."""

from ensemble.rerank.k_reciprocal_encoding import blocks, k_reciprocal
from ensemble.rerank.query_expansion import database, queries

__all__ = ["blocks", "database", "k_reciprocal", "queries"]
