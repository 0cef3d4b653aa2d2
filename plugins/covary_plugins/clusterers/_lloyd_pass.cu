// One pass of Lloyd's algorithm: each pixel is read once, gets the label of its nearest centre and,
// where that label is new, is added to the sums of its cluster and taken from those of its last.
//
// Compiled with CLUSTERS, the number K of clusters, and STORED, the bytes of an element of x:
// 1 for uint8, 2 for float16, 4 for float32.
//
// A block takes THREADS pixels at a time into shared memory. There, first each thread has a pixel
// and goes through its features; then each thread has a feature and goes through the pixels that
// changed hands, in order, so that nothing is added atomically and a run can be repeated exactly.

#define THREADS 128
#define WARPS (THREADS / 32)
// The offset and the K centres of one feature, padded to whole reads of 16 bytes.
#define ROW ((CLUSTERS + 1 + 3) / 4 * 4)

#if STORED == 1
typedef unsigned char element;
__device__ float value_of(element x) { return x; }
#elif STORED == 2
// The bits, because cuda_fp16.h is not at hand wherever the kernel is compiled.
typedef unsigned short element;
#ifdef __CUDACC__
__device__ float value_of(element x) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(x));
    return value;
}
#else
float value_of(element x) { return half_value(x); }
#endif
#else
typedef float element;
__device__ float value_of(element x) { return x; }
#endif

// Elements from one feature of the tile to the next: an odd number of 4-byte words, so that
// neither way of going through it has two threads of a warp wait for one bank.
#define PITCH (THREADS + 4 / STORED)

// Copies `size` pixels from `x` on, neighbouring threads reading neighbouring addresses.
__device__ void load_tile(element* tile, const element* x, int size, int features,
                          long long pixel_stride, long long feature_stride) {
    const int t = threadIdx.x;
    if (feature_stride == 1) {
        for (int p = t / 32; p < size; p += WARPS)
            for (int j = t % 32; j < features; j += 32)
                tile[j * PITCH + p] = x[p * pixel_stride + j];
    } else if (t < size) {
        for (int j = 0; j < features; ++j)
            tile[j * PITCH + t] = x[t * pixel_stride + j * feature_stride];
    }
}

// The label of the pixel in column `t` of the tile; the lowest of equally near ones.
__device__ int nearest(const element* tile, const float4* table, const float* half_norms,
                       int features, int t) {
    float score[CLUSTERS];
#pragma unroll
    for (int k = 0; k < CLUSTERS; ++k) score[k] = -half_norms[k];
    for (int j = 0; j < features; ++j) {
        float row[ROW];
#pragma unroll
        for (int q = 0; q < ROW / 4; ++q) {
            const float4 four = table[j * (ROW / 4) + q];
            row[4 * q] = four.x;
            row[4 * q + 1] = four.y;
            row[4 * q + 2] = four.z;
            row[4 * q + 3] = four.w;
        }
        const float value = value_of(tile[j * PITCH + t]) - row[0];
#pragma unroll
        for (int k = 0; k < CLUSTERS; ++k) score[k] += value * row[k + 1];
    }
    int best = 0;
    float highest = score[0];
#pragma unroll
    for (int k = 1; k < CLUSTERS; ++k) {
        if (score[k] > highest) {
            highest = score[k];
            best = k;
        }
    }
    return best;
}

// Arguments:
//   x             (N, D) with these strides, in elements
//   rows          float (D, ROW): the offset, the centres relative to it, padding
//   half_norms    float (K,): half the squared norms of the centres
//   labels        int (N,): those of the last pass, -1 for none; overwritten
//   changes       float (blocks, K, D + 1), out: of the sums, and of the numbers of pixels
//   moved         int (blocks,), out: pixels that were relabelled
extern "C" __global__ void lloyd_pass(const element* x, long long count, int features,
                                      long long pixel_stride, long long feature_stride,
                                      const float* rows, const float* half_norms, int* labels,
                                      float* changes, int* moved) {
    extern __shared__ float4 memory[];
    const int columns = features + 1;
    float* table = (float*)memory;
    float* change = table + features * ROW;
    int* now = (int*)(change + CLUSTERS * columns);
    int* before = now + THREADS;
    unsigned* masks = (unsigned*)(before + THREADS);
    element* tile = (element*)(masks + WARPS);

    const int t = threadIdx.x;
    for (int i = t; i < features * ROW; i += THREADS) table[i] = rows[i];
    for (int i = t; i < CLUSTERS * columns; i += THREADS) change[i] = 0.0f;

    int relabelled = 0;
    const long long stride = (long long)gridDim.x * THREADS;
    for (long long first = (long long)blockIdx.x * THREADS; first < count; first += stride) {
        const int size = count - first < THREADS ? (int)(count - first) : THREADS;
        load_tile(tile, x + first * pixel_stride, size, features, pixel_stride, feature_stride);
        __syncthreads();

        int label = -1, last = -1;
        if (t < size) {
            label = nearest(tile, memory, half_norms, features, t);
            last = labels[first + t];
            labels[first + t] = label;
        }
        now[t] = label;
        before[t] = last;
        const unsigned mask = __ballot_sync(0xffffffffu, label != last);
        if (t % 32 == 0) masks[t / 32] = mask;
        __syncthreads();

        for (int warp = 0; warp < WARPS; ++warp) relabelled += __popc(masks[warp]);
        for (int j = t; j < columns; j += THREADS) {
            for (int warp = 0; warp < WARPS; ++warp) {
                for (unsigned rest = masks[warp]; rest; rest &= rest - 1) {
                    const int p = 32 * warp + __ffs(rest) - 1;
                    // The column after the features counts the pixels.
                    const float value =
                        j < features ? value_of(tile[j * PITCH + p]) - table[j * ROW] : 1.0f;
                    change[now[p] * columns + j] += value;
                    if (before[p] >= 0) change[before[p] * columns + j] -= value;
                }
            }
        }
        __syncthreads();
    }

    float* mine = changes + (long long)blockIdx.x * CLUSTERS * columns;
    for (int i = t; i < CLUSTERS * columns; i += THREADS) mine[i] = change[i];
    if (t == 0) moved[blockIdx.x] = relabelled;
}
