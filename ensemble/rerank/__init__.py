"""k-reciprocal re-ranking, query expansion, and the table of re-rankers."""

from ensemble.rerank.k_reciprocal_encoding import KReciprocal, blocks, k_reciprocal
from ensemble.rerank.query_expansion import database, queries

__all__ = ["KReciprocal", "blocks", "database", "k_reciprocal", "queries"]
