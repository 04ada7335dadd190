"""CUDA C of the neighbour search: a block of threads a row. `kernels/cpu.py` and `kernels/dots.py` are its twins.

`select_rows` finds each row's k-th largest similarity by its bits, eight at a time, and keeps what lies within slack of
it, and of the row's least; -1 is held where that is more than fits. `add_dots` rescores in float64. No warp-level
operations are used, so that the same text also runs, thread by thread, where there is no device.
"""

THREADS = 128

CODE = r"""
__device__ unsigned int ordered(float v) {
    unsigned int bits = __float_as_uint(v);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ float unordered(unsigned int u) {
    return __uint_as_float(u & 0x80000000u ? u & 0x7fffffffu : ~u);
}

extern "C" __global__ void select_rows(const float* sim, long long stride, int width, int k, float slack,
                                       int capacity, int low_capacity, int* where, int* held,
                                       int* low_where, int* low_held) {
    __shared__ unsigned int bins[256];
    __shared__ unsigned int prefix, left, lowest;
    __shared__ int count, low_count;
    const float* row = sim + blockIdx.x * stride;
    if (threadIdx.x == 0) {
        prefix = 0;
        left = k < width ? k : width;
        lowest = 0xffffffffu;
        count = low_count = 0;
    }
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int b = threadIdx.x; b < 256; b += blockDim.x) bins[b] = 0;
        __syncthreads();
        unsigned int known = prefix, mask = shift == 24 ? 0u : 0xffffffffu << (shift + 8);
        unsigned int mine = 0xffffffffu;
        for (int j = threadIdx.x; j < width; j += blockDim.x) {
            unsigned int u = ordered(row[j]);
            mine = u < mine ? u : mine;
            if ((u & mask) == known) atomicAdd(&bins[(u >> shift) & 255u], 1u);
        }
        atomicMin(&lowest, mine);
        __syncthreads();
        if (threadIdx.x == 0) {
            int b = 255;
            while (bins[b] < left) left -= bins[b--];
            prefix = known | ((unsigned int)b << shift);
        }
        __syncthreads();
    }
    float bar = unordered(prefix) - slack, low = unordered(lowest) + slack;
    for (int j = threadIdx.x; j < width; j += blockDim.x) {
        if (row[j] >= bar) {
            int at = atomicAdd(&count, 1);
            if (at < capacity) where[(long long)blockIdx.x * capacity + at] = j;
        }
        if (row[j] <= low) {
            int at = atomicAdd(&low_count, 1);
            if (at < low_capacity) low_where[(long long)blockIdx.x * low_capacity + at] = j;
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        held[blockIdx.x] = count <= capacity ? count : -1;
        low_held[blockIdx.x] = low_count <= low_capacity ? low_count : -1;
    }
}

extern "C" __global__ void add_dots(const float* feats, long long dims, long long first_row, long long first_column,
                                    const int* where, const int* held, int capacity, double weight, double* out) {
    __shared__ double part[128];
    const float* a = feats + (first_row + blockIdx.x) * dims;
    for (int c = 0; c < held[blockIdx.x]; ++c) {
        long long at = (long long)blockIdx.x * capacity + c;
        const float* b = feats + (first_column + where[at]) * dims;
        double sum = 0.0;
        for (long long d = threadIdx.x; d < dims; d += blockDim.x) sum += (double)a[d] * (double)b[d];
        part[threadIdx.x] = sum;
        __syncthreads();
        for (int half = blockDim.x / 2; half > 0; half /= 2) {
            if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
            __syncthreads();
        }
        if (threadIdx.x == 0) out[at] += weight * part[0];
        __syncthreads();
    }
}

extern "C" __global__ void penalise(float* sim, long long stride, int width, long long first_row,
                                    const long long* labels, float amount) {
    long long i = first_row + blockIdx.x, label = labels[i];
    if (label < 0) return;
    for (int j = threadIdx.x; j < width; j += blockDim.x)
        if (labels[j] == label && j != i) sim[blockIdx.x * stride + j] -= amount;
}
"""
