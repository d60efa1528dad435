// The few kernels of candle in bf16 that maps between stages need.
#include "entry.h"
#include "stubs/cuda.h"
#include "candle/cuda_utils.cuh"

struct Bf16 {
    unsigned short bits;
};

static double read(float value) { return value; }
static double read(double value) { return value; }
static double read(uint8_t value) { return value; }
static double read(Bf16 value) { return __uint_as_float((unsigned)value.bits << 16); }

template <class T>
static void write(T* to, double value) {
    *to = (T)value;
}

static void write(Bf16* to, double value) {
    unsigned bits = __float_as_uint((float)value);
    bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    to->bits = (unsigned short)(nan ? (bits >> 16) | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <class S, class T>
static void cast(size_t n, size_t n_dims, const size_t* info, const S* from, T* to) {
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) {
        write(to + i, read(from[info ? get_strided_index(i, n_dims, info, info + n_dims) : i]));
    }
}

static void add(size_t n, size_t n_dims, const size_t* info, const Bf16* a, const Bf16* b, Bf16* to) {
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) {
        unsigned at_a = info ? get_strided_index(i, n_dims, info, info + n_dims) : i;
        unsigned at_b = info ? get_strided_index(i, n_dims, info, info + 2 * n_dims) : i;
        write(to + i, read(a[at_a]) + read(b[at_b]));
    }
}

extern "C" bool find_kernel(const char* name, Entry* entry) {
    static std::map<std::string, Entry> kernels = {
        {"cast_f32_bf16", wrap(cast<float, Bf16>, true)}, {"cast_f64_bf16", wrap(cast<double, Bf16>, true)},
        {"cast_u8_bf16", wrap(cast<uint8_t, Bf16>, true)}, {"cast_bf16_f32", wrap(cast<Bf16, float>, true)},
        {"cast_bf16_f64", wrap(cast<Bf16, double>, true)}, {"cast_bf16_bf16", wrap(cast<Bf16, Bf16>, true)},
        {"ucopy_bf16", wrap(cast<Bf16, Bf16>, true)}, {"badd_bf16", wrap(add, true)},
    };
    return find(kernels, name, entry);
}
