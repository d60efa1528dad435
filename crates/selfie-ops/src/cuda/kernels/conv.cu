// Convolutions of maps [B, H, W, C] as products with columns [B * H' * W', kernel * kernel * C].

struct Window {
    u32 height, width, out_height, out_width, kernel, stride, padding;
};

#define WINDOW_PARAMETERS u32 height, u32 width, u32 out_height, u32 out_width, u32 kernel, u32 stride, u32 padding
#define WINDOW_ARGUMENTS Window{height, width, out_height, out_width, kernel, stride, padding}

// A thread for a pack of channels and every so many output pixels of a piece, with all taps of the kernel; outside the map
// are zeros. With a norm, what is unfolded is relu(norm(x)).
template <int P>
__device__ inline void unfold_of(StoredIn x, SumIn norm, StoredOut columns, u32 rows, u32 packs, u32 rows_of_piece,
                                 Window window) {
    u32 pack = blockIdx.y * blockDim.x + threadIdx.x;
    if (pack >= packs) return;
    SUM scale[P], shift[P];
    if (norm) {
        read_row<P>(norm, 0, packs, pack, scale);
        read_row<P>(norm, 1, packs, pack, shift);
    }
    u32 begin = blockIdx.x * rows_of_piece, end = min(begin + rows_of_piece, rows);
    for (u32 pixel = begin + threadIdx.y; pixel < end; pixel += blockDim.y) {
        u32 out_x = pixel % window.out_width, rest = pixel / window.out_width;
        u32 out_y = rest % window.out_height, image = rest / window.out_height;
        size_t to = (size_t)pixel * window.kernel * window.kernel * packs + pack;
        for (u32 ky = 0; ky < window.kernel; ky++) {
            u32 y = out_y * window.stride + ky - window.padding;  // wraps above the map, where it is at least its height
#pragma unroll 3
            for (u32 kx = 0; kx < window.kernel; kx++) {
                u32 x_at = out_x * window.stride + kx - window.padding;
                Pack<P> here;
                if (y < window.height && x_at < window.width) {
                    here = read_pack<P>(x, ((size_t)(image * window.height + y) * window.width + x_at) * packs + pack);
                    if (norm) {
                        for (int c = 0; c < P; c++) here.at[c] = store(rectified(load(here.at[c]) * scale[c] + shift[c]));
                    }
                } else {
                    for (int c = 0; c < P; c++) here.at[c] = store(0);
                }
                write_pack<P>(columns, to + (ky * window.kernel + kx) * packs, here);
            }
        }
    }
}
extern "C" __global__ void unfold_wide(StoredIn x, SumIn norm, StoredOut columns, u32 rows, u32 packs, u32 rows_of_piece,
                                       WINDOW_PARAMETERS) {
    unfold_of<WIDE>(x, norm, columns, rows, packs, rows_of_piece, WINDOW_ARGUMENTS);
}

// Where channels are few: a thread for a number of the columns, so that neighbours write side by side.
extern "C" __global__ void unfold_single(StoredIn x, SumIn norm, StoredOut columns, u32 n, u32 channels, WINDOW_PARAMETERS) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 c = i % channels, tap = i / channels % (kernel * kernel), pixel = i / channels / (kernel * kernel);
    u32 out_x = pixel % out_width, rest = pixel / out_width;
    u32 out_y = rest % out_height, image = rest / out_height;
    u32 y = out_y * stride + tap / kernel - padding, x_at = out_x * stride + tap % kernel - padding;
    STORED here = store(0);
    if (y < height && x_at < width) {
        here = x[((size_t)(image * height + y) * width + x_at) * channels + c];
        if (norm) here = store(rectified(load(here) * norm[c] + norm[channels + c]));
    }
    columns[i] = here;
}

// The gradient of a map from that of its columns: one thread for a pack of an input pixel, over all taps that read it; with
// `added` added.
template <int P>
__device__ inline void fold_of(StoredIn columns, StoredIn added, StoredOut dx, u32 n, u32 packs, Window window) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 pack = i % packs, pixel = i / packs;
    u32 x = pixel % window.width, rest = pixel / window.width;
    u32 y = rest % window.height, image = rest / window.height;
    SUM sums[P];
    for (int c = 0; c < P; c++) sums[c] = 0;
    for (u32 ky = 0; ky < window.kernel; ky++) {
        u32 at_y = y + window.padding - ky;
        if (at_y % window.stride != 0 || at_y / window.stride >= window.out_height || y + window.padding < ky) continue;
        for (u32 kx = 0; kx < window.kernel; kx++) {
            u32 at_x = x + window.padding - kx;
            if (at_x % window.stride != 0 || at_x / window.stride >= window.out_width || x + window.padding < kx) continue;
            size_t out = (size_t)(image * window.out_height + at_y / window.stride) * window.out_width + at_x / window.stride;
            Pack<P> here =
                read_pack<P>(columns, ((out * window.kernel + ky) * window.kernel + kx) * packs + pack);
            for (int c = 0; c < P; c++) sums[c] += load(here.at[c]);
        }
    }
    Pack<P> out;
    if (added) {
        Pack<P> more = read_pack<P>(added, i);
        for (int c = 0; c < P; c++) sums[c] += load(more.at[c]);
    }
    for (int c = 0; c < P; c++) out.at[c] = store(sums[c]);
    write_pack<P>(dx, i, out);
}
FOR_PACKS(fold, (StoredIn columns, StoredIn added, StoredOut dx, u32 n, u32 packs, WINDOW_PARAMETERS),
          (columns, added, dx, n, packs, WINDOW_ARGUMENTS))
