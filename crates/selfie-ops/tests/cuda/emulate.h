// CUDA's kernels on a CPU, one block after the other: every thread of a block is a coroutine, which stops at barriers and
// shuffles until those that it waits for are there. A barrier that some never reach ends the program.
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __launch_bounds__(n)
#define __device__
#define __host__
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))
// One thread of the system runs all blocks: what it owns is shared by the threads of a block.
#define __shared__ thread_local

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

static dim3 threadIdx, blockIdx, blockDim, gridDim;
static thread_local __align__(16) unsigned char memory[1 << 16];

enum class State { Runs, WaitsForBlock, WaitsForWarp, Done };

struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[1 << 16]};
    State state = State::Runs;
    dim3 index;
};

// As many as the largest block had; the first `n_threads` are this block's.
static std::vector<Thread> threads;
static size_t n_threads = 0;
// Whether a kernel has no barriers: its threads then need no stacks of their own.
static bool plain = false;
// Whether the last thread goes first: what a missing barrier leaves to chance then comes out otherwise.
static bool backwards = false;
static std::vector<double> exchanged;
static ucontext_t scheduler;
static size_t current;
static std::function<void()> body;

static void run_body() {
    body();
    threads[current].state = State::Done;
    swapcontext(&threads[current].context, &scheduler);
}

static void stop(State state) {
    if (plain) {
        std::fprintf(stderr, "a barrier in a kernel that was said to have none\n");
        std::exit(1);
    }
    threads[current].state = state;
    size_t self = current;
    swapcontext(&threads[self].context, &scheduler);
    threadIdx = threads[self].index;
}

static void __syncthreads() { stop(State::WaitsForBlock); }
static void __syncwarp() { stop(State::WaitsForWarp); }

template <class T>
static T __shfl_xor_sync(unsigned, T value, int offset, int = 32) {
    size_t self = current;
    exchanged[self] = value;
    __syncwarp();
    T other = (T)exchanged[self ^ offset];
    __syncwarp();
    return other;
}

// Lets those go on whose barrier all have reached: of [begin, end), where none still runs.
static bool release(State waited, size_t begin, size_t end) {
    bool any = false;
    for (size_t i = begin; i < end; i++) {
        if (threads[i].state != waited && threads[i].state != State::Done) return false;
        any |= threads[i].state == waited;
    }
    for (size_t i = begin; i < end; i++) {
        if (threads[i].state == waited) threads[i].state = State::Runs;
    }
    return any;
}

static void run_block() {
    if (plain) {
        for (current = 0; current < n_threads; current++) {
            threadIdx = threads[current].index;
            body();
        }
        return;
    }
    for (size_t i = 0; i < n_threads; i++) {
        Thread& thread = threads[i];
        thread.state = State::Runs;
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.get();
        thread.context.uc_stack.ss_size = 1 << 16;
        makecontext(&thread.context, run_body, 0);
    }
    for (;;) {
        for (size_t i = 0; i < n_threads; i++) {
            current = backwards ? n_threads - 1 - i : i;
            if (threads[current].state != State::Runs) continue;
            threadIdx = threads[current].index;
            swapcontext(&scheduler, &threads[current].context);
        }
        bool goes_on = release(State::WaitsForBlock, 0, n_threads);
        for (size_t warp = 0; warp < n_threads; warp += 32) {
            goes_on |= release(State::WaitsForWarp, warp, std::min(warp + 32, n_threads));
        }
        if (goes_on) continue;
        for (size_t i = 0; i < n_threads; i++) {
            if (threads[i].state != State::Done) {
                std::fprintf(stderr, "a barrier that not all threads reach\n");
                std::exit(1);
            }
        }
        return;
    }
}

// Runs a kernel. Shared memory begins with what the block before left in it, as on a device.
template <class Kernel, class... Arguments>
static void launch(dim3 grid, dim3 block, Kernel kernel, Arguments... arguments) {
    gridDim = grid;
    blockDim = block;
    n_threads = block.x * block.y;
    if (threads.size() < n_threads) threads.resize(n_threads);
    exchanged.assign((n_threads + 31) / 32 * 32, 0.0);
    for (unsigned i = 0; i < n_threads; i++) threads[i].index = {i % block.x, i / block.x, 0};
    body = [=] { kernel(arguments...); };
    for (unsigned y = 0; y < grid.y; y++) {
        for (unsigned x = 0; x < grid.x; x++) {
            blockIdx = {x, y, 0};
            run_block();
        }
    }
}

static unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }

static float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

static unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

template <class T>
static T min(T a, T b) {
    return a < b ? a : b;
}
