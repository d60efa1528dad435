// The kernels of one of candle's files, in f32, f64 and whole numbers.
#include "entry.h"
#include "stubs/cuda.h"

#include KERNELS

extern "C" bool find_kernel(const char* name, Entry* entry) {
    static std::map<std::string, Entry> kernels = {
#include "candle.inc"
    };
    return find(kernels, name, entry);
}
