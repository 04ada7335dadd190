"""Pseudo labels: a distance between unlabelled images becomes groups, which another round may train on.

It may use test images, which some competitions forbid: nothing does it unless it is asked for, and what is made with
its labels says so.
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
