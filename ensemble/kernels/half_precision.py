"""Features as half-precision tiles, their products, and the exact rounding error.

A tile has 16 images by 32 numbers. A left tile has one image per row. A right tile has pairs of numbers in rows of 16
images, as the instructions need.
Features are scaled by a power of two so that float16 needs no subnormals. Smaller numbers become zero, which the error
includes.
"""

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.amx import (
    FLOAT16,
    bits_of_float16,
    configure,
    from_float16,
    multiply_bfloat16,
    multiply_float16,
    release,
)
from ensemble.kernels.compile import fast, jit
from ensemble.kernels.topk import Floats, Real

Tiles = NDArray[np.uint16]

SMALLEST_FLOAT16 = np.float32(2.0**-14)


@jit
def _float16(x: Real) -> np.uint16:
    """The 16 bits of x as float16, to nearest, ties to even; subnormals become zero."""
    return bits_of_float16(x) if abs(np.float32(x)) >= SMALLEST_FLOAT16 else np.uint16(0)


@jit
def _bfloat16(x: Real) -> np.uint16:
    """The 16 bits of x as bfloat16, to nearest, ties to even."""
    bits = np.float32(x).view(np.uint32)
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


@fast
def _error_float16(row: Floats, scale: Real) -> np.float32:
    error = np.float32(0)
    for d in range(row.size):
        x = row[d] * scale
        lost = x - from_float16(_float16(x))
        error += lost * lost
    return error


@fast
def _error_bfloat16(row: Floats, scale: Real) -> np.float32:
    error = np.float32(0)
    for d in range(row.size):
        x = row[d] * scale
        lost = x - np.uint32(np.uint32(_bfloat16(x)) << np.uint32(16)).view(np.float32)
        error += lost * lost
    return error


@jit
def survey(feats: Floats, start: int, stop: int, scale: Real, kind: int) -> NDArray[np.float64]:
    """(B,) float64 squared rounding error |scale * row - tile|^2, to six digits."""
    error = np.empty(stop - start)
    for i in range(start, stop):
        error[i - start] = _error_float16(feats[i], scale) if kind == FLOAT16 else _error_bfloat16(feats[i], scale)
    return error


@jit
def pack_left(feats: Floats, start: int, stop: int, scale: Real, kind: int, step0: int, out: Tiles) -> None:
    """Write rows start..stop, scaled, as left tiles from step0 of out (groups of 16 rows, steps, 512) uint16."""
    dims = feats.shape[1]
    for i in range(start, stop):
        group, r = (i - start) // 16, (i - start) % 16
        for s in range(dims // 32):
            source, tile = feats[i, 32 * s : 32 * s + 32], out[group, step0 + s, 32 * r : 32 * r + 32]
            if kind == FLOAT16:
                for d in range(32):
                    tile[d] = _float16(source[d] * scale)
            else:
                for d in range(32):
                    tile[d] = _bfloat16(source[d] * scale)
        for d in range(dims // 32 * 32, dims):
            x = feats[i, d] * scale
            out[group, step0 + dims // 32, 32 * r + d % 32] = _float16(x) if kind == FLOAT16 else _bfloat16(x)


@jit
def turn(tiles: Tiles, out: Tiles) -> None:
    """Convert left tiles (groups, steps, 512) to right tiles in out: transpose each tile's 16 x 16 pairs."""
    for g in range(tiles.shape[0]):
        for s in range(tiles.shape[1]):
            pairs, turned = tiles[g, s].view(np.uint32), out[g, s].view(np.uint32)
            for p in range(16):
                for r in range(16):
                    turned[16 * p + r] = pairs[16 * r + p]


@jit
def multiply(left: Tiles, right: Tiles, config: NDArray[np.uint8], kind: int, out: Floats) -> None:
    """out (16 * left groups, 16 * right groups) float32 = left tiles times right tiles; both have an even count.

    config: 64 bytes that set the tile registers to 16 rows of 64 bytes.
    """
    steps = left.shape[1]
    tile, stride = 1024 * steps, 4 * out.shape[1]
    a, b, c = left.ctypes.data, right.ctypes.data, out.ctypes.data
    configure(config.ctypes.data)
    for j0 in range(0, right.shape[0], 16):
        for i in range(0, left.shape[0], 2):
            for j in range(j0, min(right.shape[0], j0 + 16), 2):
                x, y, z = a + i * tile, b + j * tile, c + 16 * i * stride + 64 * j
                if kind == FLOAT16:
                    multiply_float16(x, x + tile, y, y + tile, steps, z, stride)
                else:
                    multiply_bfloat16(x, x + tile, y, y + tile, steps, z, stride)
    release()
