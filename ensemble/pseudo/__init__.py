"""Pseudo labels: unlabelled images are clustered by distance, and another round of training may use the clusters.

Test images may be included, which some competitions forbid. This happens only on request, and signatures say so.
"""

from ensemble.pseudo.clustering import METHODS, clusters, dbscan
from ensemble.pseudo.nearest_label import first_neighbours, loop_search
from ensemble.pseudo.report import Round, describe_round, score_round

__all__ = [
    "METHODS",
    "Round",
    "clusters",
    "dbscan",
    "describe_round",
    "first_neighbours",
    "loop_search",
    "score_round",
]
