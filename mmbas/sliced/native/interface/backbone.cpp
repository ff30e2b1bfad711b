// The C interface of backbone.h: errors, plans for each image size, threads.
#if defined(MMBAS_FOR_PYTORCH) && defined(__clang__)
#error "expected GCC, whose OpenMP calls PyTorch's runtime understands"
#endif
#include "backbone.h"

#include <omp.h>

#include <cstdio>
#include <list>
#include <mutex>
#include <stdexcept>
#include <new>
#include <vector>

#include "buffer.h"
#include "check_network.h"
#include "cpu.h"
#include "engine.h"
#include "read_rate.h"

namespace {

constexpr size_t kMaxPlans = 4;          // image sizes that are kept
constexpr int64_t kMaxPixels = 1 << 26;  // of an image, with room for padding
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
    std::unique_ptr<SizedPlan> plan;
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
        return Buffer(plan->workspace_bytes());
    }
    void give_back(std::vector<Buffer> &buffers) {
        std::lock_guard<std::mutex> lock(mutex);
        for (Buffer &buffer : buffers) free.push_back(std::move(buffer));
    }
    int64_t bytes() {
        std::lock_guard<std::mutex> lock(mutex);
        int64_t total = 0;
        for (const Buffer &buffer : free) total += buffer.bytes();
        return total;
    }
};

// (C, H, W) of each output depends on these alone.
struct Shapes {
    explicit Shapes(const MmbasNetwork &network) {
        for (int i = 0; i < network.num_stem; i++) strides.push_back(network.stem[i].stride);
        if (network.max_pool) strides.push_back(2);
        for (int i = 0; i < network.num_blocks; i++) {
            const MmbasBlock &block = network.blocks[i];
            for (int j = 0; j < block.num_convs; j++) strides.push_back(block.convs[j].stride);
            if (block.output >= 0)
                outputs.push_back({block.convs[block.num_convs - 1].out_channels, strides.size()});
        }
    }

    explicit Shapes(const MmbasHead &head) : average(head.average != 0) {
        outputs.push_back({head.convs[head.num_convs - 1].out_channels, 0});
    }

    struct Output {
        int channels;
        size_t num_strides;  // before it
    };
    bool average = false;  // to one pixel
    std::vector<int> strides;
    std::vector<Output> outputs;
};

}  // namespace

struct MmbasBackbone {
    MmbasBackbone(Shapes shapes, int32_t kernels, std::unique_ptr<Engine> engine)
        : shapes(std::move(shapes)), kernels(kernels), engine(std::move(engine)) {}

    std::shared_ptr<Prepared> prepare(Size size, int threads);

    Shapes shapes;
    int32_t kernels;
    std::unique_ptr<Engine> engine;
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
    prepared->plan = engine->plan(size, threads);
    plans.push_front(prepared);
    if (plans.size() > kMaxPlans) plans.pop_back();
    return prepared;
}

namespace {

void run_batch(const SizedPlan &plan, const MmbasCall &call, const std::vector<Buffer> &memory) {
    const bool alone = memory.size() > 1;  // each thread on images of its own
#pragma omp parallel num_threads(call.num_threads)
    {
        int rank = omp_get_thread_num(), size = omp_get_num_threads();
        if (!alone) {
            for (int image = 0; image < call.num_images; image++)
                plan.run(call, memory[0].data(), image, rank, size);
        } else {
#pragma omp for schedule(dynamic)
            for (int image = 0; image < call.num_images; image++)
                plan.run(call, memory[rank].data(), image, 0, 1);
        }
    }
}

int run_call(MmbasBackbone &backbone, const MmbasCall &call) {
    const Size size = {call.height, call.width};
    if (call.num_images < 1 || size.height < 1 || size.width < 1) return fail("there is no image");
    if ((int64_t)size.height * size.width > kMaxPixels) return fail("the images are too large");
    const bool bfloat16 = call.type == MMBAS_BFLOAT16_TENSORS;
    if (call.type != MMBAS_FLOAT32_TENSORS && !(bfloat16 && has_bfloat16_kernels(backbone.kernels)))
        return fail("the kernels do not take images of this type");
    if (call.num_threads < 1 || call.num_threads > kMaxThreads)
        return fail("the number of threads is not from 1 to 1024");
    const bool alone = call.num_threads > 1 && call.num_images >= call.num_threads;
    auto prepared = backbone.prepare(size, alone ? 1 : call.num_threads);
    std::vector<Buffer> memory;
    for (int i = 0; i < (alone ? call.num_threads : 1); i++) memory.push_back(prepared->borrow());
    run_batch(*prepared->plan, call, memory);
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

std::unique_ptr<Engine> make_engine(const MmbasNetwork &network, const MmbasOptions &options) {
    if (has_float32_kernels(options.kernels)) return make_float32_engine(network, options);
    for (int i = 0; i < network.num_blocks; i++)
        if (network.blocks[i].skip)
            throw std::invalid_argument("the bfloat16 kernels do not skip blocks");
    return make_bfloat16_engine(network, options);
}

std::unique_ptr<Engine> make_engine(const MmbasHead &head, const MmbasOptions &options) {
    return make_head_engine(head, options);
}

template <class Described>
MmbasBackbone *create(const Described &described, const MmbasOptions &options) {
    std::string reason = why_not(described);
    if (!mmbas_can_run(options.kernels)) reason = "this CPU does not have the instructions";
    if (!reason.empty()) {
        fail(reason);
        return nullptr;
    }
    return new MmbasBackbone(Shapes(described), options.kernels, make_engine(described, options));
}

}  // namespace

extern "C" {

int mmbas_interface(void) { return MMBAS_INTERFACE; }

const char *mmbas_backbone_last_error(void) { return last_error.c_str(); }

int mmbas_can_run(int32_t kernels) {
    return (has_float32_kernels(kernels) || has_bfloat16_kernels(kernels)) && cpu_has(kernels);
}

int32_t mmbas_fastest_kernels(int32_t bfloat16) {
    for (int kernels = MMBAS_AMX; kernels >= MMBAS_GENERIC; kernels--) {
        bool wanted = bfloat16 ? has_bfloat16_kernels(kernels) : has_float32_kernels(kernels);
        if (wanted && cpu_has(kernels) && !is_slow(kernels)) return kernels;
    }
    return -1;
}

MmbasBackbone *mmbas_backbone_create(const MmbasNetwork *network, const MmbasOptions *options) {
    return guarded([&] { return create(*network, *options); }, (MmbasBackbone *)nullptr);
}

MmbasBackbone *mmbas_head_create(const MmbasHead *head, const MmbasOptions *options) {
    return guarded([&] { return create(*head, *options); }, (MmbasBackbone *)nullptr);
}

void mmbas_backbone_destroy(MmbasBackbone *backbone) { delete backbone; }

int64_t mmbas_backbone_weight_bytes(const MmbasBackbone *backbone) {
    return backbone->engine->weight_bytes();
}

int64_t mmbas_backbone_workspace_bytes(MmbasBackbone *backbone) {
    std::lock_guard<std::mutex> lock(backbone->mutex);
    int64_t total = 0;
    for (const auto &prepared : backbone->plans) total += prepared->bytes();
    return total;
}

int mmbas_backbone_output_shape(const MmbasBackbone *backbone, int32_t output, int32_t height,
                                int32_t width, int32_t shape[3]) {
    const Shapes &shapes = backbone->shapes;
    if (output < 0 || output >= (int64_t)shapes.outputs.size())
        return fail("there is no such output");
    Size size = {height, width};
    for (size_t i = 0; i < shapes.outputs[output].num_strides; i++)
        size = strided(size, shapes.strides[i]);
    if (shapes.average) size = {1, 1};
    shape[0] = shapes.outputs[output].channels;
    shape[1] = size.height;
    shape[2] = size.width;
    return 0;
}

int mmbas_backbone_describe_step(MmbasBackbone *backbone, int32_t height, int32_t width,
                                 int32_t num_threads, int32_t step, char *text,
                                 int32_t text_bytes) {
    return guarded(
        [&] {
            const auto prepared = backbone->prepare({height, width}, num_threads);
            const std::string description = prepared->plan->describe(step);
            if (description.empty()) return fail("there is no such step");
            std::snprintf(text, text_bytes, "%s", description.c_str());
            return 0;
        },
        -1);
}

void mmbas_backbone_roofline(const MmbasBackbone *backbone, double *macs_rate, double *bytes_rate) {
    *macs_rate = backbone->engine->peak_rate();
    *bytes_rate = read_rate(backbone->engine->weight_bytes(), omp_get_wtime);
}

int mmbas_backbone_run(MmbasBackbone *backbone, const MmbasCall *call) {
    return guarded([&] { return run_call(*backbone, *call); }, -1);
}
}
