"""The layers of a backbone, for rates by layer and for freezing the first of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Layers(NamedTuple):
    """of: parameter -> its layer; 0 is the stem, then one a block or stage. top: the head's, one above the last."""

    of: Mapping[str, int]
    top: int
