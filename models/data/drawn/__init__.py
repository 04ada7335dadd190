"""Drawn people: a procedural data set of pedestrians in Market-1501's layout, made from a seed."""

from models.data.drawn.world import DrawnFolderError, draw_people

__all__ = ["DrawnFolderError", "draw_people"]
