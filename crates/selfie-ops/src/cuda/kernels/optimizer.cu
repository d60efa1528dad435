// Updates of flat parameters, and the norm of gradients. `decayed` holds n_decayed ranges [begin, end) in order.

__device__ inline bool is_decayed(const u32* decayed, u32 n_decayed, u32 i) {
    u32 low = 0, high = n_decayed;
    while (low < high) {
        u32 middle = (low + high) / 2;
        if (decayed[2 * middle + 1] <= i) low = middle + 1;
        else high = middle;
    }
    return low < n_decayed && decayed[2 * low] <= i;
}

#define RULE(name, expression)                                                                                         \
    extern "C" __global__ void name(SUM* target, const SUM* a, const SUM* b, const u32* decayed, u32 n_decayed, u32 n, \
                                    SUM p0, SUM p1, SUM p2, SUM p3) {                                                  \
        u32 i = blockIdx.x * blockDim.x + threadIdx.x;                                                                 \
        if (i >= n) return;                                                                                            \
        SUM t = target[i], x = a[i];                                                                                   \
        [[maybe_unused]] SUM y = b[i];                                                                                 \
        [[maybe_unused]] SUM decay = is_decayed(decayed, n_decayed, i) ? 1 : 0;                                                         \
        target[i] = expression;                                                                                        \
    }

// momentum, weight_decay, gradient_scale
RULE(momentum, p0 * t + (x * p2 + decay * p1 * y))
// momentum, weight_decay, gradient_scale, lr
RULE(sgd_nesterov, t - p3 * ((y * p2 + decay * p1 * t) + p0 * x))
// beta1, 1 - beta1, gradient_scale
RULE(first_moment, p0 * t + p1 * (x * p2))
// beta2, 1 - beta2, gradient_scale
RULE(second_moment, p0 * t + p1 * (x * p2) * (x * p2))
// lr * weight_decay, lr / correction1, 1 / correction2, epsilon
RULE(adamw, t * (1 - decay * p0) - p1 * x / (root(y) * p2 + p3))
RULE(accumulate, t + x)
// decay, 1 - decay
RULE(exponential_average, p0 * t + p1 * x)

// Sums of squares in pieces, by blocks of 256 threads.
extern "C" __global__ void sums_of_squares(const SUM* x, double* partial, u32 n) {
    __shared__ double shared[256];
    double sum = 0;
    for (u32 i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256) sum += (double)x[i] * (double)x[i];
    shared[threadIdx.x] = sum;
    __syncthreads();
    for (u32 half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) partial[blockIdx.x] = shared[0];
}
