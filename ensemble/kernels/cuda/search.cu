// Neighbour search: half-precision rows, candidates of each row of similarities, their exact distances, ordered lists.

// The nearest half-precision number, as bits, and back.
#ifndef TWIN
__device__ unsigned short half_bits(float v) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
    return bits;
}

__device__ float half_value(unsigned short bits) {
    float v;
    asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits));
    return v;
}
#endif

// Of each row of features the squared length, summed as `dot` sums, so that a copy is at distance 0; and its print, as
// ensemble/kernels/exact_distances.py. A warp a row.
extern "C" __global__ void measure(const float* feats, i64 dims, int wide, i64 rows, double* squares, u64* prints) {
    int lane = threadIdx.x % 32;
    i64 warp = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / 32, warps = (i64)gridDim.x * blockDim.x / 32;
    for (i64 row = warp; row < rows; row += warps) {
        const float* mine = feats + row * dims;
        double square = dot(mine, mine, dims, wide, lane);
        u64 print = 0;
        for (i64 d = lane; d < dims; d += 32)
            print += (u64)__float_as_uint(mine[d]) * ((u64)(2 * d + 1) * 0x9E3779B97F4A7C15ull);
        for (int apart = 16; apart > 0; apart /= 2) print += __shfl_xor_sync(ALL, print, apart);
        if (lane == 0) {
            squares[row] = square;
            prints[row] = print;
        }
    }
}

// A row of features, scaled, in half precision; adds what was lost, squared, to lost[row].
extern "C" __global__ void halve(const float* feats, i64 dims, float scale, unsigned short* out, i64 stride,
                                 double* lost) {
    __shared__ double parts[256];
    const float* row = feats + blockIdx.x * dims;
    double error = 0.0;
    for (i64 d = threadIdx.x; d < dims; d += blockDim.x) {
        float v = row[d] * scale;
        unsigned short bits = half_bits(v);
        double apart = (double)v - (double)half_value(bits);
        error += apart * apart;
        out[blockIdx.x * stride + d] = bits;
    }
    parts[threadIdx.x] = error;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) lost[blockIdx.x] += parts[0];
}

// Takes amount off sim wherever two different images share a label; a label below 0 is shared by none.
extern "C" __global__ void penalise(float* sim, i64 stride, int width, i64 first_row, i64 first_column,
                                    const i64* labels, float amount) {
    i64 i = first_row + blockIdx.x, label = labels[i];
    if (label < 0) return;
    for (int j = threadIdx.x; j < width; j += blockDim.x)
        if (labels[first_column + j] == label && first_column + j != i) sim[blockIdx.x * stride + j] -= amount;
}

// The `want`-th largest of `count` ordered numbers, by its bits, eight at a time.
__device__ u32 nth_largest(const u32* values, int count, u32 want) {
    __shared__ u32 bins[256];
    __shared__ u32 prefix, left;
    if (threadIdx.x == 0) {
        prefix = 0;
        left = want;
    }
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int b = threadIdx.x; b < 256; b += blockDim.x) bins[b] = 0;
        __syncthreads();
        u32 known = prefix, mask = shift == 24 ? 0u : ALL << (shift + 8);
        for (int g = threadIdx.x; g < count; g += blockDim.x)
            if ((values[g] & mask) == known) atomicAdd(&bins[(values[g] >> shift) & 255u], 1u);
        __syncthreads();
        if (threadIdx.x == 0) {
            int b = 255;
            while (bins[b] < left) left -= bins[b--];
            prefix = known | ((u32)b << shift);
        }
        __syncthreads();
    }
    return prefix;
}

// Candidates of a row: all that may be among its k largest, and all that may be its least.
//
// The columns are dealt into `groups`. The k-th largest of the groups' largest is no more than the k-th largest of all,
// so it is a bar, less slack; and only groups whose largest passes it are looked into. -1 is held where more pass than
// fit. floors: a bar known before, per row, or null.
extern "C" __global__ void select_rows(const float* sim, i64 stride, int width, int groups, int k, float slack,
                                       const float* floors, int capacity, int low_capacity, int* where, int* held,
                                       int* low_where, int* low_held) {
    DYNAMIC_SHARED(memory);
    __shared__ u32 lowest;
    __shared__ int count, low_count;
    u32* most = (u32*)memory;
    u32* least = most + groups;
    const float* row = sim + blockIdx.x * stride;
    if (threadIdx.x == 0) {
        lowest = ALL;
        count = low_count = 0;
    }
    __syncthreads();
    u32 mine = ALL;
    for (int g = threadIdx.x; g < groups; g += blockDim.x) {
        u32 high = 0, low = ALL;
#pragma unroll 8
        for (int j = g; j < width; j += groups) {
            u32 u = ordered(row[j]);
            high = u > high ? u : high;
            low = u < low ? u : low;
        }
        most[g] = high;
        least[g] = low;
        mine = low < mine ? low : mine;
    }
    atomicMin(&lowest, mine);
    __syncthreads();
    float bar = unordered(nth_largest(most, groups, k < groups ? k : groups)) - slack;
    float low_bar = unordered(lowest) + slack;
    if (floors) bar = fmaxf(bar, floors[blockIdx.x]);
    for (int g = threadIdx.x; g < groups; g += blockDim.x) {
        if (unordered(most[g]) < bar && unordered(least[g]) > low_bar) continue;
        for (int j = g; j < width; j += groups) {
            float v = row[j];
            if (v >= bar) {
                int at = atomicAdd(&count, 1);
                if (at < capacity) where[(i64)blockIdx.x * capacity + at] = j;
            }
            if (v <= low_bar) {
                int at = atomicAdd(&low_count, 1);
                if (at < low_capacity) low_where[(i64)blockIdx.x * low_capacity + at] = j;
            }
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        held[blockIdx.x] = count <= capacity ? count : -1;
        low_held[blockIdx.x] = low_count <= low_capacity ? low_count : -1;
    }
}

// Exact distances of candidates: row blockIdx.x of the left features to columns `where` of the right ones. A warp a
// candidate.
extern "C" __global__ void rescore(const u64* left, const u64* right, const u64* squares, const i64* dims,
                                   const int* wide, const double* weights, int count, const u64* labels,
                                   const double* amounts, int penalties, i64 left_row, i64 right_row, i64 first_row,
                                   i64 first_column, const int* where, const int* held, int capacity, float* out) {
    Members m = {left, right, squares, dims, wide, weights, count, labels, amounts, penalties};
    int lane = threadIdx.x % 32, warps = blockDim.x / 32;
    for (int c = threadIdx.x / 32; c < held[blockIdx.x]; c += warps) {
        i64 at = (i64)blockIdx.x * capacity + c;
        i64 j = where[at];
        float value = distance(m, left_row + blockIdx.x, right_row + j, first_row + blockIdx.x, first_column + j, lane);
        if (lane == 0) out[at] = value;
    }
}

// The same of pairs (rows[p], columns[p]), p < *pairs and < room, to out[at[p]]; a fixed grid of warps shares them.
extern "C" __global__ void rescore_pairs(const u64* left, const u64* right, const u64* squares, const i64* dims,
                                         const int* wide, const double* weights, int count, const u64* labels,
                                         const double* amounts, int penalties, const int* rows, const int* columns,
                                         const u64* pairs, i64 room, const i64* at, float* out) {
    Members m = {left, right, squares, dims, wide, weights, count, labels, amounts, penalties};
    int lane = threadIdx.x % 32;
    i64 warp = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / 32, warps = (i64)gridDim.x * blockDim.x / 32;
    i64 all = (i64)*pairs < room ? (i64)*pairs : room;
    for (i64 p = warp; p < all; p += warps) {
        float value = distance(m, rows[p], columns[p], rows[p], columns[p], lane);
        if (lane == 0) out[at ? at[p] : p] = value;
    }
}

// The k nearest of a row's candidates and, with `again`, of what its list holds already: order, -1 where there are
// fewer, and dist. farthest: the largest of the low candidates. Rows that hold -1 are left as they are.
extern "C" __global__ void keep_best(const int* where, const float* dists, const int* held, int capacity,
                                     const float* low_dists, const int* low_held, int low_capacity, int first_column,
                                     int again, int k, int* order, float* dist, i64 stride, float* farthest,
                                     u64* scratch, i64 room) {
    DYNAMIC_SHARED(memory);
    u64* keys = scratch ? scratch + blockIdx.x * room : (u64*)memory;
    int new_ones = held[blockIdx.x], low_ones = low_held[blockIdx.x];
    if (new_ones < 0 || low_ones < 0) return;
    int* my_order = order + blockIdx.x * stride;
    float* my_dist = dist + blockIdx.x * stride;
    int old_ones = 0;
    if (again)
        while (old_ones < k && my_order[old_ones] >= 0) ++old_ones;
    int all = old_ones + new_ones;
    for (int e = threadIdx.x; e < all; e += blockDim.x) {
        i64 at = (i64)blockIdx.x * capacity + e - old_ones;
        keys[e] = e < old_ones ? key_of(ordered(my_dist[e]), my_order[e])
                               : key_of(ordered(dists[at]), first_column + where[at]);
    }
    __syncthreads();
    for (int e = threadIdx.x; e < all; e += blockDim.x) {
        u64 mine = keys[e];
        int rank = 0;
        for (int o = 0; o < all; ++o) rank += keys[o] < mine;
        if (rank < k) {
            my_order[rank] = (int)(u32)mine;
            my_dist[rank] = unordered((u32)(mine >> 32));
        }
    }
    for (int p = all + threadIdx.x; p < k; p += blockDim.x) {
        my_order[p] = -1;
        my_dist[p] = __uint_as_float(0x7f800000u);
    }
    if (threadIdx.x == 0) {
        float high = again ? farthest[blockIdx.x] : -__uint_as_float(0x7f800000u);
        for (int e = 0; e < low_ones; ++e) high = fmaxf(high, low_dists[(i64)blockIdx.x * low_capacity + e]);
        farthest[blockIdx.x] = high;
    }
}

// Rows of distances, each within `bound` of the truth, as float32, 0 at least; and the pairs of images whose true value
// may round to another number, with their places in out. *doubts counts them, those beyond `room` too.
extern "C" __global__ void round_rows(const double* dist, int width, double bound, const i64* ids, i64 first_column,
                                      float* out, u64* doubts, i64 room, int* rows, int* columns, i64* at) {
    i64 begin = (i64)blockIdx.x * width;
    for (int j = threadIdx.x; j < width; j += blockDim.x) {
        float low = (float)fmax(0.0, dist[begin + j] - bound), high = (float)fmax(0.0, dist[begin + j] + bound);
        out[begin + j] = low;
        if (low == high) continue;
        i64 doubt = (i64)atomicAdd(doubts, 1ull);
        if (doubt >= room) continue;
        rows[doubt] = (int)ids[blockIdx.x];
        columns[doubt] = (int)first_column + j;
        at[doubt] = begin + j;
    }
}

// Keys of whole rows of distances, and what sorted keys say.
extern "C" __global__ void row_keys(const float* dist, int width, u64* keys) {
    i64 row = (i64)blockIdx.x * width;
    for (int j = threadIdx.x; j < width; j += blockDim.x) keys[row + j] = key_of(ordered(dist[row + j]), j);
}

extern "C" __global__ void split_keys(const u64* keys, i64 stride, int k, int* order, float* dist) {
    for (int p = threadIdx.x; p < k; p += blockDim.x) {
        u64 key = keys[blockIdx.x * stride + p];
        order[(i64)blockIdx.x * k + p] = (int)(u32)key;
        dist[(i64)blockIdx.x * k + p] = unordered((u32)(key >> 32));
    }
}
