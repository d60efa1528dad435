// What candle's kernels use of CUDA's headers and built-in functions.
#pragma once
#include <assert.h>
#include <math.h>
#include <stdint.h>

#include "../entry.h"

using std::isinf;
using std::isnan;

#define __restrict__ __restrict
#define __ldg(address) (*(address))
#define __NV_E4M3 0

struct float2 {
    float x, y;
};
struct float4 {
    float x, y, z, w;
};
struct double2 {
    double x, y;
};
struct uint4 {
    unsigned x, y, z, w;
};

static float2 make_float2(float x, float y) { return {x, y}; }
static float __half2float(float value) { return value; }
template <class T>
static float __nv_cvt_fp8_to_halfraw(T, int) {
    return 0;
}
template <class T>
static T max(T a, T b) {
    return a > b ? a : b;
}
static float rsqrtf(float x) { return 1 / sqrtf(x); }
static double rsqrt(double x) { return 1 / sqrt(x); }
static float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678f); }
static double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }

template <class T>
static T atomicAdd(T* address, T value) {
    T before = *address;
    *address += value;
    return before;
}
