"""Stripes: ABP's cuts against a search written with loops, and cases whose answer is known by hand."""

import numpy as np
import pytest
import torch

from configs.errors import ConfigError
from models.heads.stripes import adaptive_stripes, equal_stripes, row_maxima


def borders(stripes: torch.Tensor) -> list[list[int]]:
    """Where each stripe begins, for each image; the stripes must follow each other and leave nothing out."""
    result = []
    for image in stripes.tolist():
        rows = [[y for y, there in enumerate(stripe) if there] for stripe in image]
        assert all(rows), "every stripe has a row"
        assert [y for stripe in rows for y in stripe] == list(range(stripes.shape[2]))
        result.append([stripe[0] for stripe in rows])
    return result


def maxima_in(rows: list[int], channels_each: int = 1) -> torch.Tensor:
    """(1, C, h, 2): rows[y] channels have their maximum in row y."""
    height = len(rows)
    maps = [[[1.0 if r == y else 0.1, 0.0] for r in range(height)] for y in range(height) for _ in range(rows[y])]
    return torch.tensor(maps)[None]


def slow_cuts(x: np.ndarray, parts: int) -> list[int]:
    """One image (C, h, w): the same definition with loops."""
    counts = [0] * x.shape[1]
    for channel in x:
        values = [max(row) for row in channel.tolist()]
        if max(values) > min(values):
            counts[values.index(max(values))] += 1
    if not sum(counts):
        counts = [1] * len(counts)
    cuts = [0]
    for k in range(1, parts):
        possible = range(cuts[-1] + 1, len(counts) - (parts - k) + 1)
        cuts.append(min(possible, key=lambda c: (abs(parts * sum(counts[:c]) - k * sum(counts)), c)))
    return cuts


@pytest.mark.parametrize(("height", "parts"), [(8, 2), (16, 3), (7, 7), (5, 2), (16, 1)])
def test_equal_stripes_differ_by_a_row_at_most(height, parts):
    stripes = equal_stripes(height, parts)
    borders(stripes)
    heights = stripes.sum(2)[0].tolist()
    assert max(heights) - min(heights) <= 1 and len(heights) == parts


def test_equal_stripes_by_hand():
    assert borders(equal_stripes(16, 3)) == [[0, 5, 11]]


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(8, 3), (5, 1), (16, 8)])
def test_adaptive_stripes_are_the_slow_ones(parts, shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 40, *shape)).astype(np.float32) * rng.uniform(0.2, 3, (6, 1, shape[0], 1)).astype(
        np.float32
    )
    x[1, :30] = 0  # channels that respond nowhere
    x[2] = 0
    x = np.maximum(x, 0)
    assert borders(adaptive_stripes(torch.from_numpy(x), parts)) == [slow_cuts(image, parts) for image in x]


@pytest.mark.parametrize(
    ("rows", "parts", "wanted"),
    [
        ([5, 5, 5, 5], 2, [0, 2]),
        ([8, 1, 1, 2], 2, [0, 1]),  # 8 of 12 above the first possible cut, 9 above the second
        ([0, 0, 6, 6], 2, [0, 3]),
        ([1, 2, 3, 6, 0, 0], 3, [0, 2, 3]),  # thirds of 12 are 4 and 8: 3 is nearer to 4 than 6, 6 to 8 than 12
        ([3, 3, 3, 3, 3, 3], 3, [0, 2, 4]),
        ([9, 0, 0, 0], 4, [0, 1, 2, 3]),
    ],
)
def test_equal_shares_by_hand(rows, parts, wanted):
    assert borders(adaptive_stripes(maxima_in(rows), parts)) == [wanted]


@pytest.mark.parametrize("row", [0, 3, 7])
@pytest.mark.parametrize("parts", [2, 3, 8])
def test_all_maxima_in_one_row_still_give_valid_stripes(row, parts):
    rows = [0] * 8
    rows[row] = 50
    starts = borders(adaptive_stripes(maxima_in(rows), parts))[0]
    assert len(starts) == parts


def test_a_map_without_any_response_is_cut_into_equal_parts():
    assert borders(adaptive_stripes(torch.zeros(1, 9, 8, 4), 4)) == [[0, 2, 4, 6]]


def test_a_body_lower_in_the_picture_takes_its_cuts_along():
    x = torch.rand(2, 64, 12, 4, generator=torch.Generator().manual_seed(0))
    x[:, :, 8:] = 0
    x[1] = x[1].roll(3, dims=1)
    x[1] = x[0].roll(3, dims=1)
    first, second = borders(adaptive_stripes(x, 3))
    assert [b - a for a, b in zip(first[1:], second[1:], strict=True)] == [3, 3]


def test_rows_of_the_largest_responses():
    x = torch.zeros(1, 4, 3, 2)
    x[0, 0, 1, 0] = 2  # row 1
    x[0, 1, :, 1] = 5  # responds in every row alike: counts nowhere
    x[0, 2, 0, 0] = x[0, 2, 2, 1] = 1  # rows 0 and 2 tie: the upper
    assert row_maxima(x).tolist() == [[1, 1, 0]]


@pytest.mark.parametrize("cut", [lambda: equal_stripes(2, 3), lambda: adaptive_stripes(torch.rand(1, 4, 2, 2), 3)])
def test_more_stripes_than_rows(cut):
    with pytest.raises(ConfigError, match="3 stripes of a feature map of 2 rows: each needs at least one row"):
        cut()
