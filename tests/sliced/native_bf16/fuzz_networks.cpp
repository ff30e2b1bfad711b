// Random small networks through the C interface, each set of kernels against the portable one.
//
//     fuzz_networks [networks] [first seed]
//
// `make fuzz-bf16` compiles it and the kernels with AddressSanitizer and
// UndefinedBehaviorSanitizer.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <random>
#include <vector>

#include "../../../mmbas/sliced/native/interface/backbone.h"

namespace {

struct Random {
    std::mt19937 engine;
    int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine); }
    std::vector<float> values(size_t count, float scale) {
        std::normal_distribution<float> normal(0, scale);
        std::vector<float> result(count);
        for (float &value : result) value = normal(engine);
        return result;
    }
};

// A random description and the memory that it points to.
struct Network {
    Random &random;
    std::deque<std::vector<float>> memory;
    std::vector<MmbasConv> stem;
    std::vector<MmbasBlock> blocks;
    MmbasNetwork network = {};

    explicit Network(Random &random) : random(random) {
        int channels = 3, outputs = 0, num_stem = random.between(1, 3);
        for (int i = 0; i < num_stem; i++) {
            int out = random.between(1, 70);
            int kernel = random.between(0, 1) ? 3 : 7;
            stem.push_back(conv(channels, out, kernel, i ? 1 : random.between(1, 2), 1));
            channels = out;
        }
        int num_blocks = random.between(1, 4);
        for (int i = 0; i < num_blocks; i++) {
            blocks.push_back(block(channels));
            channels = blocks.back().convs[blocks.back().num_convs - 1].out_channels;
            if (i + 1 == num_blocks || random.between(0, 1)) blocks.back().output = outputs++;
        }
        network = {num_stem, random.between(0, 1), num_blocks, outputs, stem.data(), blocks.data()};
    }

    const float *values(size_t count, float scale) {
        memory.push_back(random.values(count, scale));
        return memory.back().data();
    }

    MmbasConv conv(int in, int out, int kernel, int stride, int dilation) {
        int fan_in = in * kernel * kernel;
        return {in,
                out,
                kernel,
                stride,
                dilation,
                values((size_t)out * fan_in, std::sqrt(2.f / (float)fan_in)),
                values(out, 0.2f)};
    }

    void add_gate(MmbasBlock &block, int channels) {
        int gates = 0;
        for (int i = 0; i + 1 < block.num_convs; i++) {
            if (!random.between(0, 3)) continue;
            block.first_gates[i] = gates;
            gates += block.convs[i].out_channels;
        }
        if (!gates) return;
        int hidden = random.between(1, 20);
        block.has_gate = 1;
        block.gate = {channels,
                      hidden,
                      gates,
                      values((size_t)hidden * channels, 0.3f),
                      values(hidden, 0.1f),
                      values((size_t)gates * hidden, 0.3f),
                      values(gates, 0.1f)};
    }

    MmbasBlock block(int in) {
        MmbasBlock block = {};
        block.num_convs = random.between(2, 3);
        block.first_gates[0] = block.first_gates[1] = block.output = -1;
        block.pooling = 1;
        bool bottleneck = block.num_convs == 3;
        int stride = random.between(0, 2) ? 1 : 2, dilation = 1 << random.between(0, 2);
        int out = random.between(0, 1) ? in : random.between(1, 90), channels = in;
        for (int i = 0; i < block.num_convs; i++) {
            int next = i + 1 < block.num_convs ? random.between(1, 70) : out;
            bool middle = i == (bottleneck ? 1 : 0);
            int kernel = bottleneck && !middle ? 1 : 3;
            block.convs[i] =
                conv(channels, next, kernel, middle ? stride : 1, middle ? dilation : 1);
            channels = next;
        }
        if (stride == 1 && out == in && random.between(0, 2)) block.shortcut = MMBAS_IDENTITY;
        else if (stride == 2 && out >= in && random.between(0, 1)) block.shortcut = MMBAS_SUBSAMPLE;
        else {
            bool pooled = stride == 2 && random.between(0, 1);
            block.shortcut = MMBAS_CONV;
            block.pooling = pooled ? 2 : 1;
            block.shortcut_conv = conv(in, out, 1, pooled ? 1 : stride, 1);
        }
        if (random.between(0, 5)) add_gate(block, in);
        return block;
    }
};

// Images and, for each gate, logits that leave none, some or all of it open.
struct Batch {
    int num_images, height, width;
    std::vector<float> images;
    std::vector<std::vector<float>> forced;

    Batch(Random &random, const Network &network)
        : num_images(random.between(1, 3)), height(random.between(1, 18)),
          width(random.between(1, 22)),
          images(random.values((size_t)num_images * 3 * height * width, 1)) {
        for (const MmbasBlock &block : network.blocks) {
            if (!block.has_gate) continue;
            forced.emplace_back();
            for (int i = 0; i < num_images; i++) {
                int open = random.between(0, 3);
                for (int g = 0; g < block.gate.num_gates; g++)
                    forced.back().push_back(random.between(0, 2) < open ? 1.f : -1.f);
            }
        }
    }
};

struct Backbone {
    MmbasBackbone *handle;
    Backbone(const MmbasNetwork &network, int kernels) : handle(create(network, kernels)) {
        if (!handle) fail();
    }
    Backbone(const Backbone &) = delete;
    ~Backbone() { mmbas_backbone_destroy(handle); }

    static MmbasBackbone *create(const MmbasNetwork &network, int kernels) {
        MmbasOptions options = {kernels, network.num_blocks % 2 ? -1 : 0};
        return mmbas_backbone_create(&network, &options);
    }

    [[noreturn]] static void fail() {
        std::printf("refused: %s\n", mmbas_backbone_last_error());
        std::exit(1);
    }

    std::vector<std::vector<float>> run(const Batch &batch, int num_outputs, int threads) {
        std::vector<std::vector<float>> outputs, logits;
        std::vector<void *> output_pointers;
        std::vector<float *> logit_pointers;
        std::vector<const float *> forced_pointers;
        for (int i = 0; i < num_outputs; i++) {
            int32_t shape[3];
            if (mmbas_backbone_output_shape(handle, i, batch.height, batch.width, shape)) fail();
            outputs.emplace_back((size_t)batch.num_images * shape[0] * shape[1] * shape[2]);
        }
        for (const auto &forced : batch.forced) {
            logits.emplace_back(forced.size());
            forced_pointers.push_back(forced.data());
        }
        for (auto &output : outputs) output_pointers.push_back(output.data());
        for (auto &each : logits) logit_pointers.push_back(each.data());
        MmbasCall call = {batch.images.data(),
                          batch.num_images,
                          batch.height,
                          batch.width,
                          threads,
                          output_pointers.data(),
                          logit_pointers.data(),
                          forced_pointers.data(),
                          nullptr,
                          MMBAS_FLOAT32_TENSORS};
        if (mmbas_backbone_run(handle, &call)) fail();
        return outputs;
    }
};

// Largest difference by the largest value; never below that of values near 1.
double distance(const std::vector<std::vector<float>> &a,
                const std::vector<std::vector<float>> &b) {
    double result = 0;
    for (size_t i = 0; i < a.size(); i++) {
        double largest = 0.2, difference = 0;
        for (size_t j = 0; j < a[i].size(); j++) {
            largest = std::max(largest, (double)std::fabs(b[i][j]));
            if (std::isnan(a[i][j])) return INFINITY;
            difference = std::max(difference, (double)std::fabs(a[i][j] - b[i][j]));
        }
        result = std::max(result, difference / largest);
    }
    return result;
}

}  // namespace

int main(int argc, char **argv) {
    const int networks = argc > 1 ? std::atoi(argv[1]) : 500;
    const int first = argc > 2 ? std::atoi(argv[2]) : 0;
    double worst = 0;
    for (int seed = first; seed < first + networks; seed++) {
        Random random = {std::mt19937(seed)};
        Network network(random);
        Backbone portable(network.network, MMBAS_PORTABLE);
        for (int repeat = 0; repeat < 1 + seed % 2; repeat++) {
            Batch batch(random, network);
            auto expected = portable.run(batch, network.network.num_outputs, 1);
            for (int kernels = MMBAS_GENERIC; kernels <= MMBAS_AMX; kernels++) {
                if (!mmbas_can_run(kernels)) continue;
                Backbone other(network.network, kernels);
                auto actual = other.run(batch, network.network.num_outputs, random.between(1, 3));
                double apart = distance(actual, expected);
                worst = std::max(worst, apart);
                if (apart <= 0.02) continue;
                std::printf("seed %d, kernels %d: %g apart\n", seed, kernels, apart);
                return 1;
            }
        }
    }
    std::printf("%d networks, at most %.4f apart\n", networks, worst);
    return 0;
}
