"""Compiled passes over the pixels: one read assigns, bounds and accumulates.

Everything works on a tile of pixels, converted to float32 planes that stay in a core's second-level
cache: however a summary is stored, the arithmetic after :func:`_load` is the same and runs along
the pixels, sixteen at a time on a wide machine.

The functions release the GIL and start no threads; the caller gives each of its threads a chunk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["BLOCK", "TILE", "assign", "closer", "nearest", "residual"]

TILE = 256
"""Pixels a tile: with 150 features 150 KB in float32."""
BLOCK = 32
"""Neighbours that share a bound; in float16 a cache line of each plane."""

# Float32 values a cache line.
_LINE = 16
# A tile's planes lie this much farther apart than its pixels need: at a power of two they would
# share a few sets of the first-level cache.
_PAD = 16
# Where fewer pixels of a tile than this change hands, they are moved one by one.
_FEW = 16

# Sums may be reordered, which vectorising them takes; infinities keep their meaning.
_MATH = frozenset({"arcp", "contract", "nsz", "reassoc"})


def _jit(function: Any, math: frozenset[str] = _MATH) -> Any:
    """``function``, compiled when it is first called, and kept on disk where anything can be."""
    # numpy's errors are none: to look for a division by zero is not vectorised.
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(math)}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for its cache that may be written
        return njit(**options)(function)


def _jit_least(function: Any) -> Any:
    """As :func:`_jit`, for numbers without NaN: only then is a minimum vectorised."""
    return _jit(function, _MATH | {"nnan"})


@intrinsic
def _widen(typing_context: Any, value: Any) -> Any:
    """A stored value as float32; int16 holds the bits of a float16, which numba does not know."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (given,) = arguments
        if value == types.int16:
            return builder.fpext(builder.bitcast(given, ir.HalfType()), ir.FloatType())
        if value == types.uint8:
            return builder.uitofp(given, ir.FloatType())
        return given

    return types.float32(value), generate


@intrinsic
def _prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Have the cache line of ``array[index]``, of a contiguous array, fetched meanwhile."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        data = context.make_array(array)(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        builder.call(function, [place, word(0), word(3), word(1)])  # to read, keep, data
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@_jit
def _planes(count):
    """Float32 (count, TILE + _PAD) from the start of a cache line: loads across two cost twice."""
    width = TILE + _PAD
    buffer = np.empty(count * width + _LINE, np.float32)
    skip = -(buffer.ctypes.data // 4) % _LINE
    return buffer[skip : skip + count * width].reshape(count, width)


@_jit
def _load(data, planar, start, count, offset, tile, column):
    """``count`` pixels from ``start`` on, less the offset, into ``tile`` from ``column`` on."""
    features = len(offset)
    if planar:
        # Processors foresee few of so many streams, each of which ends after a few lines: the next
        # tile is asked for by hand.
        ahead = min(start + 2 * count, data.shape[1]) if count == TILE else 0
        for d in range(features):
            for p in range(start + count, ahead, BLOCK):
                _prefetch(data[d], p)
            # Slices, because an index that could be negative is not vectorised.
            source, less = data[d, start : start + count], offset[d]
            target = tile[d, column : column + count]
            for p in range(count):
                target[p] = _widen(source[p]) - less
        return
    for first in range(0, count, _LINE):
        some = min(_LINE, count - first)
        source = data[start + first : start + first + some]
        for d in range(features):
            target, less = tile[d, column + first : column + first + some], offset[d]
            for p in range(some):
                target[p] = _widen(source[p, d]) - less


@_jit
def _squares(tile, out):
    """|x|^2 of each pixel."""
    features, count = len(tile), len(out)
    out[:] = 0
    for d in range(0, features - 3, 4):
        a, b, c, e = tile[d], tile[d + 1], tile[d + 2], tile[d + 3]
        for p in range(count):
            out[p] += a[p] * a[p] + b[p] * b[p] + c[p] * c[p] + e[p] * e[p]
    for d in range(features - features % 4, features):
        a = tile[d]
        for p in range(count):
            out[p] += a[p] * a[p]


@_jit
def _score(tile, count, centers, half_norms, out):
    """x.c - |c|^2/2 for each centre and pixel: the largest belongs to the nearest centre."""
    features = len(tile)
    for j in range(len(centers)):
        out[j, :count] = -half_norms[j]
    # Four planes at a time, so that scores are read and written a quarter as often.
    for d in range(0, features - 3, 4):
        a, b, c, e = tile[d], tile[d + 1], tile[d + 2], tile[d + 3]
        for j in range(len(centers)):
            score = out[j]
            wa, wb, wc, we = centers[j, d], centers[j, d + 1], centers[j, d + 2], centers[j, d + 3]
            for p in range(count):
                score[p] += wa * a[p] + wb * b[p] + wc * c[p] + we * e[p]
    for d in range(features - features % 4, features):
        a = tile[d]
        for j in range(len(centers)):
            score, wa = out[j], centers[j, d]
            for p in range(count):
                score[p] += wa * a[p]


@_jit
def _pick(scores, labels, best, second):
    """The label of each pixel's best score, that score and the next; ties go to the lowest."""
    labels[:] = 0
    best[:] = scores[0, : len(labels)]
    second[:] = -np.inf
    for j in range(1, len(scores)):
        score = scores[j]
        for p in range(len(labels)):
            second[p] = max(second[p], min(score[p], best[p]))
            labels[p] = j if score[p] > best[p] else labels[p]
            best[p] = max(score[p], best[p])


@_jit
def _margins(squares, best, second, largest_norm, out):
    """How far all centres together may move before each pixel can change hands.

    The distance to the second nearest centre less that to the nearest (Hamerly 2010), from scores:
    l - u = (l^2 - u^2) / (l + u). Rounding is granted what it can take, so that a label that is
    kept is one that the arithmetic would give again.
    """
    for p in range(len(out)):
        near = np.sqrt(max(squares[p] - 2 * best[p], np.float32(0)))
        far = np.sqrt(max(squares[p] - 2 * second[p], np.float32(0)))
        size = squares[p] + largest_norm
        gap = 2 * (best[p] - second[p]) - np.float32(1e-5) * size
        reach = near + far + np.float32(4e-3) * np.sqrt(size)
        out[p] = gap / (reach + np.float32(1e-30))


@_jit
def _accumulate(tile, new, old, mask, sums, counts):
    """Add each pixel to the sums of its new label and take it from those of its old, if any."""
    features, count = len(tile), len(new)
    for j in range(len(counts)):
        touched = np.float32(0)
        net = np.float32(0)
        for p in range(count):
            mask[p] = np.float32(new[p] == j) - np.float32(old[p] == j)
            touched += abs(mask[p])
            net += mask[p]
        if touched == 0:
            continue
        counts[j] += net
        for d in range(0, features - 3, 4):
            a, b, c, e = tile[d], tile[d + 1], tile[d + 2], tile[d + 3]
            sa, sb, sc, se = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for p in range(count):
                sa += mask[p] * a[p]
                sb += mask[p] * b[p]
                sc += mask[p] * c[p]
                se += mask[p] * e[p]
            sums[j, d] += sa
            sums[j, d + 1] += sb
            sums[j, d + 2] += sc
            sums[j, d + 3] += se
        for d in range(features - features % 4, features):
            a, sa = tile[d], np.float32(0)
            for p in range(count):
                sa += mask[p] * a[p]
            sums[j, d] += sa


@_jit
def _move(tile, new, old, sums, counts):
    """As :func:`_accumulate`, pixel by pixel."""
    for p in range(len(new)):
        if new[p] != old[p]:
            counts[new[p]] += 1
            counts[old[p]] -= 1
            for d in range(len(tile)):
                sums[new[p], d] += tile[d, p]
                sums[old[p], d] -= tile[d, p]


@_jit
def _doubtful(expiry, drift, runs, first, stop, places):
    """Write the first pixels of the next blocks that some run has to look at, a tile at most.

    Returns:
        How many there are, and where to go on.
    """
    filled = 0
    while first < stop and filled < len(places):
        for r in runs:
            if expiry[r, first // BLOCK] <= drift[r]:
                places[filled] = first
                filled += 1
                break
        first += BLOCK
    return filled, first


@_jit
def _load_blocks(data, planar, places, count, offset, tile):
    """The blocks at ``places`` side by side, ``count`` pixels in all."""
    if places[-1] - places[0] == (len(places) - 1) * BLOCK:
        _load(data, planar, places[0], count, offset, tile, 0)
        return
    if planar:
        for d in range(len(offset)):
            for place in places:
                _prefetch(data[d], place)
    for i in range(len(places)):
        some = min(BLOCK, count - i * BLOCK)
        _load(data, planar, places[i], some, offset, tile, i * BLOCK)


@_jit_least
def _least(values):
    """The smallest."""
    least = values[0]
    for p in range(1, len(values)):
        least = min(least, values[p])
    return least


@_jit
def _renew(expiry, drift, blocks, margins):
    """Set until which drift each block may be left alone: that of its most doubtful pixel."""
    for i in range(len(blocks)):
        expiry[blocks[i] // BLOCK] = drift + _least(margins[i * BLOCK : (i + 1) * BLOCK])


@_jit
def _relabel(labels, blocks, new, old):
    """Put the labels ``new`` of a tile in their places; how many differ from the ``old`` ones."""
    count = len(new)
    for i in range(len(blocks)):
        start, shift = i * BLOCK, blocks[i] - i * BLOCK
        for p in range(start, min(start + BLOCK, count)):
            old[p] = labels[p + shift]
            labels[p + shift] = new[p]
    changed = 0
    for p in range(count):
        changed += new[p] != old[p]
    return changed


@_jit
def assign(
    data, planar, start, stop, offset, centers, half_norms, largest_norms, runs, drift, expiry,
    labels, sums, counts, moved,
):  # fmt: skip
    """One pass over pixels start..stop-1 for several runs; blocks that no run needs are not read.

    Args:
        data: uint8, int16 (the bits of float16) or float32, (D, N) if ``planar``, else (N, D).
        planar: which of the two.
        start, stop: a multiple of ``TILE``, and another or N.
        offset: float32 (D,), subtracted from the pixels.
        centers: float32 (R, K, D), relative to the offset.
        half_norms: float32 (R, K), |c|^2/2.
        largest_norms: float32 (R,), the largest |c|^2.
        runs: int64, which of the R runs take part.
        drift: float64 (R,), how far centres have moved in all.
        expiry: float64 (R, blocks), the drift at which a block's labels may change; updated.
        labels: int32 (R, N), -1 before the first pass; updated.
        sums: float64 (R, K, D), to which what changes is added.
        counts: float64 (R, K), the same.
        moved: int64 (R,), pixels that changed hands are added.

    Returns:
        The sum of |x|^2 over the pixels that were read.
    """
    tile, scores, scratch = _planes(len(offset)), _planes(centers.shape[1]), _planes(5)
    ids = np.empty((2, TILE), np.int32)
    places = np.empty(TILE // BLOCK, np.int64)
    total, first = 0.0, start
    while first < stop:
        filled, first = _doubtful(expiry, drift, runs, first, stop, places)
        if filled == 0:
            break
        blocks = places[:filled]
        count = (filled - 1) * BLOCK + min(BLOCK, stop - blocks[-1])
        squares, best, second = scratch[0, :count], scratch[1, :count], scratch[2, :count]
        margins, mask, new, old = (
            scratch[3, :count],
            scratch[4, :count],
            ids[0, :count],
            ids[1, :count],
        )
        _load_blocks(data, planar, blocks, count, offset, tile)
        _squares(tile, squares)
        for p in range(count):
            total += squares[p]
        for r in runs:
            _score(tile, count, centers[r], half_norms[r], scores)
            _pick(scores, new, best, second)
            _margins(squares, best, second, largest_norms[r], margins)
            _renew(expiry[r], drift[r], blocks, margins)
            changed = _relabel(labels[r], blocks, new, old)
            if changed == 0:
                continue
            moved[r] += changed
            if changed < _FEW and old[0] >= 0:
                _move(tile, new, old, sums[r], counts[r])
            else:
                _accumulate(tile, new, old, mask, sums[r], counts[r])
    return total


@_jit
def nearest(data, planar, start, stop, offset, centers, half_norms, labels):
    """Write the labels int32 (N,) of pixels start..stop-1; arguments as in :func:`assign`."""
    tile, scores, scratch = _planes(len(offset)), _planes(len(centers)), _planes(2)
    for first in range(start, stop, TILE):
        count = min(TILE, stop - first)
        _load(data, planar, first, count, offset, tile, 0)
        _score(tile, count, centers, half_norms, scores)
        out = labels[first : first + count]
        _pick(scores, out, scratch[0, :count], scratch[1, :count])


@_jit
def _from_point(tile, point, out):
    """Squared distance of each pixel to one point, exactly zero where they are equal."""
    features, count = len(tile), len(out)
    out[:] = 0
    for d in range(0, features - 3, 4):
        a, b, c, e = tile[d], tile[d + 1], tile[d + 2], tile[d + 3]
        pa, pb, pc, pe = point[d], point[d + 1], point[d + 2], point[d + 3]
        for p in range(count):
            da, db, dc, de = a[p] - pa, b[p] - pb, c[p] - pc, e[p] - pe
            out[p] += da * da + db * db + dc * dc + de * de
    for d in range(features - features % 4, features):
        a, pa = tile[d], point[d]
        for p in range(count):
            out[p] += (a[p] - pa) * (a[p] - pa)


@_jit
def _from_own(tile, centers, labels, scratch, out):
    """Squared distance of each pixel to the centre of its label; a tile has few labels."""
    for j in range(len(centers)):
        present = False
        for p in range(len(labels)):
            present |= labels[p] == j
        if not present:
            continue
        _from_point(tile, centers[j], scratch)
        for p in range(len(labels)):
            out[p] = scratch[p] if labels[p] == j else out[p]


@_jit
def residual(data, planar, start, stop, offset, centers, labels):
    """Squared distances of pixels start..stop-1 to the centre of their label.

    Arguments as in :func:`assign`, but for one run: ``centers`` (K, D), ``labels`` (N,).

    Returns:
        Their sum, the largest, and the first pixel that has it.
    """
    tile, scratch = _planes(len(offset)), _planes(2)
    total, largest, index = 0.0, np.float32(-1), start
    for first in range(start, stop, TILE):
        count = min(TILE, stop - first)
        own, distances = labels[first : first + count], scratch[0, :count]
        _load(data, planar, first, count, offset, tile, 0)
        _from_own(tile, centers, own, scratch[1, :count], distances)
        for p in range(count):
            total += distances[p]
            if distances[p] > largest:
                largest, index = distances[p], first + p
    return total, largest, index


@_jit
def closer(data, planar, start, stop, offset, points, closest, keep, potentials):
    """Squared distances to candidates where they are closer than what is there already.

    Arguments as in :func:`assign`, and:

    Args:
        points: float32 (R, T, D), T candidates a restart.
        closest: float32 (R, N), squared distance to the nearest centre so far.
        keep: whether to write the smaller of the two back to ``closest``; T must be 1.
        potentials: float64 (R, T), to which the sums over pixels are added.
    """
    tile, scratch = _planes(len(offset)), _planes(1)
    for first in range(start, stop, TILE):
        count = min(TILE, stop - first)
        distances = scratch[0, :count]
        _load(data, planar, first, count, offset, tile, 0)
        for r in range(points.shape[0]):
            known = closest[r, first : first + count]
            for t in range(points.shape[1]):
                _from_point(tile, points[r, t], distances)
                total = 0.0
                for p in range(count):
                    distances[p] = min(distances[p], known[p])
                    total += distances[p]
                potentials[r, t] += total
                if keep:
                    known[:] = distances
