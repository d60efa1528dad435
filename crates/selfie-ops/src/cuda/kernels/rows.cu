// Operations on rows: layer normalisation, GELU, dropout, biases, cross entropy.

// y[row, c] = x of rows that lie `step` apart, less what dropout takes; the keep decisions are those of rows `drop_step` apart.
extern "C" __global__ void to_stored(SumIn x, u32 step_x, StoredOut y, u32 n, u32 width, u32 drop_step,
                                     DROPOUT_PARAMETERS) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 row = i / width, c = i % width;
    y[i] = store(dropped(x[(size_t)row * step_x + c], DROPOUT_ARGUMENTS, (u64)row * drop_step + c));
}

// The same of numbers that lie end to end, four to a thread.
extern "C" __global__ void round_all(SumIn x, StoredOut y, u32 n) {
    u32 begin = blockIdx.x * 4 * blockDim.x + threadIdx.x;
    SUM here[4];
    for (int i = 0; i < 4; i++) {
        u32 at = begin + i * blockDim.x;
        if (at < n) here[i] = x[at];
    }
    for (int i = 0; i < 4; i++) {
        u32 at = begin + i * blockDim.x;
        if (at < n) y[at] = store(here[i]);
    }
}

extern "C" __global__ void to_sums(StoredIn x, SumOut y, u32 n) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = load(x[i]);
}

extern "C" __global__ void drop(SumIn x, SumOut y, u32 n, DROPOUT_PARAMETERS) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = dropped(x[i], DROPOUT_ARGUMENTS, i);
}

// y = dropout(y + bias) + residual, whose rows lie `residual_step` apart; without a residual where it is null.
extern "C" __global__ void finish_rows(SumOut y, SumIn bias, SumIn residual, u32 residual_step, u32 n, u32 width,
                                       u32 drop_step, DROPOUT_PARAMETERS) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 row = i / width, c = i % width;
    SUM value = dropped(y[i] + bias[c], DROPOUT_ARGUMENTS, (u64)row * drop_step + c);
    y[i] = residual ? value + residual[(size_t)row * residual_step + c] : value;
}

// y += x, whose rows lie end to end, where those of y begin `step_y` apart.
extern "C" __global__ void add_rows(SumOut y, u32 step_y, SumIn x, u32 n, u32 width) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[(size_t)(i / width) * step_y + i % width] += x[i];
}

__device__ inline SUM normal_cdf(SUM x) { return (SUM)0.5 * (1 + error_function(x * (SUM)0.70710678118654752440)); }

// before += bias where there is one; after = GELU(before), by the error function.
extern "C" __global__ void bias_gelu(SumOut before, SumIn bias, StoredOut after, u32 n, u32 width) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    SUM x = before[i];
    if (bias) before[i] = x = x + bias[i % width];
    after[i] = store(x * normal_cdf(x));
}

extern "C" __global__ void gelu_backward(SumIn before, SumIn dy, StoredOut dx, u32 n) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    SUM x = before[i];
    SUM density = (SUM)0.39894228040143267794 * exponential((SUM)-0.5 * x * x);
    dx[i] = store(dy[i] * (normal_cdf(x) + x * density));
}

__device__ inline void mean_and_rstd(SumIn row, u32 width, SUM epsilon, SUM& mean, SUM& rstd) {
    SUM sum = 0;
    for (u32 c = threadIdx.x; c < width; c += 32) sum += row[c];
    mean = sum_over_warp(sum) / width;
    SUM squares = 0;
    for (u32 c = threadIdx.x; c < width; c += 32) {
        SUM centred = row[c] - mean;
        squares += centred * centred;
    }
    rstd = 1 / root(sum_over_warp(squares) / width + epsilon);
}

// A warp for each row.
extern "C" __global__ void layer_norm(SumIn x, SumIn gain, SumIn bias, SumOut y, u32 rows, u32 width,
                                      SUM epsilon) {
    u32 row = blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) return;
    const SUM* here = x + (size_t)row * width;
    SUM mean, rstd;
    mean_and_rstd(here, width, epsilon, mean, rstd);
    for (u32 c = threadIdx.x; c < width; c += 32) {
        y[(size_t)row * width + c] = (here[c] - mean) * rstd * gain[c] + bias[c];
    }
}

// `moments` keeps mean and 1 / standard deviation of every row.
extern "C" __global__ void layer_norm_backward(SumIn x, SumIn gain, SumIn dy, SumOut dx, SumOut moments, u32 rows,
                                               u32 width, SUM epsilon) {
    u32 row = blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) return;
    const SUM *here = x + (size_t)row * width, *gradient = dy + (size_t)row * width;
    SUM mean, rstd;
    mean_and_rstd(here, width, epsilon, mean, rstd);
    SUM sum = 0, along = 0;
    for (u32 c = threadIdx.x; c < width; c += 32) {
        SUM scaled = gradient[c] * gain[c];
        sum += scaled;
        along += scaled * (here[c] - mean) * rstd;
    }
    sum = sum_over_warp(sum) / width;
    along = sum_over_warp(along) / width;
    for (u32 c = threadIdx.x; c < width; c += 32) {
        SUM normed = (here[c] - mean) * rstd;
        dx[(size_t)row * width + c] = rstd * (gradient[c] * gain[c] - sum - normed * along);
    }
    if (threadIdx.x == 0) {
        moments[2 * row] = mean;
        moments[2 * row + 1] = rstd;
    }
}

// Each piece of rows: gradients of gain and bias [2, width].
extern "C" __global__ void layer_norm_sums(SumIn x, SumIn dy, SumIn moments, SumOut partial, u32 rows, u32 width,
                                           u32 rows_of_piece) {
    u32 c = blockIdx.y * blockDim.x + threadIdx.x;
    SUM sums[2] = {0, 0};
    if (c < width) {
        u32 begin = blockIdx.x * rows_of_piece, end = min(begin + rows_of_piece, rows);
        for (u32 row = begin + threadIdx.y; row < end; row += blockDim.y) {
            SUM gradient = dy[(size_t)row * width + c];
            sums[0] += gradient * (x[(size_t)row * width + c] - moments[2 * row]) * moments[2 * row + 1];
            sums[1] += gradient;
        }
    }
    sum_over_rows<2>(sums);
    if (threadIdx.y == 0 && c < width) {
        partial[(size_t)(2 * blockIdx.x) * width + c] = sums[0];
        partial[(size_t)(2 * blockIdx.x + 1) * width + c] = sums[1];
    }
}

// Each piece of rows: sums of the columns [width].
extern "C" __global__ void column_sums(StoredIn x, SumOut partial, u32 rows, u32 width, u32 rows_of_piece) {
    u32 c = blockIdx.y * blockDim.x + threadIdx.x;
    SUM sums[1] = {0};
    if (c < width) {
        u32 begin = blockIdx.x * rows_of_piece, end = min(begin + rows_of_piece, rows);
        for (u32 row = begin + threadIdx.y; row < end; row += blockDim.y) sums[0] += load(x[(size_t)row * width + c]);
    }
    sum_over_rows<1>(sums);
    if (threadIdx.y == 0 && c < width) partial[(size_t)blockIdx.x * width + c] = sums[0];
}

// y[c] = sum of partial [pieces, width], by a block of 32 x 8 threads for 32 columns.
extern "C" __global__ void join_sums(SumIn partial, u32 pieces, SumOut y, u32 width) {
    u32 c = blockIdx.x * blockDim.x + threadIdx.x;
    SUM sums[1] = {0};
    if (c < width) {
        for (u32 piece = threadIdx.y; piece < pieces; piece += blockDim.y) sums[0] += partial[(size_t)piece * width + c];
    }
    sum_over_rows<1>(sums);
    if (threadIdx.y == 0 && c < width) y[c] = sums[0];
}

// A warp for each row: softmax, and the row's loss with smoothed labels.
extern "C" __global__ void cross_entropy(SumIn logits, const u32* labels, SUM smoothing, SumOut probs, SumOut losses,
                                         u32 rows, u32 classes) {
    u32 row = blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) return;
    const SUM* here = logits + (size_t)row * classes;
    SUM largest = here[0];
    for (u32 c = threadIdx.x; c < classes; c += 32) largest = larger(here[c], largest);
    largest = largest_of_warp(largest);
    SUM sum = 0, all = 0;
    for (u32 c = threadIdx.x; c < classes; c += 32) {
        sum += exponential(here[c] - largest);
        all += here[c] - largest;
    }
    sum = sum_over_warp(sum);
    all = sum_over_warp(all);
    for (u32 c = threadIdx.x; c < classes; c += 32) {
        probs[(size_t)row * classes + c] = exponential(here[c] - largest) / sum;
    }
    if (threadIdx.x == 0) {
        SUM normaliser = logarithm(sum);
        SUM at_label = normaliser - (here[labels[row]] - largest);
        SUM everywhere = normaliser - all / classes;
        losses[row] = (1 - smoothing) * at_label + smoothing * everywhere;
    }
}

// The mean of n numbers, by one block of 256 threads.
extern "C" __global__ void mean_of_all(SumIn x, SumOut y, u32 n) {
    __shared__ double shared[256];
    double sum = 0;
    for (u32 i = threadIdx.x; i < n; i += 256) sum += (double)x[i];
    shared[threadIdx.x] = sum;
    __syncthreads();
    for (u32 half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) y[0] = (SUM)(shared[0] / n);
}

extern "C" __global__ void cross_entropy_backward(SumIn probs, const u32* labels, SUM smoothing, SumIn d_loss,
                                                  SumOut dx, u32 n, u32 rows, u32 classes) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    SUM target = smoothing / classes;
    if (labels[i / classes] == i % classes) target += 1 - smoothing;
    dx[i] = d_loss[0] * (probs[i] - target) / rows;
}
