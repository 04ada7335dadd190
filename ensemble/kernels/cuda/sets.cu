// The sparse steps of k-reciprocal re-ranking (Zhong, Zheng, Cao & Li, CVPR 2017), as ensemble/kernels/reciprocal_sets.py.
//
// Weights are whole numbers in units of 2^-30, so that a sum is the same in any order. A block of threads a row,
// from `first` on; rows that need more room than a block's own memory use `scratch`.

// Each row's c-reciprocal neighbours: members (n, c), the first size[row] of each valid.
extern "C" __global__ void reciprocal(const int* order, i64 stride, int c, int* members, int* size) {
    __shared__ int count;
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    i64 row = blockIdx.x;
    for (int p = threadIdx.x; p < c; p += blockDim.x) {
        int j = order[row * stride + p];
        for (int q = 0; q < c; ++q) {
            if (order[j * stride + q] == row) {
                members[row * c + atomicAdd(&count, 1)] = j;
                break;
            }
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) size[row] = count;
}

const int IN_SET = 1 << 30, JOINED = 1 << 29, NOT_LISTED = (1 << 29) - 1;

// Reciprocal sets joined by those half sets that lie in them by more than two thirds, with the distances that the
// row's own list knows; the others are written down as gaps.
//
// Row i's members are [start[i], start[i] + size[i]) of `members` and `dist`, the rows in any order. totals: members,
// gaps, the largest set; what is over `room` or `gap_room` is counted and not written.
extern "C" __global__ void expand(i64 first, const int* order, const float* list_dist, i64 stride, int k, const int* full,
                                  const int* full_size, int c, const int* half, const int* half_size, int h,
                                  int slots, int* scratch, u64* totals, i64 room, i64 gap_room, i64* start, int* size,
                                  int* members, float* dist, int* gap_row, int* gap_column, i64* gap_at) {
    DYNAMIC_SHARED(memory);
    __shared__ int count, written, first_gap_count;
    __shared__ u64 begin, first_gap;
    int* keys = scratch ? scratch + (i64)blockIdx.x * (2 * slots + c) : (int*)memory;
    int* state = keys + slots;
    int* shared_ones = state + slots;
    i64 row = first + blockIdx.x;
    const int* mine = full + row * c;
    int my_size = full_size[row];
    for (int s = threadIdx.x; s < slots; s += blockDim.x) {
        keys[s] = EMPTY;
        state[s] = NOT_LISTED;
    }
    for (int p = threadIdx.x; p < c; p += blockDim.x) shared_ones[p] = 0;
    if (threadIdx.x == 0) count = written = first_gap_count = 0;
    __syncthreads();
    bool fresh;
    for (int p = threadIdx.x; p < k; p += blockDim.x)
        state[slot_of(keys, slots, order[row * stride + p], &fresh)] = p;
    __syncthreads();
    for (int p = threadIdx.x; p < my_size; p += blockDim.x) state[found_slot(keys, slots, mine[p])] |= IN_SET;
    __syncthreads();
    for (int e = threadIdx.x; e < my_size * h; e += blockDim.x) {
        int p = e / h, q = e % h;
        i64 j = mine[p];
        if (q >= half_size[j]) continue;
        int at = found_slot(keys, slots, half[j * h + q]);
        if (at >= 0 && state[at] & IN_SET) atomicAdd(&shared_ones[p], 1);
    }
    __syncthreads();
    for (int e = threadIdx.x; e < my_size * h; e += blockDim.x) {
        int p = e / h, q = e % h;
        i64 j = mine[p];
        if (q >= half_size[j] || 3 * shared_ones[p] <= 2 * half_size[j]) continue;
        atomicOr(&state[slot_of(keys, slots, half[j * h + q], &fresh)], JOINED);
    }
    __syncthreads();
    for (int s = threadIdx.x; s < slots; s += blockDim.x) {
        if (!(state[s] & (IN_SET | JOINED))) continue;
        atomicAdd(&count, 1);
        if ((state[s] & NOT_LISTED) == NOT_LISTED) atomicAdd(&first_gap_count, 1);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        begin = atomicAdd(&totals[0], (u64)count);
        first_gap = atomicAdd(&totals[1], (u64)first_gap_count);
        atomicMax(&totals[2], (u64)count);
        start[row] = (i64)begin;
        size[row] = count;
        first_gap_count = 0;
    }
    __syncthreads();
    if ((i64)begin + count > room) return;
    for (int s = threadIdx.x; s < slots; s += blockDim.x) {
        if (!(state[s] & (IN_SET | JOINED))) continue;
        i64 at = (i64)begin + atomicAdd(&written, 1);
        int place = state[s] & NOT_LISTED;
        members[at] = keys[s];
        if (place != NOT_LISTED) {
            dist[at] = list_dist[row * stride + place];
            continue;
        }
        i64 gap = (i64)first_gap + atomicAdd(&first_gap_count, 1);
        if (gap >= gap_room) continue;
        gap_row[gap] = (int)row;
        gap_column[gap] = keys[s];
        gap_at[gap] = at;
    }
}

// exp(1/2 - s) for s from 0 to 1, within 1.3e-11, by the same steps as ensemble/kernels/reciprocal_sets.py, so to the same bits.
__device__ double falling(float s) {
    double x = 0.5 - (double)s, sum = 1.0 / 3628800.0;
    sum = sum * x + 1.0 / 362880.0;
    sum = sum * x + 1.0 / 40320.0;
    sum = sum * x + 1.0 / 5040.0;
    sum = sum * x + 1.0 / 720.0;
    sum = sum * x + 1.0 / 120.0;
    sum = sum * x + 1.0 / 24.0;
    sum = sum * x + 1.0 / 6.0;
    sum = sum * x + 0.5;
    sum = sum * x + 1.0;
    return sum * x + 1.0;
}

// Weights of a row's members: exp(-s) over the row's sum, times `unit`, rounded.
extern "C" __global__ void weigh(const i64* start, const int* size, const float* dist, const float* farthest, int power,
                                 double unit, u32* weights) {
    __shared__ u64 sum;
    i64 row = blockIdx.x, begin = start[row];
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    u64 mine = 0;
    for (int e = threadIdx.x; e < size[row]; e += blockDim.x)
        mine += (u64)(falling(scaled(dist[begin + e], farthest[row], power)) * 4294967296.0 + 0.5);
    atomicAdd(&sum, mine);
    __syncthreads();
    for (int e = threadIdx.x; e < size[row]; e += blockDim.x) {
        double whole = (double)(u64)(falling(scaled(dist[begin + e], farthest[row], power)) * 4294967296.0 + 0.5);
        weights[begin + e] = (u32)(whole * unit / (double)sum + 0.5);
    }
}

// The sum of the rows of a row's first k2 neighbours, which bear weights already divided by k2.
extern "C" __global__ void average(i64 first, const int* order, i64 stride, int k2, const i64* start, const int* size,
                                   const int* members, const u32* weights, int slots, int* scratch, u64* total,
                                   i64* out_start, int* out_size, int* out_members, u32* out_weights) {
    DYNAMIC_SHARED(memory);
    __shared__ int count, written;
    __shared__ u64 begin;
    int* keys = scratch ? scratch + (i64)blockIdx.x * 2 * slots : (int*)memory;
    u32* sums = (u32*)(keys + slots);
    i64 row = first + blockIdx.x;
    for (int s = threadIdx.x; s < slots; s += blockDim.x) {
        keys[s] = EMPTY;
        sums[s] = 0;
    }
    if (threadIdx.x == 0) count = written = 0;
    __syncthreads();
    for (int p = threadIdx.x / 32; p < k2; p += blockDim.x / 32) {
        i64 j = order[row * stride + p];
        for (int e = threadIdx.x % 32; e < size[j]; e += 32) {
            bool fresh;
            int at = slot_of(keys, slots, members[start[j] + e], &fresh);
            if (fresh) atomicAdd(&count, 1);
            atomicAdd(&sums[at], weights[start[j] + e]);
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        begin = atomicAdd(total, (u64)count);
        out_start[row] = (i64)begin;
        out_size[row] = count;
    }
    __syncthreads();
    for (int s = threadIdx.x; s < slots; s += blockDim.x) {
        if (keys[s] == EMPTY) continue;
        i64 at = (i64)begin + atomicAdd(&written, 1);
        out_members[at] = keys[s];
        out_weights[at] = sums[s];
    }
}

// Columns of the gallery's rows: how many have each, then which and how much.
extern "C" __global__ void count_columns(const i64* start, const int* size, const int* members, int first, int* counts) {
    i64 row = first + blockIdx.x;
    for (int e = threadIdx.x; e < size[row]; e += blockDim.x) atomicAdd(&counts[members[start[row] + e]], 1);
}

extern "C" __global__ void fill_columns(const i64* start, const int* size, const int* members, const u32* weights,
                                        int first, u64* cursor, int* rows, u32* values) {
    i64 row = first + blockIdx.x;
    for (int e = threadIdx.x; e < size[row]; e += blockDim.x) {
        i64 at = (i64)atomicAdd(&cursor[members[start[row] + e]], 1ull);
        rows[at] = blockIdx.x;
        values[at] = weights[start[row] + e];
    }
}

// t = sum_c min(V(q, c), V(g, c)) of one query with every gallery image, into t (zeros before); `touched` lists where.
__device__ void add_overlaps(i64 query, const i64* start, const int* size, const int* members, const u32* weights,
                             const i64* columns, const int* rows, const u32* values, u32* t, int* touched, int* count) {
    for (int e = threadIdx.x / 32; e < size[query]; e += blockDim.x / 32) {
        int c = members[start[query] + e];
        u32 mine = weights[start[query] + e];
        for (i64 f = columns[c] + threadIdx.x % 32; f < columns[c + 1]; f += 32) {
            u32 shared = mine < values[f] ? mine : values[f];
            if (shared && atomicAdd(&t[rows[f]], shared) == 0) touched[atomicAdd(count, 1)] = rows[f];
        }
    }
}

// Of each query's `wide` nearest gallery images by s: their overlap, near_t; and those that overlap without being among
// them and may still enter the first k. What is not among them is no nearer than the last of them, so that its final
// distance has a lower bound; k listed ones have an upper.
//
// A few blocks take the queries in turn. t, touched: (blocks, n_gallery) each, t zeros, which it is again afterwards.
// totals: extras, the most of a query; what is over `room` is counted and not written.
extern "C" __global__ void overlap_lists(int n_query, int n_gallery, const i64* start, const int* size,
                                         const int* members, const u32* weights, const i64* columns, const int* rows,
                                         const u32* values, const int* near, const float* near_dist, i64 near_stride,
                                         int wide, int k, const float* farthest, int power, float lam, u32* t,
                                         int* touched, u32* near_t, u64* totals, i64 room, i64* extra_start,
                                         int* extra_size, int* extra_query, int* extra_image, u32* extra_t) {
    __shared__ int count, extras, written;
    __shared__ u32 last;
    __shared__ u64 begin;
    u32* my_t = t + (i64)blockIdx.x * n_gallery;
    int* mine = touched + (i64)blockIdx.x * n_gallery;
    for (i64 query = blockIdx.x; query < n_query; query += gridDim.x) {
        __syncthreads();
        if (threadIdx.x == 0) count = extras = written = last = 0;
        __syncthreads();
        add_overlaps(query, start, size, members, weights, columns, rows, values, my_t, mine, &count);
        __syncthreads();
        const int* listed = near + query * near_stride;
        const float* dists = near_dist + query * near_stride;
        for (int p = threadIdx.x; p < wide; p += blockDim.x) {
            u32 shared = atomicExch(&my_t[listed[p]], 0u);
            near_t[query * wide + p] = shared;
            if (p < k) atomicMax(&last, ordered(mixed(scaled(dists[p], farthest[query], power), shared, lam)));
        }
        __syncthreads();
        float edge = scaled(dists[wide - 1], farthest[query], power), bar = unordered(last);
        for (int e = threadIdx.x; e < count; e += blockDim.x) {
            u32 shared = __ldcg(&my_t[mine[e]]);
            if (shared && mixed(edge, shared, lam) <= bar) atomicAdd(&extras, 1);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            begin = atomicAdd(&totals[0], (u64)extras);
            atomicMax(&totals[1], (u64)extras);
            extra_start[query] = (i64)begin;
            extra_size[query] = extras;
        }
        __syncthreads();
        for (int e = threadIdx.x; e < count; e += blockDim.x) {
            u32 shared = atomicExch(&my_t[mine[e]], 0u);
            if (!shared || mixed(edge, shared, lam) > bar) continue;
            i64 at = (i64)begin + atomicAdd(&written, 1);
            if (at >= room) continue;
            extra_query[at] = (int)query;
            extra_image[at] = mine[e];
            extra_t[at] = shared;
        }
    }
}

// The k nearest of each query's listed images and extras by the final distance, ties by lower index. sure: whether the
// last of them is nearer than what is in neither, so that nothing of that belongs among them.
extern "C" __global__ void merge_lists(i64 first, const int* near, const float* near_dist, i64 near_stride, int wide,
                                       int k, const u32* near_t, const i64* extra_start, const int* extra_size,
                                       const int* extra_image, const float* extra_dist, const u32* extra_t,
                                       const float* farthest, int power, float lam, u64* scratch, i64 room,
                                       int* order, float* dist, int* sure) {
    DYNAMIC_SHARED(memory);
    i64 query = first + blockIdx.x;
    u64* keys = scratch ? scratch + blockIdx.x * room : (u64*)memory;
    int all = wide + extra_size[query];
    for (int e = threadIdx.x; e < all; e += blockDim.x) {
        i64 listed = query * near_stride + e, extra = extra_start[query] + e - wide;
        bool old = e < wide;
        float s = scaled(old ? near_dist[listed] : extra_dist[extra], farthest[query], power);
        float d = mixed(s, old ? near_t[query * wide + e] : extra_t[extra], lam);
        keys[e] = key_of(ordered(d), old ? near[listed] : extra_image[extra]);
    }
    __syncthreads();
    float edge = mixed(scaled(near_dist[query * near_stride + wide - 1], farthest[query], power), 0u, lam);
    for (int e = threadIdx.x; e < all; e += blockDim.x) {
        u64 mine = keys[e];
        int rank = 0;
        for (int o = 0; o < all; ++o) rank += keys[o] < mine;
        if (rank >= k) continue;
        order[query * k + rank] = (int)(u32)mine;
        dist[query * k + rank] = unordered((u32)(mine >> 32));
        if (rank == k - 1) sure[query] = unordered((u32)(mine >> 32)) < edge;
    }
}
