// Whole rows of distances: re-ranked, and the ranks of the right images counted in them.

// Rows of distances of some queries become (1 - lam) J + lam s in place. t, touched: as overlap_lists'.
extern "C" __global__ void mixed_rows(float* value, int count, int n_gallery, const i64* queries, const i64* start,
                                      const int* size, const int* members, const u32* weights, const i64* columns,
                                      const int* rows, const u32* values, const float* farthest, int power, float lam,
                                      u32* t, int* touched) {
    __shared__ int found;
    u32* my_t = t + (i64)blockIdx.x * n_gallery;
    int* mine = touched + (i64)blockIdx.x * n_gallery;
    for (int b = blockIdx.x; b < count; b += gridDim.x) {
        __syncthreads();
        if (threadIdx.x == 0) found = 0;
        __syncthreads();
        i64 query = queries[b];
        float* row = value + (i64)b * n_gallery;
        add_overlaps(query, start, size, members, weights, columns, rows, values, my_t, mine, &found);
        __syncthreads();
        for (int j = threadIdx.x; j < n_gallery; j += blockDim.x)
            row[j] = mixed(scaled(row[j], farthest[query], power), __ldcg(&my_t[j]), lam);
        __syncthreads();
        for (int e = threadIdx.x; e < found; e += blockDim.x) my_t[mine[e]] = 0;
    }
}

// Of each row of distances the facts that ensemble/kernels/rank_counts.py gives: the sum of k / rank_k over the right images,
// how many, the first and the last rank; NaN where the row holds one. group: the row's, -1 for none. An image at infinity
// is not in the list.
//
// The right images are put in order; every image is then put between two of them by bisection.
extern "C" __global__ void rank_facts(const float* dist, int n_gallery, const i64* group, const i64* cams,
                                      const i64* pid_ptr, const i64* by_pid, const i64* gallery_cams, int junk,
                                      i64 top_k, u64* scratch, i64 most, double* total, i64* found, i64* first,
                                      i64* last) {
    DYNAMIC_SHARED(memory);
    __shared__ int not_a_number;
    u64* keys = scratch ? scratch + (i64)blockIdx.x * 3 * most : (u64*)memory;
    u64* sorted = keys + most;
    int* before = (int*)(sorted + most);
    const float* row = dist + (i64)blockIdx.x * n_gallery;
    i64 mine = group[blockIdx.x];
    i64 begin = mine < 0 ? 0 : pid_ptr[mine];
    int right = mine < 0 ? 0 : (int)(pid_ptr[mine + 1] - begin);
    if (threadIdx.x == 0) not_a_number = 0;
    for (int p = threadIdx.x; p < right; p += blockDim.x) {
        int image = (int)by_pid[begin + p];
        keys[p] = key_of(ordered(row[image]), image);
        before[p] = 0;
    }
    __syncthreads();
    for (int p = threadIdx.x; p < right; p += blockDim.x) {
        int rank = 0;
        for (int o = 0; o < right; ++o) rank += keys[o] < keys[p];
        sorted[rank] = keys[p];
    }
    __syncthreads();
    for (int j = threadIdx.x; j < n_gallery; j += blockDim.x) {
        float d = row[j];
        if (d != d) not_a_number = 1;
        u64 key = key_of(ordered(d), j);
        int low = 0, high = right;
        if (right == 0 || key >= sorted[right - 1]) continue;
        while (low < high) {
            int middle = (low + high) / 2;
            if (sorted[middle] > key) high = middle;
            else low = middle + 1;
        }
        atomicAdd(&before[low], 1);
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    double sum = not_a_number ? (double)__uint_as_float(0x7fc00000u) : 0.0;
    i64 rank = 1, removed = 0, hits = 0, one = 0, end = 0;
    for (int p = 0; p < right; ++p) {
        rank += before[p];
        int image = (int)(u32)sorted[p];
        if (__float_as_uint(row[image]) == 0x7f800000u) break;  // left out of the list, as are all after it
        if (junk && gallery_cams[image] == cams[blockIdx.x]) {
            ++removed;
            continue;
        }
        if (rank - removed > top_k) continue;
        end = rank - removed;
        ++hits;
        sum += (double)hits / (double)end;
        if (hits == 1) one = end;
    }
    total[blockIdx.x] = sum;
    found[blockIdx.x] = hits;
    first[blockIdx.x] = one;
    last[blockIdx.x] = end;
}
