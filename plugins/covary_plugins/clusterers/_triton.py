"""Triton kernels of Lloyd's algorithm: one read of the pixels assigns them and adds them up.

Pixels come as they are stored (uint8, float16 or float32, any strides) and are used as columns of
a tile (features, pixels). Both products of a tile run on tensor cores: with the centres for the
scores, and with the one-hot labels for the sums. Neither distances nor one-hot labels ever reach
memory, there are no atomics, and every sum is taken in a fixed order: results repeat to the bit.

One iteration is three kernels: :func:`assign_and_sum` (or :func:`assign` and :func:`sum_up` where
a tile does not fit on chip), :func:`reduce_sums`, :func:`update`. None of them needs the host:
each returns at once for a run whose ``status`` says that it has stopped.

Precision (``SPLIT``). Stored bytes and half floats are exact in float16, so they go to the tensor
cores as they are, and each centre, scaled to the range of float16, as the sum of two halves: 22
bits of it. The offset moves into the bias of a centre and into the sums, where it is float64.
Stored float32 is taken less the offset, in products of three TF32 terms: 21 bits.

Names: ``n`` pixels, ``features`` D, ``k`` clusters, ``restarts`` R runs, ``lanes`` programs a run.
Constants: ``HEAD`` + ``TAIL`` features of a tile (two powers of two, so that 150 need 160 and not
256; ``TAIL`` may be 0), ``PIXELS`` of a tile, ``KP`` clusters, padded.
"""

# ruff: noqa: N803 (constants of kernels are upper case by Triton's custom)

from __future__ import annotations

import triton
import triton.language as tl

__all__ = [
    "CONVERGED",
    "EMPTY",
    "LIMIT",
    "RUNNING",
    "assign",
    "assign_and_sum",
    "closer",
    "reduce_sums",
    "split_centers",
    "sum_up",
    "update",
]

RUNNING = tl.constexpr(0)
CONVERGED = tl.constexpr(1)
LIMIT = tl.constexpr(2)
"""Updated as often as allowed."""
EMPTY = tl.constexpr(3)
"""A cluster has no pixel: the host has to give it one."""

# Every other value of these would compile the kernels once more, for nothing.
_jit = triton.jit(do_not_specialize=["features", "k", "lanes", "max_iter", "restarts", "trials"])

# Scaled centres stay below the largest float16, 65504, and their low halves above the smallest.
_LARGEST = tl.constexpr(16384.0)


# --- parts of kernels --------------------------------------------------------------------------


@triton.jit
def _load(
    x_ptr, stride_n, stride_d, first, n, offset_ptr, features,
    START, SIZE: tl.constexpr, PIXELS: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """Features START.. of pixels ``first``.., (SIZE, PIXELS): float16, or float32 centred."""
    d = START + tl.arange(0, SIZE)
    p = tl.arange(0, PIXELS)
    # In 64 bits: N*D passes 2^31 at 2048x2048 pixels of 512 features.
    x_ptr += tl.cast(first, tl.int64) * stride_n
    where = d.to(tl.int64)[:, None] * stride_d + p.to(tl.int64)[None, :] * stride_n
    x = tl.load(x_ptr + where, mask=(d < features)[:, None] & (first + p < n)[None, :], other=0)
    if SPLIT:
        x = x.to(tl.float16)
    else:
        x = x.to(tl.float32) - tl.load(offset_ptr + d, mask=d < features, other=0.0)[:, None]
    return x


@triton.jit
def _half(ptr, START, SIZE: tl.constexpr, PADDED: tl.constexpr, KP: tl.constexpr):
    """Features START.. of one half of the centres, (KP, SIZE)."""
    d = START + tl.arange(0, SIZE)
    return tl.load(ptr + tl.arange(0, KP)[:, None] * PADDED + d[None, :])


@triton.jit
def _add_scores(scores, x, high, low, SPLIT: tl.constexpr):
    """``scores`` (PIXELS, KP) and x.c of these features, the small terms first."""
    # Pixels as rows: the one operand of Hopper's products that has to be tall.
    if SPLIT:
        scores = tl.dot(x.T, low.T, scores)
        scores = tl.dot(x.T, high.T, scores)
    else:
        scores = tl.dot(x.T, high.T, scores, input_precision="tf32x3")
    return scores


@triton.jit
def _relabel(scores, bias, labels_ptr, pixels, valid):
    """Store the labels of the best scores, ties to the lowest; they, and which changed (int32)."""
    scores -= bias[None, :]
    # What overflowed is NaN and no maximum finds it: such pixels go to the first cluster.
    scores = tl.where(scores == scores, scores, float("-inf"))
    labels = tl.argmax(scores, axis=1).to(tl.int32)
    before = tl.load(labels_ptr + pixels, mask=valid, other=0)
    tl.store(labels_ptr + pixels, labels, mask=valid)
    return labels, ((before != labels) & valid).to(tl.int32)


@triton.jit
def _add_sums(sums, x, own, SPLIT: tl.constexpr):
    """``sums`` (SIZE, KP) and those of this tile by cluster."""
    # Tensor cores cut off where others round. A program adds up a few thousand pixels, which
    # costs at most 1e-5 of a mean, less than float16 lost in storing it; the rest is float64.
    if SPLIT:
        sums = tl.dot(x, own.to(tl.float16), sums)
    else:
        sums = tl.dot(x, own.to(tl.float32), sums, input_precision="tf32x3")
    return sums


@triton.jit
def _store_sums(sums_ptr, sums, k, features, START, SIZE: tl.constexpr, KP: tl.constexpr):
    """Write (SIZE, KP) to features START.. of (K, D)."""
    d = START + tl.arange(0, SIZE)
    j = tl.arange(0, KP)
    where = j[None, :] * features + d[:, None]
    tl.store(sums_ptr + where, sums, mask=(j < k)[None, :] & (d < features)[:, None])


@triton.jit
def _write_halves(
    centers_ptr, offset_ptr, high_ptr, low_ptr, bias_ptr, k, features,
    KP: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """What the scores need of the float64 centres (K, D) of one run."""
    j = tl.arange(0, KP)
    largest = tl.zeros((KP,), tl.float64)
    norms = tl.zeros((KP,), tl.float64)
    for start in range(0, features, BLOCK):
        d = start + tl.arange(0, BLOCK)
        mask = (j < k)[:, None] & (d < features)[None, :]
        c = tl.load(centers_ptr + j[:, None] * features + d[None, :], mask=mask, other=0.0)
        largest = tl.maximum(largest, tl.max(tl.abs(c), axis=1))
        norms += tl.sum(c * c, axis=1) / 2
        if SPLIT:  # then pixels come with the offset in them
            offset = tl.load(offset_ptr + d, mask=d < features, other=0.0).to(tl.float64)
            norms += tl.sum(c * offset[None, :], axis=1)
    scale = 1.0
    if SPLIT:
        # The same factor for all scores of a pixel changes none of their order.
        scale = _LARGEST / tl.maximum(tl.max(largest, axis=0), 1e-30)
    tl.store(bias_ptr + j, (norms * scale).to(tl.float32), mask=j < k)
    for start in range(0, features, BLOCK):
        d = start + tl.arange(0, BLOCK)
        mask = (j < k)[:, None] & (d < features)[None, :]
        c = tl.load(centers_ptr + j[:, None] * features + d[None, :], mask=mask, other=0.0) * scale
        where = j[:, None] * PADDED + d[None, :]
        if SPLIT:
            high = c.to(tl.float16)
            tl.store(high_ptr + where, high, mask=mask)
            tl.store(low_ptr + where, (c - high.to(tl.float64)).to(tl.float16), mask=mask)
        else:
            tl.store(high_ptr + where, c.to(tl.float32), mask=mask)


# --- kernels over the pixels -------------------------------------------------------------------


@_jit
def assign_and_sum(
    x_ptr, stride_n, stride_d, n, features, offset_ptr, high_ptr, low_ptr, bias_ptr,
    labels_ptr, sums_ptr, counts_ptr, moved_ptr, status_ptr, restarts, k,
    HEAD: tl.constexpr, TAIL: tl.constexpr, KP: tl.constexpr, PIXELS: tl.constexpr,
    STAGES: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """Labels of all pixels; sums, counts and the number of relabelled pixels of each program.

    Grid (R * lanes,): the programs of all runs that share a tile lie side by side, so that it
    comes from memory once and from the second-level cache for the other runs.

    Args:
        x_ptr: (N, D) with these strides.
        high_ptr: (R, KP, HEAD + TAIL), and ``low_ptr``: see :func:`split_centers`.
        bias_ptr: float32 (R, KP), infinite for the padding.
        labels_ptr: int32 (R, N), those of the pass before.
        sums_ptr: float32 (R, lanes, K, D), of the stored values or, unless SPLIT, less the offset.
        counts_ptr: int32 (R, lanes, K).
        moved_ptr: int32 (R, lanes).
        status_ptr: int32 (R,).
    """
    run = tl.program_id(0) % restarts
    lane = tl.program_id(0) // restarts
    lanes = tl.num_programs(0) // restarts
    if tl.load(status_ptr + run) != RUNNING:
        return
    j = tl.arange(0, KP)
    labels_ptr += run.to(tl.int64) * n
    high_ptr += run * KP * (HEAD + TAIL)
    low_ptr += run * KP * (HEAD + TAIL)
    bias = tl.load(bias_ptr + run * KP + j)
    high_head = _half(high_ptr, 0, HEAD, HEAD + TAIL, KP)
    low_head = _half(low_ptr, 0, HEAD, HEAD + TAIL, KP)
    sums_head = tl.zeros((HEAD, KP), tl.float32)
    if TAIL > 0:
        high_tail = _half(high_ptr, HEAD, TAIL, HEAD + TAIL, KP)
        low_tail = _half(low_ptr, HEAD, TAIL, HEAD + TAIL, KP)
        sums_tail = tl.zeros((TAIL, KP), tl.float32)
    # Added up element by element, and over the pixels once at the end.
    counts = tl.zeros((PIXELS, KP), tl.int32)
    moved = tl.zeros((PIXELS,), tl.int32)
    for tile in tl.range(lane, tl.cdiv(n, PIXELS), lanes, num_stages=STAGES):
        first = tile * PIXELS
        pixels = first + tl.arange(0, PIXELS)
        valid = pixels < n
        scores = tl.zeros((PIXELS, KP), tl.float32)
        head = _load(
            x_ptr, stride_n, stride_d, first, n, offset_ptr, features, 0, HEAD, PIXELS, SPLIT
        )
        if TAIL > 0:
            tail = _load(
                x_ptr, stride_n, stride_d, first, n, offset_ptr, features, HEAD, TAIL, PIXELS, SPLIT
            )
            scores = _add_scores(scores, tail, high_tail, low_tail, SPLIT)
        scores = _add_scores(scores, head, high_head, low_head, SPLIT)
        labels, changed = _relabel(scores, bias, labels_ptr, pixels, valid)
        moved += changed
        own = (labels[:, None] == j[None, :]) & valid[:, None]
        counts += own.to(tl.int32)
        sums_head = _add_sums(sums_head, head, own, SPLIT)
        if TAIL > 0:
            sums_tail = _add_sums(sums_tail, tail, own, SPLIT)
    place = run * lanes + lane
    tl.store(counts_ptr + place * k + j, tl.sum(counts, axis=0), mask=j < k)
    tl.store(moved_ptr + place, tl.sum(moved, axis=0))
    sums_ptr += place * k * features
    _store_sums(sums_ptr, sums_head, k, features, 0, HEAD, KP)
    if TAIL > 0:
        _store_sums(sums_ptr, sums_tail, k, features, HEAD, TAIL, KP)


@_jit
def assign(
    x_ptr, stride_n, stride_d, n, features, offset_ptr, high_ptr, low_ptr, bias_ptr,
    labels_ptr, moved_ptr, status_ptr, restarts,
    PADDED: tl.constexpr, BLOCK: tl.constexpr, KP: tl.constexpr, PIXELS: tl.constexpr,
    SPLIT: tl.constexpr,
):  # fmt: skip
    """The first half of :func:`assign_and_sum` for any D, BLOCK features at a time."""
    run = tl.program_id(0) % restarts
    lane = tl.program_id(0) // restarts
    lanes = tl.num_programs(0) // restarts
    if tl.load(status_ptr + run) != RUNNING:
        return
    labels_ptr += run.to(tl.int64) * n
    high_ptr += run * KP * PADDED
    low_ptr += run * KP * PADDED
    bias = tl.load(bias_ptr + run * KP + tl.arange(0, KP))
    moved = tl.zeros((PIXELS,), tl.int32)
    for tile in range(lane, tl.cdiv(n, PIXELS), lanes):
        first = tile * PIXELS
        pixels = first + tl.arange(0, PIXELS)
        valid = pixels < n
        scores = tl.zeros((PIXELS, KP), tl.float32)
        for start in range(0, PADDED, BLOCK):
            x = _load(
                x_ptr,
                stride_n,
                stride_d,
                first,
                n,
                offset_ptr,
                features,
                start,
                BLOCK,
                PIXELS,
                SPLIT,
            )
            high = _half(high_ptr, start, BLOCK, PADDED, KP)
            low = _half(low_ptr, start, BLOCK, PADDED, KP)
            scores = _add_scores(scores, x, high, low, SPLIT)
        _, changed = _relabel(scores, bias, labels_ptr, pixels, valid)
        moved += changed
    tl.store(moved_ptr + run * lanes + lane, tl.sum(moved, axis=0))


@_jit
def sum_up(
    x_ptr, stride_n, stride_d, n, features, offset_ptr, labels_ptr, sums_ptr, counts_ptr,
    status_ptr, restarts, k,
    BLOCK: tl.constexpr, KP: tl.constexpr, PIXELS: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """The second half of :func:`assign_and_sum` for any D; grid (R * lanes, D / BLOCK)."""
    run = tl.program_id(0) % restarts
    lane = tl.program_id(0) // restarts
    lanes = tl.num_programs(0) // restarts
    start = tl.program_id(1) * BLOCK
    if tl.load(status_ptr + run) != RUNNING:
        return
    j = tl.arange(0, KP)
    labels_ptr += run.to(tl.int64) * n
    sums = tl.zeros((BLOCK, KP), tl.float32)
    counts = tl.zeros((PIXELS, KP), tl.int32)
    for tile in range(lane, tl.cdiv(n, PIXELS), lanes):
        first = tile * PIXELS
        pixels = first + tl.arange(0, PIXELS)
        valid = pixels < n
        x = _load(
            x_ptr, stride_n, stride_d, first, n, offset_ptr, features, start, BLOCK, PIXELS, SPLIT
        )
        labels = tl.load(labels_ptr + pixels, mask=valid, other=-1)
        own = labels[:, None] == j[None, :]
        counts += own.to(tl.int32)
        sums = _add_sums(sums, x, own, SPLIT)
    place = run * lanes + lane
    if start == 0:
        tl.store(counts_ptr + place * k + j, tl.sum(counts, axis=0), mask=j < k)
    _store_sums(sums_ptr + place * k * features, sums, k, features, start, BLOCK, KP)


@_jit
def closer(
    x_ptr, stride_n, stride_d, n, features, offset_ptr, points_ptr, labels_ptr, closest_ptr,
    potentials_ptr, trials, k,
    BLOCK: tl.constexpr, PIXELS: tl.constexpr, OWN: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Squared distances to points or to own centres, and their sums tile by tile.

    Differences, not products: exactly zero between equal pixels, and nothing cancels. Grid
    (R * trials * tiles,), tile by tile, so that all points share its way from memory.

    Args:
        x_ptr: (N, D) with these strides.
        points_ptr: float32 (R * trials, D), less the offset; if OWN centres (R, K, D).
        labels_ptr: int32 (R, N), which of the centres a pixel is measured to; unused unless OWN.
        closest_ptr: float32 (R, N), an upper limit; replaced by what was found if KEEP.
        potentials_ptr: float64 (R * trials, tiles).
    """
    tiles = tl.cdiv(n, PIXELS)
    rows = tl.num_programs(0) // tiles
    row = tl.program_id(0) % rows
    tile = tl.program_id(0) // rows
    run = row // trials
    first = tile * PIXELS
    valid = first + tl.arange(0, PIXELS) < n
    pixels = run.to(tl.int64) * n + first + tl.arange(0, PIXELS)
    if OWN:
        point = run * k + tl.load(labels_ptr + pixels, mask=valid, other=0)
    else:
        point = row + tl.zeros((PIXELS,), tl.int32)
    squares = tl.zeros((BLOCK, PIXELS), tl.float32)
    for start in range(0, features, BLOCK):
        d = start + tl.arange(0, BLOCK)
        x = _load(
            x_ptr, stride_n, stride_d, first, n, offset_ptr, features, start, BLOCK, PIXELS, False
        )
        where = point[None, :] * features + d[:, None]
        difference = x - tl.load(points_ptr + where, mask=(d < features)[:, None], other=0.0)
        squares += difference * difference
    limit = tl.load(closest_ptr + pixels, mask=valid, other=0.0)
    distances = tl.minimum(tl.sum(squares, axis=0), limit)
    if KEEP:
        tl.store(closest_ptr + pixels, distances, mask=valid)
    tl.store(potentials_ptr + row * tiles + tile, tl.sum(distances.to(tl.float64), axis=0))


# --- kernels over the centres ------------------------------------------------------------------


@_jit
def split_centers(
    centers_ptr, offset_ptr, high_ptr, low_ptr, bias_ptr, k, features,
    KP: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """What the scores need of the centres of each run; grid (R,).

    Args:
        centers_ptr: float64 (R, K, D), relative to the offset.
        offset_ptr: float32 (D,).
        high_ptr: float16 (R, KP, PADDED), the scaled centres, and ``low_ptr``, what rounding left
            of them; float32 and unused unless SPLIT. Padding is left as it is, zeros.
        bias_ptr: float32 (R, KP): half a squared norm, scaled alike.
    """
    run = tl.program_id(0)
    _write_halves(
        centers_ptr + run * k * features, offset_ptr, high_ptr + run * KP * PADDED,
        low_ptr + run * KP * PADDED, bias_ptr + run * KP, k, features, KP, PADDED, BLOCK, SPLIT,
    )  # fmt: skip


@_jit
def reduce_sums(
    partials_ptr, partial_counts_ptr, offset_ptr, sums_ptr, counts_ptr, status_ptr, lanes, k,
    features, PARTS: tl.constexpr, BLOCK: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """Sums relative to the offset and counts of all lanes; grid (R * K, D / BLOCK).

    Args:
        partials_ptr: float32 (R, lanes, K, D).
        partial_counts_ptr: int32 (R, lanes, K).
        offset_ptr: float32 (D,).
        sums_ptr: float64 (R, K, D).
        counts_ptr: float64 (R, K).
        status_ptr: int32 (R,).
    """
    run = tl.program_id(0) // k
    cluster = tl.program_id(0) % k
    if tl.load(status_ptr + run) != RUNNING:
        return
    d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float64)
    count = tl.zeros((PARTS,), tl.float64)
    for start in range(0, lanes, PARTS):
        part = start + tl.arange(0, PARTS)
        place = (run * lanes + part) * k + cluster
        mask = (part < lanes)[:, None] & (d < features)[None, :]
        where = place[:, None] * features + d[None, :]
        partial = tl.load(partials_ptr + where, mask=mask, other=0.0)
        total += tl.sum(partial.to(tl.float64), axis=0)
        count += tl.load(partial_counts_ptr + place, mask=part < lanes, other=0).to(tl.float64)
    counted = tl.sum(count, axis=0)
    if SPLIT:
        total -= counted * tl.load(offset_ptr + d, mask=d < features, other=0.0).to(tl.float64)
    tl.store(sums_ptr + tl.program_id(0) * features + d, total, mask=d < features)
    if tl.program_id(1) == 0:
        tl.store(counts_ptr + tl.program_id(0), counted)


@_jit
def update(
    sums_ptr, counts_ptr, moved_ptr, centers_ptr, passes_ptr, settled_ptr, status_ptr, tol_ptr,
    offset_ptr, high_ptr, low_ptr, bias_ptr, lanes, max_iter, k, features,
    PARTS: tl.constexpr, KP: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
    SPLIT: tl.constexpr,
):  # fmt: skip
    """Decide whether a run goes on, and if so move its centres to the means; grid (R,).

    The rule of :func:`._lloyd.iterate`. A run that stops keeps the centres its labels belong to.

    Args:
        sums_ptr: float64 (R, K, D), and ``counts_ptr``: float64 (R, K).
        moved_ptr: int32 (R, lanes), pixels relabelled by this pass.
        centers_ptr: float64 (R, K, D), moved in place.
        passes_ptr: int32 (R,), counted up.
        settled_ptr: int32 (R,), whether the last shift of the centres was at most ``tol``.
        status_ptr: int32 (R,), set.
        tol_ptr: float64 (1,); a plain argument would be float32.
        offset_ptr: and the following as in :func:`split_centers`.
        max_iter: updates at most.
    """
    run = tl.program_id(0)
    if tl.load(status_ptr + run) != RUNNING:
        return
    moved = tl.zeros((PARTS,), tl.int32)
    for start in range(0, lanes, PARTS):
        part = start + tl.arange(0, PARTS)
        moved += tl.load(moved_ptr + run * lanes + part, mask=part < lanes, other=0)
    passes = tl.load(passes_ptr + run) + 1
    tl.store(passes_ptr + run, passes)
    j = tl.arange(0, KP)
    counts = tl.load(counts_ptr + run * k + j, mask=j < k, other=1.0)
    still = (tl.sum(moved, axis=0) == 0) | (tl.load(settled_ptr + run) != 0)
    status = tl.where(still, CONVERGED, tl.where(passes > max_iter, LIMIT, RUNNING))
    status = tl.where((passes <= max_iter) & (tl.min(counts, axis=0) == 0), EMPTY, status)
    tl.store(status_ptr + run, status)
    if status != RUNNING:
        return
    shift = tl.zeros((KP,), tl.float64)
    for start in range(0, features, BLOCK):
        d = start + tl.arange(0, BLOCK)
        mask = (j < k)[:, None] & (d < features)[None, :]
        where = (run * k + j)[:, None] * features + d[None, :]
        means = tl.load(sums_ptr + where, mask=mask, other=0.0) / counts[:, None]
        way = means - tl.load(centers_ptr + where, mask=mask, other=0.0)
        shift += tl.sum(way * way, axis=1)
        tl.store(centers_ptr + where, means, mask=mask)
    settled = tl.sum(shift, axis=0) <= tl.load(tol_ptr)
    tl.store(settled_ptr + run, settled.to(tl.int32))
    # Other threads of the program read these centres next.
    tl.debug_barrier()
    _write_halves(
        centers_ptr + run * k * features, offset_ptr, high_ptr + run * KP * PADDED,
        low_ptr + run * KP * PADDED, bias_ptr + run * KP, k, features, KP, PADDED, BLOCK, SPLIT,
    )  # fmt: skip
