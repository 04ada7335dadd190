"""Curves as SVG that takes its colours from the page."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Figure:
    """One drawing. caption: what to read off it, in a sentence."""

    title: str
    caption: str
    svg: Markup
