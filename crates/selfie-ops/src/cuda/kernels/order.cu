// Rows in the order that every image has of its own: x [images, N, D], order [B, N], y [B, N, D]. A place that is none
// gives zeros and gets nothing.

extern "C" __global__ void rows_in_order(SumIn x, const u32* order, SumOut y, u32 n, u32 places, u32 width, u32 step) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 c = i % width, row = i / width;
    u32 place = order[row];
    y[i] = place < places ? x[((size_t)(row / places * step) + place) * width + c] : (SUM)0;
}

// Of images' own rows: each is named once. dx holds zeros before.
extern "C" __global__ void put_in_order(SumIn dy, const u32* order, SumOut dx, u32 n, u32 places, u32 width) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 c = i % width, row = i / width;
    u32 place = order[row];
    if (place < places) dx[((size_t)(row / places) * places + place) * width + c] = dy[i];
}

// Of one table's rows: for each piece of images, sums [places, width].
extern "C" __global__ void sum_in_order(SumIn dy, const u32* order, SumOut partial, u32 n, u32 places, u32 width,
                                        u32 images, u32 images_of_piece) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 c = i % width, place = i / width;
    u32 begin = blockIdx.y * images_of_piece, end = min(begin + images_of_piece, images);
    SUM sum = 0;
    for (u32 row = begin * places; row < end * places; row++) {
        if (order[row] == place) sum += dy[(size_t)row * width + c];
    }
    partial[(size_t)blockIdx.y * n + i] = sum;
}
