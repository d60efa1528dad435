// Batch normalisation of maps [rows, channels]. A norm is four rows of a number for each channel:
// scale and shift (norm(x) = x * scale + shift), mean, 1 / standard deviation.

// A thread for a pack of channels, whose numbers it keeps, and every so many rows of a piece.
#define ROWS_OF_A_PACK(row)                                                                  \
    u32 begin = blockIdx.x * rows_of_piece, end = min(begin + rows_of_piece, rows);          \
    _Pragma("unroll 4") for (u32 row = begin + threadIdx.y; row < end; row += blockDim.y)

// Row `which` of a norm or a line, for the channels of a pack.
template <int P>
__device__ inline void read_row(SumIn from, u32 which, u32 packs, u32 pack, SUM (&to)[P]) {
    for (int c = 0; c < P; c++) to[c] = from[(which * packs + pack) * P + c];
}

// Each piece of rows: mean and sum of squared deviations of every channel, from sums of numbers less the piece's first row,
// so that squares do not cancel. With `added`, the map is x + added and is written to `joined`.
template <int P>
__device__ inline void moments_of(StoredIn x, StoredIn added, StoredOut joined, SumOut partial, u32 rows, u32 packs,
                                  u32 rows_of_piece) {
    u32 pack = blockIdx.y * blockDim.x + threadIdx.x;
    u32 piece_begin = blockIdx.x * rows_of_piece;
    SUM sums[2 * P], first[P];
    for (int c = 0; c < 2 * P; c++) sums[c] = 0;
    if (pack < packs) {
        size_t at = (size_t)piece_begin * packs + pack;
        Pack<P> here = read_pack<P>(x, at);
        if (added) {
            Pack<P> more = read_pack<P>(added, at);
            for (int c = 0; c < P; c++) here.at[c] = store(load(here.at[c]) + load(more.at[c]));
        }
        for (int c = 0; c < P; c++) first[c] = load(here.at[c]);
        ROWS_OF_A_PACK(row) {
            size_t i = (size_t)row * packs + pack;
            Pack<P> here = read_pack<P>(x, i);
            if (added) {
                Pack<P> more = read_pack<P>(added, i);
                for (int c = 0; c < P; c++) here.at[c] = store(load(here.at[c]) + load(more.at[c]));
                write_pack<P>(joined, i, here);
            }
            for (int c = 0; c < P; c++) {
                SUM shifted = load(here.at[c]) - first[c];
                sums[c] += shifted;
                sums[P + c] += shifted * shifted;
            }
        }
    }
    sum_over_rows<2 * P>(sums);
    if (threadIdx.y == 0 && pack < packs) {
        SumOut out = partial + (size_t)blockIdx.x * 2 * packs * P + (size_t)pack * P;
        SUM n = min(rows_of_piece, rows - piece_begin);
        for (int c = 0; c < P; c++) {
            SUM shifted = sums[c] / n, squares = sums[P + c] - sums[c] * shifted;
            out[c] = first[c] + shifted;
            out[(size_t)packs * P + c] = squares < 0 ? (SUM)0 : squares;
        }
    }
}
FOR_PACKS(moments, (StoredIn x, StoredIn added, StoredOut joined, SumOut partial, u32 rows, u32 packs, u32 rows_of_piece),
          (x, added, joined, partial, rows, packs, rows_of_piece))

// Mean and sum of squared deviations of n rows.
struct Moments {
    double n, mean, squares;
    __device__ void join(double more_n, double more_mean, double more_squares) {
        if (more_n == 0) return;
        double both = n + more_n, delta = more_mean - mean;
        mean += delta * more_n / both;
        squares += more_squares + delta * delta * n * more_n / both;
        n = both;
    }
};

// Two sums [pieces, 2, channels] of every channel, by a block of 32 x 32 threads for 32 channels.
__device__ inline bool join_pieces(SumIn partial, u32 pieces, u32 channels, u32& channel, double (&sums)[2]) {
    __shared__ double shared[2][32][33];
    channel = blockIdx.x * 32 + threadIdx.x;
    double here[2] = {0, 0};
    if (channel < channels) {
        for (u32 piece = threadIdx.y; piece < pieces; piece += 32) {
            here[0] += (double)partial[(size_t)(2 * piece) * channels + channel];
            here[1] += (double)partial[(size_t)(2 * piece + 1) * channels + channel];
        }
    }
    shared[0][threadIdx.y][threadIdx.x] = here[0];
    shared[1][threadIdx.y][threadIdx.x] = here[1];
    __syncthreads();
    if (threadIdx.y != 0 || channel >= channels) return false;
    sums[0] = sums[1] = 0;
    for (int i = 0; i < 32; i++) {
        sums[0] += shared[0][i][threadIdx.x];
        sums[1] += shared[1][i][threadIdx.x];
    }
    return true;
}

__device__ inline void write_norm(SumOut norm, u32 channels, u32 c, double mean, double var, SUM gain, SUM bias,
                                  double epsilon) {
    double rstd = 1.0 / sqrt(var + epsilon);
    double scale = (double)gain * rstd;
    norm[c] = (SUM)scale;
    norm[channels + c] = (SUM)((double)bias - mean * scale);
    norm[2 * channels + c] = (SUM)mean;
    norm[3 * channels + c] = (SUM)rstd;
}

// Joins the moments of pieces [pieces, 2, channels], by a block of 32 x 32 threads for 32 channels. `statistics`, where it is
// not null: [mean, unbiased variance].
extern "C" __global__ void __launch_bounds__(1024) norm_of_moments(SumIn partial, u32 pieces, u32 rows_of_piece, u32 channels,
                                                                   u32 rows, SumIn gain, SumIn bias, double epsilon, SumOut norm,
                                                                   SumOut statistics) {
    __shared__ double shared[3][32][33];
    u32 c = blockIdx.x * 32 + threadIdx.x;
    Moments here = {0, 0, 0};
    if (c < channels) {
        for (u32 piece = threadIdx.y; piece < pieces; piece += 32) {
            double n = min(rows_of_piece, rows - piece * rows_of_piece);
            here.join(n, partial[(size_t)(2 * piece) * channels + c], partial[(size_t)(2 * piece + 1) * channels + c]);
        }
    }
    shared[0][threadIdx.y][threadIdx.x] = here.n;
    shared[1][threadIdx.y][threadIdx.x] = here.mean;
    shared[2][threadIdx.y][threadIdx.x] = here.squares;
    __syncthreads();
    if (threadIdx.y != 0 || c >= channels) return;
    Moments all = {0, 0, 0};
    for (int i = 0; i < 32; i++) all.join(shared[0][i][threadIdx.x], shared[1][i][threadIdx.x], shared[2][i][threadIdx.x]);
    write_norm(norm, channels, c, all.mean, all.squares / all.n, gain[c], bias[c], epsilon);
    if (statistics) {
        statistics[c] = (SUM)all.mean;
        statistics[channels + c] = (SUM)(all.squares / (rows > 1 ? all.n - 1 : all.n));
    }
}

extern "C" __global__ void norm_of_running(SumIn running, u32 channels, SumIn gain, SumIn bias,
                                           double epsilon, SumOut norm) {
    u32 c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c < channels) write_norm(norm, channels, c, running[c], running[channels + c], gain[c], bias[c], epsilon);
}

__device__ inline SUM rectified(SUM x) { return x > 0 || x != x ? x : (SUM)0; }

template <int P>
__device__ inline void apply_norm_of(StoredIn x, SumIn norm, StoredOut y, u32 rows, u32 packs, u32 rows_of_piece,
                                     int relu) {
    u32 pack = blockIdx.y * blockDim.x + threadIdx.x;
    if (pack >= packs) return;
    SUM scale[P], shift[P];
    read_row<P>(norm, 0, packs, pack, scale);
    read_row<P>(norm, 1, packs, pack, shift);
    ROWS_OF_A_PACK(row) {
        size_t i = (size_t)row * packs + pack;
        Pack<P> here = read_pack<P>(x, i);
        for (int c = 0; c < P; c++) {
            SUM z = load(here.at[c]) * scale[c] + shift[c];
            here.at[c] = store(relu ? rectified(z) : z);
        }
        write_pack<P>(y, i, here);
    }
}
FOR_PACKS(apply_norm, (StoredIn x, SumIn norm, StoredOut y, u32 rows, u32 packs, u32 rows_of_piece, int relu),
          (x, norm, y, rows, packs, rows_of_piece, relu))

// relu(norm(x) + shortcut), the shortcut normalised where it has a norm: the end of a post-activation block.
template <int P>
__device__ inline void join_shortcut_of(StoredIn x, SumIn norm, StoredIn shortcut, SumIn shortcut_norm,
                                        StoredOut y, u32 rows, u32 packs, u32 rows_of_piece) {
    u32 pack = blockIdx.y * blockDim.x + threadIdx.x;
    if (pack >= packs) return;
    SUM scale[P], shift[P], shortcut_scale[P], shortcut_shift[P];
    read_row<P>(norm, 0, packs, pack, scale);
    read_row<P>(norm, 1, packs, pack, shift);
    if (shortcut_norm) {
        read_row<P>(shortcut_norm, 0, packs, pack, shortcut_scale);
        read_row<P>(shortcut_norm, 1, packs, pack, shortcut_shift);
    }
    ROWS_OF_A_PACK(row) {
        size_t i = (size_t)row * packs + pack;
        Pack<P> here = read_pack<P>(x, i), other = read_pack<P>(shortcut, i);
        for (int c = 0; c < P; c++) {
            SUM z = load(here.at[c]) * scale[c] + shift[c];
            SUM s = load(other.at[c]);
            if (shortcut_norm) s = s * shortcut_scale[c] + shortcut_shift[c];
            here.at[c] = store(rectified(z + s));
        }
        write_pack<P>(y, i, here);
    }
}
FOR_PACKS(join_shortcut,
          (StoredIn x, SumIn norm, StoredIn shortcut, SumIn shortcut_norm, StoredOut y, u32 rows, u32 packs,
           u32 rows_of_piece),
          (x, norm, shortcut, shortcut_norm, y, rows, packs, rows_of_piece))

extern "C" __global__ void add_maps(StoredIn a, StoredIn b, StoredOut y, u32 n) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = store(load(a[i]) + load(b[i]));
}

// dy where `out`, a ReLU's output, is above zero.
extern "C" __global__ void mask_by_output(StoredIn dy, StoredIn out, StoredOut dz, u32 n) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) dz[i] = load(out[i]) > 0 ? dy[i] : store(0);
}

__device__ inline SUM through_relu(SUM dy, SUM x, SUM scale, SUM shift, int relu) {
    return !relu || x * scale + shift > 0 ? dy : (SUM)0;
}

// Each piece of rows: sums of dz and of dz * (x - mean), where dz is the gradient of norm(x).
template <int P>
__device__ inline void norm_backward_sums_of(StoredIn dy, StoredIn x, SumIn norm, SumOut partial, u32 rows,
                                             u32 packs, u32 rows_of_piece, int relu) {
    u32 pack = blockIdx.y * blockDim.x + threadIdx.x;
    SUM sums[2 * P];
    for (int c = 0; c < 2 * P; c++) sums[c] = 0;
    if (pack < packs) {
        SUM scale[P], shift[P], mean[P];
        read_row<P>(norm, 0, packs, pack, scale);
        read_row<P>(norm, 1, packs, pack, shift);
        read_row<P>(norm, 2, packs, pack, mean);
        ROWS_OF_A_PACK(row) {
            size_t i = (size_t)row * packs + pack;
            Pack<P> gradient = read_pack<P>(dy, i), here = read_pack<P>(x, i);
            for (int c = 0; c < P; c++) {
                SUM value = load(here.at[c]);
                SUM dz = through_relu(load(gradient.at[c]), value, scale[c], shift[c], relu);
                sums[c] += dz;
                sums[P + c] += dz * (value - mean[c]);
            }
        }
    }
    sum_over_rows<2 * P>(sums);
    if (threadIdx.y == 0 && pack < packs) {
        SUM* out = partial + (size_t)blockIdx.x * 2 * packs * P + (size_t)pack * P;
        for (int c = 0; c < P; c++) {
            out[c] = sums[c];
            out[(size_t)packs * P + c] = sums[P + c];
        }
    }
}
FOR_PACKS(norm_backward_sums,
          (StoredIn dy, StoredIn x, SumIn norm, SumOut partial, u32 rows, u32 packs, u32 rows_of_piece, int relu),
          (dy, x, norm, partial, rows, packs, rows_of_piece, relu))

// The parameters' gradients, and `line` [2, channels], slope and offset: dx = scale * dz + slope * x + offset.
// `rows` is 0 for running statistics, through which no gradient flows.
extern "C" __global__ void __launch_bounds__(1024) norm_backward_line(SumIn partial, u32 pieces, u32 channels, u32 rows, SumIn norm,
                                              SumOut line, SumOut d_gain, SumOut d_bias) {
    u32 c;
    double sums[2];
    if (!join_pieces(partial, pieces, channels, c, sums)) return;
    double scale = norm[c], mean = norm[2 * channels + c], rstd = norm[3 * channels + c];
    d_bias[c] = (SUM)sums[0];
    d_gain[c] = (SUM)(sums[1] * rstd);
    double slope = rows ? -scale * rstd * rstd * sums[1] / rows : 0;
    double offset = rows ? -scale * sums[0] / rows - slope * mean : 0;
    line[c] = (SUM)slope;
    line[channels + c] = (SUM)offset;
}

template <int P>
__device__ inline void norm_backward_of(StoredIn dy, StoredIn x, SumIn norm, SumIn line,
                                        StoredIn residual, StoredOut dx, u32 rows, u32 packs, u32 rows_of_piece, int relu) {
    u32 pack = blockIdx.y * blockDim.x + threadIdx.x;
    if (pack >= packs) return;
    SUM scale[P], shift[P], slope[P], offset[P];
    read_row<P>(norm, 0, packs, pack, scale);
    read_row<P>(norm, 1, packs, pack, shift);
    read_row<P>(line, 0, packs, pack, slope);
    read_row<P>(line, 1, packs, pack, offset);
    ROWS_OF_A_PACK(row) {
        size_t i = (size_t)row * packs + pack;
        Pack<P> gradient = read_pack<P>(dy, i), here = read_pack<P>(x, i), more;
        if (residual) more = read_pack<P>(residual, i);
        for (int c = 0; c < P; c++) {
            SUM value = load(here.at[c]);
            SUM dz = through_relu(load(gradient.at[c]), value, scale[c], shift[c], relu);
            SUM through = scale[c] * dz + slope[c] * value + offset[c];
            gradient.at[c] = store(residual ? through + load(more.at[c]) : through);
        }
        write_pack<P>(dx, i, gradient);
    }
}
FOR_PACKS(norm_backward,
          (StoredIn dy, StoredIn x, SumIn norm, SumIn line, StoredIn residual, StoredOut dx, u32 rows,
           u32 packs, u32 rows_of_piece, int relu),
          (dy, x, norm, line, residual, dx, rows, packs, rows_of_piece, relu))
