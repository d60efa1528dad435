// Our kernels, for one pair of number types.
#include "entry.h"

#include "../../../src/cuda/kernels/numbers.cu"
#include "../../../src/cuda/kernels/norm.cu"
#include "../../../src/cuda/kernels/conv.cu"
#include "../../../src/cuda/kernels/pool.cu"
#include "../../../src/cuda/kernels/rows.cu"
#include "../../../src/cuda/kernels/order.cu"
#include "../../../src/cuda/kernels/attention.cu"
#include "../../../src/cuda/kernels/optimizer.cu"

extern "C" bool find_kernel(const char* name, Entry* entry) {
    static std::map<std::string, Entry> kernels = {
#include "ours.inc"
    };
    return find(kernels, name, entry);
}
