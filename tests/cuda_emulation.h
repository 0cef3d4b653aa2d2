// As much of CUDA as a kernel of one block dimension needs, on one thread of the CPU.
//
// The threads of a block are coroutines that run one after the other from barrier to barrier, so
// that whatever depends on their order between two barriers shows when the order is reversed.

#include <ucontext.h>

#include <cmath>
#include <cstring>
#include <vector>

#define __global__
#define __device__
#define __shared__

struct alignas(16) float4 {
    float x, y, z, w;
};
struct Index {
    int x;
};

static Index threadIdx, blockIdx, gridDim;

// The block's shared memory; more than any GPU has, to notice who goes too far.
alignas(16) float4 memory[1 << 15];

namespace emulation {

struct Thread {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(1 << 16);
    bool done = false;
    int vote = 0;
};

static std::vector<Thread> threads;
static ucontext_t scheduler;
static void (*body)();

static void enter() {
    body();
    threads[threadIdx.x].done = true;
}

static void start(Thread& thread) {
    thread.done = false;
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.data();
    thread.context.uc_stack.ss_size = thread.stack.size();
    thread.context.uc_link = &scheduler;
    makecontext(&thread.context, enter, 0);
}

// Runs all threads to the next barrier or to their end; how many ended.
static int advance(bool backwards) {
    const int count = threads.size();
    int done = 0;
    for (int i = 0; i < count; ++i) {
        threadIdx.x = backwards ? count - 1 - i : i;
        Thread& thread = threads[threadIdx.x];
        swapcontext(&scheduler, &thread.context);
        done += thread.done;
    }
    return done;
}

// 0, or what went wrong: 1 for a barrier that not all threads reached, 2 for a block that wrote
// beyond its shared memory.
static int run(int blocks, int block_size, int shared_bytes, bool backwards, void (*kernel)()) {
    threads.resize(block_size);
    gridDim.x = blocks;
    body = kernel;
    char* bytes = (char*)memory;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
        // NaN in every float, so that reading what was not written is noticed as well.
        memset(bytes, 0xff, sizeof memory);
        for (Thread& thread : threads) start(thread);
        for (int done = 0; done < block_size;) {
            done = advance(backwards);
            if (done != 0 && done != block_size) return 1;
        }
        for (size_t i = shared_bytes; i < sizeof memory; ++i)
            if (bytes[i] != (char)0xff) return 2;
    }
    return 0;
}

}  // namespace emulation

static void __syncthreads() {
    const int me = threadIdx.x;
    swapcontext(&emulation::threads[me].context, &emulation::scheduler);
}

static unsigned __ballot_sync(unsigned, int vote) {
    const int me = threadIdx.x;
    emulation::threads[me].vote = vote;
    __syncthreads();
    unsigned mask = 0;
    for (int lane = 0; lane < 32; ++lane)
        if (emulation::threads[me / 32 * 32 + lane].vote) mask |= 1u << lane;
    __syncthreads();
    return mask;
}

static int __popc(unsigned x) { return __builtin_popcount(x); }
static int __ffs(unsigned x) { return __builtin_ffs(x); }

static float half_value(unsigned short bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float size =
        exponent ? std::ldexp(1024.0f + fraction, exponent - 25) : std::ldexp((float)fraction, -24);
    return bits >> 15 ? -size : size;
}
