// What a precision brings: weights packed for its kernels, and plans for image sizes.
#pragma once
#include <memory>
#include <string>

#include "backbone.h"
#include "sizes.h"

// The steps for images of one size.
class SizedPlan {
   public:
    virtual ~SizedPlan() = default;
    // Memory of one worker, which begins at a cache line and is zero before its first image.
    virtual int64_t workspace_bytes() const = 0;
    // Runs one image of a batch; called by each of the `size` threads that share it.
    virtual void run(const MmbasCall &call, char *workspace, int image, int rank,
                     int size) const = 0;
    // What a step does; empty if there is no such step.
    virtual std::string describe(int step) const = 0;
};

class Engine {
   public:
    virtual ~Engine() = default;
    // For at most `threads` threads per image.
    virtual std::unique_ptr<SizedPlan> plan(Size size, int threads) const = 0;
    virtual int64_t weight_bytes() const = 0;
    // Multiply-accumulates per second of one thread whose operands are in the first-level cache.
    virtual double peak_rate() const = 0;
};

// An engine whose weights are copied from a network that has passed why_not(); null if the
// library does not have these kernels in this precision.
std::unique_ptr<Engine> make_float32_engine(const MmbasNetwork &network,
                                            const MmbasOptions &options);
std::unique_ptr<Engine> make_bfloat16_engine(const MmbasNetwork &network,
                                             const MmbasOptions &options);

std::unique_ptr<Engine> make_head_engine(const MmbasHead &head, const MmbasOptions &options);

// Whether the library was compiled with them.
bool has_float32_kernels(int kernels);
bool has_bfloat16_kernels(int kernels);
