"""Features as other code has them: any kind of array gives the lists of a float32 one, or one sentence."""

import numpy as np
import pytest
import torch

from ensemble import metrics, neighbours, rerank
from tests.features import unit_rows

N_QUERY = 5
X = unit_rows(np.random.default_rng(0), 30, 16)
ONES = np.eye(16)[np.random.default_rng(1).integers(0, 16, 30)]
BROKEN = np.where(np.arange(30)[:, None] == 3, np.nan, X).astype(np.float32)

GOOD = {
    "tensor": lambda x: torch.from_numpy(x),
    "tensor with a gradient": lambda x: torch.from_numpy(x).requires_grad_(),
    "tensor of doubles": lambda x: torch.from_numpy(x).double(),
    "tensor transposed": lambda x: torch.from_numpy(np.ascontiguousarray(x.T)).T,
    "list of tensors": lambda x: [torch.from_numpy(x).requires_grad_()],
    "lists of numbers": lambda x: x.tolist(),
    "rows": lambda x: list(x),
    "rows of tensors": lambda x: list(torch.from_numpy(x).requires_grad_()),
    "one member in lists": lambda x: [x.tolist()],
    "columns first": np.asfortranarray,
    "doubles": lambda x: x.astype(np.float64),
}
WHOLE = {
    "integers": lambda x: x.astype(np.int64),
    "bytes": lambda x: x.astype(np.uint8),
    "float16": lambda x: x.astype(np.float16),
    "float16 tensor": lambda x: torch.from_numpy(x).half(),
    "bfloat16 tensor": lambda x: torch.from_numpy(x).bfloat16(),
}


def ranked(feats):
    """The re-ranked lists, whole ones as blocks, and what of them is right where each image is of its own identity."""
    near = neighbours.nearest(feats, 8, n_query=N_QUERY, top_k=10, device="cpu")
    order, dist = rerank.k_reciprocal(near, feats, N_QUERY, top_k=10, k1=4, k2=2, device="cpu")
    blocks = np.concatenate([b for _, b in rerank.blocks(near, feats, N_QUERY, k1=4, k2=2, device="cpu")])
    pids = np.arange(30) % 5
    score = metrics.evaluate(order, pids[:N_QUERY], pids[N_QUERY:], ap="relevant")
    return order, dist, blocks, score.map


@pytest.mark.parametrize("kind", [*GOOD, *WHOLE])
def test_any_kind_of_array_gives_the_same_lists(kind):
    make, x = (GOOD[kind], X) if kind in GOOD else (WHOLE[kind], ONES)
    for one, other in zip(ranked(make(x)), ranked(x.astype(np.float32)), strict=True):
        np.testing.assert_array_equal(one, other)


WANT = r"an \(N, D\) array, or a sequence of \(N, D_m\) arrays"
BAD = {
    "one image": (X[0], r"member 0 has shape \(16,\): want \(N, D\)"),
    "one image as a tensor": (torch.from_numpy(X[0]), r"member 0 has shape \(16,\): want \(N, D\)"),
    "a stack": (X[None], r"member 0 has shape \(1, 30, 16\): want \(N, D\)"),
    "no images": (X[:0], r"member 0 has shape \(0, 16\): want \(N, D\), one row per image, not empty"),
    "no numbers": (X[:, :0], r"member 0 has shape \(30, 0\): want \(N, D\)"),
    "no members": ([], f"no features: give {WANT}"),
    "other images": ([X, X[:9]], r"member 1 has shape \(9, 16\): want \(30, D\), the same N for all"),
    "NaN": (BROKEN, r"member 0: rows not of unit length: 3 \(norm nan\); L2-normalise"),
    "NaN in a tensor": (torch.from_numpy(BROKEN), r"member 0: rows not of unit length: 3 \(norm nan\)"),
    "NaN in lists": (BROKEN.tolist(), r"member 0: rows not of unit length: 3 \(norm nan\)"),
    "ragged": ([[1.0], [0.6, 0.8]], f"features: list is not an array of one shape: want {WANT}"),
    "truth values": (X > 0, "features of bool: want real numbers"),
    "complex": (X.astype(complex), "features of complex128: want real numbers"),
    "text": ([["a", "b"]], "features of <U1: want real numbers"),
    "a file's name": ("feats.npy", f"features: str is not an array: want {WANT}"),
    "a dict": ({"feats": X}, f"features: dict is not an array: want {WANT}"),
    "nothing": (None, f"features: NoneType is not an array: want {WANT}"),
    "sparse": (torch.from_numpy(X).to_sparse(), f"features: Tensor is not an array of one shape: want {WANT}"),
    "masked": (np.ma.array(X, mask=X > 0.5), f"features: a masked array: fill the masked values, want {WANT}"),
}


@pytest.mark.parametrize("what", BAD)
def test_anything_else_is_one_sentence(what):
    feats, told = BAD[what]
    with pytest.raises(ValueError, match=f"^{told}"):
        neighbours.nearest(feats, 8, n_query=N_QUERY, top_k=10, device="cpu")
