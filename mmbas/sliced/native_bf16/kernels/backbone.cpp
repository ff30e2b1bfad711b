// The C interface of backbone.h: errors, plans for each image size, threads.
#if !defined(__GNUC__) || defined(__clang__)
#error "expected GCC, whose OpenMP calls PyTorch's runtime understands"
#endif
#include "backbone.h"

#include <omp.h>

#include <cstdio>
#include <list>
#include <mutex>
#include <new>

#include "cpu.h"
#include "planner.h"

namespace {

constexpr size_t kMaxPlans = 4;              // image sizes that are kept
constexpr int64_t kMaxPixels = 1 << 26;      // of an image, with room for padding
constexpr int kMaxThreads = 1024;

thread_local std::string last_error;

int fail(const std::string &reason) {
    last_error = reason;
    return -1;
}

// A plan and memory of workers that nobody uses at the moment.
struct Prepared {
    Size size;
    int threads;
    std::unique_ptr<FinishedPlan> plan;
    std::mutex mutex;
    std::vector<Buffer> free;

    Buffer borrow() {
        {
            std::lock_guard<std::mutex> lock(mutex);
            if (!free.empty()) {
                Buffer buffer = std::move(free.back());
                free.pop_back();
                return buffer;
            }
        }
        return Buffer(plan->plan.memory.total);
    }
    void give_back(std::vector<Buffer> &buffers) {
        std::lock_guard<std::mutex> lock(mutex);
        for (Buffer &buffer : buffers) free.push_back(std::move(buffer));
    }
};

}  // namespace

struct MmbasBackbone {
    MmbasBackbone(const MmbasNetwork &network, int kernels)
        : layers(network), run(run_function(kernels)) {}

    std::shared_ptr<Prepared> prepare(Size size, int threads);

    NetworkLayers layers;
    RunImage run;
    std::mutex mutex;
    std::list<std::shared_ptr<Prepared>> plans;  // the last one used comes first
};

std::shared_ptr<Prepared> MmbasBackbone::prepare(Size size, int threads) {
    std::lock_guard<std::mutex> lock(mutex);
    for (auto it = plans.begin(); it != plans.end(); ++it) {
        if ((*it)->size == size && (*it)->threads == threads) {
            plans.splice(plans.begin(), plans, it);
            return plans.front();
        }
    }
    auto prepared = std::make_shared<Prepared>();
    prepared->size = size;
    prepared->threads = threads;
    prepared->plan = make_plan(layers, size, threads);
    plans.push_front(prepared);
    if (plans.size() > kMaxPlans) plans.pop_back();
    return prepared;
}

namespace {

void run_batch(const MmbasBackbone &backbone, const Plan &plan, const MmbasCall &call,
               const std::vector<Buffer> &memory) {
    const bool alone = memory.size() > 1;  // each thread on images of its own
#pragma omp parallel num_threads(call.num_threads)
    {
        int rank = omp_get_thread_num(), size = omp_get_num_threads();
        if (!alone) {
            for (int image = 0; image < call.num_images; image++)
                backbone.run({omp_get_wtime, &plan, &call, memory[0].data(), image, rank, size});
        } else {
#pragma omp for schedule(dynamic)
            for (int image = 0; image < call.num_images; image++)
                backbone.run({omp_get_wtime, &plan, &call, memory[rank].data(), image, 0, 1});
        }
    }
}

int run_call(MmbasBackbone &backbone, const MmbasCall &call) {
    const Size size = {call.height, call.width};
    if (call.num_images < 1 || size.height < 1 || size.width < 1)
        return fail("there is no image");
    if ((int64_t)size.height * size.width > kMaxPixels) return fail("the images are too large");
    if (call.num_threads < 1 || call.num_threads > kMaxThreads)
        return fail("the number of threads is not from 1 to 1024");
    const bool alone = call.num_threads > 1 && call.num_images >= call.num_threads;
    auto prepared = backbone.prepare(size, alone ? 1 : call.num_threads);
    std::vector<Buffer> memory;
    for (int i = 0; i < (alone ? call.num_threads : 1); i++) memory.push_back(prepared->borrow());
    run_batch(backbone, prepared->plan->plan, call, memory);
    prepared->give_back(memory);
    return 0;
}

// Calls what may run out of memory; its result, or `failed`.
template <class Function, class Result>
Result guarded(Function function, Result failed) {
    try {
        return function();
    } catch (const std::bad_alloc &) {
        fail("there is not enough memory");
    } catch (const std::exception &error) {
        fail(error.what());
    }
    return failed;
}

}  // namespace

extern "C" {

int mmbas_bf16_interface(void) { return MMBAS_BF16_INTERFACE; }

const char *mmbas_bf16_last_error(void) { return last_error.c_str(); }

int mmbas_bf16_can_run(int32_t kernels) { return can_run(kernels); }

MmbasBackbone *mmbas_bf16_create(const MmbasNetwork *network, int32_t kernels) {
    return guarded(
        [&]() -> MmbasBackbone * {
            if (!can_run(kernels)) {
                fail("this CPU does not have the instructions");
                return nullptr;
            }
            std::string reason = why_not(*network);
            if (!reason.empty()) {
                fail(reason);
                return nullptr;
            }
            return new MmbasBackbone(*network, kernels);
        },
        (MmbasBackbone *)nullptr);
}

void mmbas_bf16_destroy(MmbasBackbone *backbone) { delete backbone; }

int64_t mmbas_bf16_weight_bytes(const MmbasBackbone *backbone) {
    return backbone->layers.weight_bytes();
}

int mmbas_bf16_output_shape(const MmbasBackbone *backbone, int32_t output, int32_t height,
                            int32_t width, int32_t shape[3]) {
    Size size = {height, width};
    for (const ConvLayer &conv : backbone->layers.stem) {
        size = {strided(size.height, conv.shape.stride), strided(size.width, conv.shape.stride)};
    }
    if (backbone->layers.max_pool)
        size = {strided(size.height, kPoolStride), strided(size.width, kPoolStride)};
    for (const BlockLayers &block : backbone->layers.blocks) {
        for (const ConvLayer &conv : block.convs)
            size = {strided(size.height, conv.shape.stride),
                    strided(size.width, conv.shape.stride)};
        if (block.shape.output != output) continue;
        shape[0] = block.convs.back().shape.out_channels;
        shape[1] = size.height;
        shape[2] = size.width;
        return 0;
    }
    return fail("there is no such output");
}

int mmbas_bf16_describe_step(MmbasBackbone *backbone, int32_t height, int32_t width,
                             int32_t num_threads, int32_t step, char *text, int32_t text_bytes) {
    return guarded(
        [&] {
            const auto prepared = backbone->prepare({height, width}, num_threads);
            const std::vector<Step> &steps = prepared->plan->steps;
            if (step < 0 || step >= (int64_t)steps.size()) return fail("there is no such step");
            std::snprintf(text, text_bytes, "%s", describe(steps[step]).c_str());
            return 0;
        },
        -1);
}

int mmbas_bf16_run(MmbasBackbone *backbone, const MmbasCall *call) {
    return guarded([&] { return run_call(*backbone, *call); }, -1);
}
}
