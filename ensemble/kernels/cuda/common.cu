// What several kernels use: ordered keys of floats, exact distances, hash tables in a block's own memory.
//
// Only __syncthreads, __shfl_xor_sync and atomics tie threads together, so that the same text also runs, thread by
// thread, where there is no device (tests/cuda_twin.py).

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

const u32 ALL = 0xffffffffu;
const int EMPTY = -1;

// A float's place among all floats as an unsigned number; -0 is 0.
__device__ u32 ordered(float v) {
    u32 bits = __float_as_uint(v + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ float unordered(u32 u) {
    return __uint_as_float(u & 0x80000000u ? u & 0x7fffffffu : ~u);
}

// Smaller is better: nearer, then lower index.
__device__ u64 key_of(u32 high, int index) {
    return ((u64)high << 32) | (u32)index;
}

// <a, b> of one warp, summed in float64 in an order that depends on the length alone; products of floats are exact.
__device__ double dot(const float* a, const float* b, i64 dims, int wide, int lane) {
    double sum = 0.0;
    if (wide) {
        const float4* x = (const float4*)a;
        const float4* y = (const float4*)b;
#pragma unroll 4
        for (i64 d = lane; d < dims / 4; d += 32) {
            float4 u = x[d], v = y[d];
            sum = fma((double)u.x, (double)v.x, sum);
            sum = fma((double)u.y, (double)v.y, sum);
            sum = fma((double)u.z, (double)v.z, sum);
            sum = fma((double)u.w, (double)v.w, sum);
        }
    } else {
        for (i64 d = lane; d < dims; d += 32) sum = fma((double)a[d], (double)b[d], sum);
    }
    for (int apart = 16; apart > 0; apart /= 2) sum += __shfl_xor_sync(ALL, sum, apart);
    return sum;
}

// Members' features, squared lengths and penalties' labels: pointers in arrays, since there may be any number of them.
struct Members {
    const u64* left;
    const u64* right;
    const u64* squares;
    const i64* dims;
    const int* wide;
    const double* weights;
    int count;
    const u64* labels;
    const double* amounts;
    int penalties;
};

// The summed distance of image i, row `row` of the left features, and image j, row `column` of the right ones.
__device__ float distance(const Members m, i64 row, i64 column, i64 i, i64 j, int lane) {
    double sum = 0.0;
    for (int p = 0; p < m.count; ++p) {
        const float* a = (const float*)m.left[p] + row * m.dims[p];
        const float* b = (const float*)m.right[p] + column * m.dims[p];
        const double* squares = (const double*)m.squares[p];
        sum += m.weights[p] * (1.0 - dot(a, b, m.dims[p], m.wide[p], lane) / sqrt(squares[i] * squares[j]));
    }
    for (int p = 0; p < m.penalties; ++p) {
        const i64* label = (const i64*)m.labels[p];
        if (i != j && label[i] >= 0 && label[i] == label[j]) sum += m.amounts[p];
    }
    return (float)fmax(sum, 0.0);
}

// (d / largest d)^power of one pair; 0 in a row of zeros. As ensemble/kernels/ranked_lists.py.
__device__ float scaled(float dist, float farthest, int power) {
    if (farthest <= 0.0f) return 0.0f;
    float ratio = dist / farthest;
    return power == 1 ? ratio : ratio * ratio;
}

// (1 - lam) J + lam s; t counts in units of 2^-30. As ensemble/kernels/ranked_lists.py.
__device__ float mixed(float s, u32 t, float lam) {
    float shared = (float)t * 9.313225746154785e-10f;
    return s * lam + (1.0f - lam) - (1.0f - lam) * (shared / (2.0f - shared));
}

// Where `key` is in a hash table of `slots` (a power of two), put there if it is not; *fresh says whether it was.
__device__ int slot_of(int* keys, u32 slots, int key, bool* fresh) {
    u32 at = ((u32)key * 2654435761u) & (slots - 1);
    while (true) {
        int there = atomicCAS(&keys[at], EMPTY, key);
        *fresh = there == EMPTY;
        if (there == EMPTY || there == key) return (int)at;
        at = (at + 1) & (slots - 1);
    }
}

// The same where nothing is put in; -1 where it is not there.
__device__ int found_slot(const int* keys, u32 slots, int key) {
    u32 at = ((u32)key * 2654435761u) & (slots - 1);
    while (keys[at] != EMPTY) {
        if (keys[at] == key) return (int)at;
        at = (at + 1) & (slots - 1);
    }
    return -1;
}
