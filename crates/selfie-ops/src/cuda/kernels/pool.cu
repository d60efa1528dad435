// Pools of maps [B, H, W, C] in SUM.

// 3 x 3, stride 2, padding 1; `places` keeps which of the nine was the first largest.
extern "C" __global__ void max_pool(SumIn x, SumOut y, unsigned char* places, u32 n, u32 channels, u32 height, u32 width,
                                    u32 out_height, u32 out_width) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 c = i % channels, pixel = i / channels;
    u32 out_x = pixel % out_width, rest = pixel / out_width;
    u32 out_y = rest % out_height, image = rest / out_height;
    SUM best = 0;
    int place = -1;
    for (u32 ky = 0; ky < 3; ky++) {
        for (u32 kx = 0; kx < 3; kx++) {
            u32 at_y = 2 * out_y + ky - 1, at_x = 2 * out_x + kx - 1;
            if (at_y >= height || at_x >= width) continue;
            SUM here = x[((size_t)(image * height + at_y) * width + at_x) * channels + c];
            if (place < 0 || here > best || here != here) {
                best = here;
                place = ky * 3 + kx;
            }
        }
    }
    y[i] = best;
    places[i] = (unsigned char)place;
}

extern "C" __global__ void max_pool_backward(SumIn dy, const unsigned char* places, SumOut dx, u32 n, u32 channels,
                                             u32 height, u32 width, u32 out_height, u32 out_width) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 c = i % channels, pixel = i / channels;
    u32 x = pixel % width, rest = pixel / width;
    u32 y = rest % height, image = rest / height;
    SUM sum = 0;
    for (u32 ky = 0; ky < 3; ky++) {
        for (u32 kx = 0; kx < 3; kx++) {
            u32 at_y = y + 1 - ky, at_x = x + 1 - kx;
            if (y + 1 < ky || x + 1 < kx || at_y % 2 != 0 || at_x % 2 != 0) continue;
            if (at_y / 2 >= out_height || at_x / 2 >= out_width) continue;
            size_t out = ((size_t)(image * out_height + at_y / 2) * out_width + at_x / 2) * channels + c;
            if (places[out] == ky * 3 + kx) sum += dy[out];
        }
    }
    dx[i] = sum;
}

// The mean of each of cells x cells cells.
extern "C" __global__ void average_pool(SumIn x, SumOut y, u32 n, u32 channels, u32 height, u32 width, u32 cells) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 c = i % channels, cell = i / channels;
    u32 cell_x = cell % cells, cell_y = cell / cells % cells, image = cell / cells / cells;
    u32 cell_height = height / cells, cell_width = width / cells;
    SUM sum = 0;
    for (u32 dy = 0; dy < cell_height; dy++) {
        for (u32 dx = 0; dx < cell_width; dx++) {
            size_t row = image * height + cell_y * cell_height + dy;
            sum += x[(row * width + cell_x * cell_width + dx) * channels + c];
        }
    }
    y[i] = sum / (SUM)(cell_height * cell_width);
}

extern "C" __global__ void average_pool_backward(SumIn dy, SumOut dx, u32 n, u32 channels, u32 height, u32 width,
                                                 u32 cells) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 c = i % channels, pixel = i / channels;
    u32 x = pixel % width, y = pixel / width % height, image = pixel / width / height;
    u32 cell_height = height / cells, cell_width = width / cells;
    size_t cell = (size_t)(image * cells + y / cell_height) * cells + x / cell_width;
    dx[i] = dy[cell * channels + c] / (SUM)(cell_height * cell_width);
}
