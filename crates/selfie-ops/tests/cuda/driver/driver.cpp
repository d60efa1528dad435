// Stands in for CUDA's driver, cuBLAS, cuRAND and NVRTC, as far as selfie and candle call them. README.md says what for.
#include <dlfcn.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

typedef std::function<void(dim3, dim3, void**)> Entry;
typedef bool (*Find)(const char*, Entry*);
typedef unsigned long long Address;

static std::recursive_mutex one_at_a_time;

// What kernels a module has: ours of one pair of number types, or candle's.
struct Module {
    std::vector<Find> libraries;
};

struct Function {
    std::string name;
    Entry entry;
};

static Find library(const std::string& name) {
    const char* folder = getenv("SELFIE_FAKE_CUDA");
    void* opened = dlopen((std::string(folder ? folder : ".") + "/" + name + ".so").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!opened) {
        fprintf(stderr, "%s\n", dlerror());
        abort();
    }
    return (Find)dlsym(opened, "find_kernel");
}

static std::map<Address, size_t> allocated;
static size_t used = 0, most_used = 0;

static int allocate(Address* address, size_t n) {
    std::lock_guard<std::recursive_mutex> guard(one_at_a_time);
    size_t bytes = std::max<size_t>((n + 255) / 256 * 256, 256);
    void* memory = aligned_alloc(256, bytes);
    // NaN in every type, until somebody writes it.
    memset(memory, 0xff, bytes);
    *address = (Address)memory;
    allocated[*address] = bytes;
    used += bytes;
    most_used = std::max(most_used, used);
    return 0;
}

static int give_back(Address address) {
    std::lock_guard<std::recursive_mutex> guard(one_at_a_time);
    auto at = allocated.find(address);
    if (at == allocated.end()) {
        fprintf(stderr, "memory given back that was not taken\n");
        abort();
    }
    used -= at->second;
    memset((void*)address, 0xee, at->second);
    allocated.erase(at);
    free((void*)address);
    return 0;
}

// cuBLAS's numbers: 0 f32, 1 f64, 14 bf16.
static double read(const void* from, int type, size_t i) {
    if (type == 0) return ((const float*)from)[i];
    if (type == 1) return ((const double*)from)[i];
    unsigned bits = (unsigned)((const unsigned short*)from)[i] << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static void write(void* to, int type, size_t i, double value) {
    if (type == 0) {
        ((float*)to)[i] = (float)value;
    } else if (type == 1) {
        ((double*)to)[i] = value;
    } else {
        float single = (float)value;
        unsigned bits;
        memcpy(&bits, &single, 4);
        bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
        ((unsigned short*)to)[i] = (unsigned short)(nan ? (bits >> 16) | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}

static size_t size_of(int type) { return type == 0 ? 4 : type == 1 ? 8 : 2; }
// alpha and beta are f64 where sums are.
static double scale(const void* from, int compute) { return compute == 70 ? *(const double*)from : *(const float*)from; }

static int product(int ta, int tb, int m, int n, int k, double alpha, const void* a, int a_type, int lda, const void* b,
                   int b_type, int ldb, double beta, void* c, int c_type, int ldc) {
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < m; i++) {
            double sum = 0;
            for (int l = 0; l < k; l++) {
                sum += read(a, a_type, ta ? (size_t)i * lda + l : (size_t)l * lda + i) *
                       read(b, b_type, tb ? (size_t)l * ldb + j : (size_t)j * ldb + l);
            }
            size_t at = (size_t)j * ldc + i;
            write(c, c_type, at, alpha * sum + (beta == 0 ? 0 : beta * read(c, c_type, at)));
        }
    }
    return 0;
}

#pragma GCC visibility push(default)
extern "C" {
int cuInit(unsigned) { return 0; }
int cuDeviceGet(int* device, int index) { return index == 0 ? (*device = 0) : 101; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
    // Compute capability 9.0, memory pools.
    *value = attribute == 75 ? 9 : attribute == 115 ? 1 : 0;
    return 0;
}
int cuDevicePrimaryCtxRetain(void** context, int) {
    *context = (void*)0x100;
    return 0;
}
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
int cuCtxDestroy_v2(void*) { return 0; }
int cuCtxGetCurrent(void** context) {
    *context = (void*)0x100;
    return 0;
}
int cuCtxSetCurrent(void*) { return 0; }
int cuCtxSynchronize() { return 0; }
int cuEventCreate(void** event, unsigned) {
    *event = (void*)0x101;
    return 0;
}
int cuEventDestroy_v2(void*) { return 0; }
int cuEventRecord(void*, void*) { return 0; }
int cuStreamCreate(void** stream, unsigned) {
    *stream = (void*)0x200;
    return 0;
}
int cuStreamDestroy_v2(void*) { return 0; }
int cuStreamSynchronize(void*) { return 0; }
int cuStreamWaitEvent(void*, void*, unsigned) { return 0; }
int cuStreamIsCapturing(void*, int* status) { return *status = 0; }
int cuGetErrorString(int, const char** text) {
    *text = "refused by the stand-in for the driver";
    return 0;
}
int cuDeviceGetDefaultMemPool(void** pool, int) {
    *pool = (void*)0x300;
    return 0;
}
int cuMemPoolSetAttribute(void*, int, void*) { return 0; }
int cuMemPoolGetAttribute(void*, int, void* value) {
    *(Address*)value = most_used;
    return 0;
}
int cuMemAllocAsync(Address* address, size_t n, void*) { return allocate(address, n); }
int cuMemAlloc_v2(Address* address, size_t n) { return allocate(address, n); }
int cuMemFreeAsync(Address address, void*) { return give_back(address); }
int cuMemFree_v2(Address address) { return give_back(address); }
int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t n, void*) {
    memmove((void*)to, (void*)from, n);
    return 0;
}
int cuMemcpyDtoHAsync_v2(void* to, Address from, size_t n, void*) {
    memcpy(to, (void*)from, n);
    return 0;
}
int cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t n, void*) {
    memcpy((void*)to, from, n);
    return 0;
}
int cuMemcpyPeerAsync(Address to, void*, Address from, void*, size_t n, void*) { return cuMemcpyDtoDAsync_v2(to, from, n, nullptr); }
int cuMemsetD8Async(Address to, unsigned char value, size_t n, void*) {
    memset((void*)to, value, n);
    return 0;
}

int cuModuleLoad(void**, const char*) { return 1; }
int cuModuleLoadData(void** module, const void* image) {
    static const char OURS[] = "ours_";
    Module* loaded = new Module;
    if (!strncmp((const char*)image, OURS, strlen(OURS))) {
        loaded->libraries = {library((const char*)image)};
    } else {
        static std::vector<Find> candle;
        for (const char* file : {"affine", "binary", "cast", "fill", "indexing", "reduce", "ternary", "unary", "bf16"}) {
            if (candle.size() < 9) candle.push_back(library(std::string("candle_") + file));
        }
        loaded->libraries = candle;
    }
    *module = loaded;
    return 0;
}
int cuModuleUnload(void*) { return 0; }
int cuModuleGetFunction(void** function, void* module, const char* name) {
    Function* found = new Function{name, Entry()};
    for (Find find : ((Module*)module)->libraries) {
        if (find(name, &found->entry)) {
            *function = found;
            return 0;
        }
    }
    fprintf(stderr, "the stand-in for the driver has no kernel %s\n", name);
    return 500;
}
int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void*, void** arguments, void**) {
    std::lock_guard<std::recursive_mutex> guard(one_at_a_time);
    if (!gx || !gy || !gz || gy > 65535 || bx * by * bz > 1024 || shared > 48 * 1024) return 1;
    ((Function*)function)->entry({gx, gy, gz}, {bx, by, bz}, arguments);
    return 0;
}

int cublasCreate_v2(void** handle) {
    *handle = (void*)0x400;
    return 0;
}
int cublasDestroy_v2(void*) { return 0; }
int cublasSetStream_v2(void*, void*) { return 0; }
int cublasGemmEx(void*, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int at, int lda, const void* b, int bt,
                 int ldb, const void* beta, void* c, int ct, int ldc, int compute, int) {
    return product(ta, tb, m, n, k, scale(alpha, compute), a, at, lda, b, bt, ldb, scale(beta, compute), c, ct, ldc);
}
int cublasGemmStridedBatchedEx(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int at, int lda,
                               long long step_a, const void* b, int bt, int ldb, long long step_b, const void* beta, void* c, int ct,
                               int ldc, long long step_c, int batch, int compute, int algorithm) {
    for (int i = 0; i < batch; i++) {
        cublasGemmEx(handle, ta, tb, m, n, k, alpha, (const char*)a + i * step_a * size_of(at), at, lda,
                     (const char*)b + i * step_b * size_of(bt), bt, ldb, beta, (char*)c + i * step_c * size_of(ct), ct, ldc, compute,
                     algorithm);
    }
    return 0;
}
int cublasDgemmStridedBatched(void*, int ta, int tb, int m, int n, int k, const double* alpha, const double* a, int lda,
                              long long step_a, const double* b, int ldb, long long step_b, const double* beta, double* c, int ldc,
                              long long step_c, int batch) {
    for (int i = 0; i < batch; i++) {
        product(ta, tb, m, n, k, *alpha, a + i * step_a, 1, lda, b + i * step_b, 1, ldb, *beta, c + i * step_c, 1, ldc);
    }
    return 0;
}

int curandCreateGenerator(void** generator, int) {
    *generator = (void*)0x500;
    return 0;
}
int curandDestroyGenerator(void*) { return 0; }
int curandGenerateNormal(void*, float*, size_t, float, float) { return 1; }
int curandGenerateNormalDouble(void*, double*, size_t, double, double) { return 1; }
int curandSetPseudoRandomGeneratorSeed(void*, Address) { return 0; }
int curandSetStream(void*, void*) { return 0; }

// A program is the name of the library that was compiled from it before.
int nvrtcCreateProgram(void** program, const char*, const char*, int, const char**, const char**) {
    *program = new std::string;
    return 0;
}
int nvrtcCompileProgram(void* program, int n, const char** options) {
    std::string name = "ours_", bf16;
    for (int i = 0; i < n; i++) {
        std::string option = options[i];
        if (!option.rfind("-DSUM=", 0)) name += option.substr(6);
        if (option == "-DSTORED_BF16") bf16 = "_bf16";
    }
    *(std::string*)program = name + bf16;
    return 0;
}
int nvrtcGetPTXSize(void* program, size_t* n) {
    *n = ((std::string*)program)->size() + 1;
    return 0;
}
int nvrtcGetPTX(void* program, char* to) {
    strcpy(to, ((std::string*)program)->c_str());
    return 0;
}
int nvrtcDestroyProgram(void** program) {
    delete (std::string*)*program;
    return 0;
}
int nvrtcGetProgramLogSize(void*, size_t* n) {
    *n = 1;
    return 0;
}
int nvrtcGetProgramLog(void*, char* log) { return *log = 0; }
}
#pragma GCC visibility pop
