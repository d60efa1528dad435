// What every kernel reads: the two number types, packs of them, sums over a block, random words.
//
// SUM is what is added up, float or double. STORED is what maps are kept as and products multiply: SUM, or bf16 where
// STORED_BF16 is defined. The source is compiled once for each pair.

typedef unsigned int u32;
typedef unsigned long long u64;

#ifdef STORED_BF16
struct STORED {
    unsigned short bits;
};

__device__ inline SUM load(STORED value) { return (SUM)__uint_as_float((u32)value.bits << 16); }

// The nearest, among equals the even one; NaN stays NaN.
__device__ inline STORED store(SUM value) {
    u32 bits = __float_as_uint((float)value);
    bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    u32 rounded = nan ? (bits >> 16) | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return STORED{(unsigned short)rounded};
}
#else
typedef SUM STORED;

__device__ inline SUM load(STORED value) { return value; }

__device__ inline STORED store(SUM value) { return value; }
#endif

// What a kernel reads and what it writes never overlap.
typedef const SUM* __restrict__ SumIn;
typedef SUM* __restrict__ SumOut;
typedef const STORED* __restrict__ StoredIn;
typedef STORED* __restrict__ StoredOut;

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }
__device__ inline float logarithm(float x) { return logf(x); }
__device__ inline double logarithm(double x) { return log(x); }
__device__ inline float root(float x) { return sqrtf(x); }
__device__ inline double root(double x) { return sqrt(x); }
__device__ inline float error_function(float x) { return erff(x); }
__device__ inline double error_function(double x) { return erf(x); }

__device__ inline SUM larger(SUM a, SUM b) { return a > b ? a : b; }

// Neighbouring channels that one thread reads at once: 16 bytes where the channels divide into such, else one.
#define WIDE (16 / (int)sizeof(STORED))

template <int P>
struct alignas(P * sizeof(STORED)) Pack {
    STORED at[P];
};

template <int P>
__device__ inline Pack<P> read_pack(const STORED* from, size_t pack) {
    return reinterpret_cast<const Pack<P>*>(from)[pack];
}

template <int P>
__device__ inline void write_pack(STORED* to, size_t pack, Pack<P> values) {
    reinterpret_cast<Pack<P>*>(to)[pack] = values;
}

// A kernel for packs of one and a kernel for wide ones, from a template of the same name with `_of` after it.
#define FOR_PACKS(name, parameters, arguments)                                          \
    extern "C" __global__ void name##_single parameters { name##_of<1> arguments; }     \
    extern "C" __global__ void name##_wide parameters { name##_of<WIDE> arguments; }

// What a launch gives a block; how it is used, each kernel says.
extern __shared__ __align__(16) unsigned char memory[];

// Joins the sums of the rows of a block's threads, in an order that the block's shape alone decides; those of its first
// row then hold the result. Needs shared memory for N sums of every thread.
template <int N>
__device__ inline void sum_over_rows(SUM (&sums)[N]) {
    SUM* shared = reinterpret_cast<SUM*>(memory);
    u32 step = blockDim.x * blockDim.y, here = threadIdx.y * blockDim.x + threadIdx.x;
    for (int i = 0; i < N; i++) shared[i * step + here] = sums[i];
    __syncthreads();
    for (u32 rows = blockDim.y; rows > 1;) {
        u32 half = (rows + 1) / 2;
        if (threadIdx.y + half < rows) {
            for (int i = 0; i < N; i++) shared[i * step + here] += shared[i * step + here + half * blockDim.x];
        }
        __syncthreads();
        rows = half;
    }
    for (int i = 0; i < N; i++) sums[i] = shared[i * step + here];
}

__device__ inline SUM sum_over_warp(SUM value) {
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
    return value;
}

__device__ inline SUM largest_of_warp(SUM value) {
    for (int offset = 16; offset > 0; offset /= 2) value = larger(value, __shfl_xor_sync(0xffffffffu, value, offset));
    return value;
}

// Dropout as selfie-random draws it: whether an element is kept is a function of the key and its index.
struct Dropout {
    u32 seed_low, seed_high, step, layer, drop_below;
    int drops;
    double keep_scale;
};

__device__ inline bool is_kept(const Dropout& dropout, u64 index) {
    if (!dropout.drops) return true;
    u64 block = index / 4;
    u32 c0 = (u32)block, c1 = (u32)(block >> 32) << 8 | PURPOSE_DROPOUT, c2 = dropout.step, c3 = dropout.layer;
    u32 k0 = dropout.seed_low, k1 = dropout.seed_high;
    for (int round = 0; round < 10; round++) {
        u32 high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
        u32 high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    u32 lane = (u32)(index % 4);
    u32 word = lane == 0 ? c0 : lane == 1 ? c1 : lane == 2 ? c2 : c3;
    return word >= dropout.drop_below;
}

// 0 where the element is dropped, whatever it was.
__device__ inline SUM dropped(SUM value, const Dropout& dropout, u64 index) {
    if (!is_kept(dropout, index)) return 0;
    return dropout.drops ? value * (SUM)dropout.keep_scale : value;
}

#define DROPOUT_PARAMETERS \
    u32 seed_low, u32 seed_high, u32 step, u32 layer, u32 drop_below, int drops, double keep_scale
#define DROPOUT_ARGUMENTS Dropout{seed_low, seed_high, step, layer, drop_below, drops, keep_scale}
