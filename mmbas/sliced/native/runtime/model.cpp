#include "model.h"

#include <cstring>

#include "../interface/sizes.h"

namespace {

const char *const kKernelNames[] = {"generic",  "avx2",        "avx512",
                                    "portable", "avx512_bf16", "amx"};

int kernels_of(const MmbasOpenOptions &options) {
    if (!options.kernels) {
        int32_t kernels = mmbas_fastest_kernels(options.precision == MMBAS_BFLOAT16);
        if (kernels < 0) throw CallError("this CPU has no bfloat16 that is faster than its float32");
        return kernels;
    }
    for (int kernels = MMBAS_GENERIC; kernels <= MMBAS_AMX; kernels++)
        if (std::strcmp(options.kernels, kKernelNames[kernels]) == 0) return kernels;
    throw CallError(std::string("there are no kernels '") + options.kernels + "'");
}

void must(int result) {
    if (result != 0) throw CallError(mmbas_backbone_last_error());
}

OwnedBackbone must(MmbasBackbone *created) {
    if (!created) throw FileError(std::string("cannot be run: ") + mmbas_backbone_last_error());
    return OwnedBackbone(created);
}

void release_before(void *file, const float *next) { ((const FileBytes *)file)->release(next); }

std::vector<std::string> lines(const std::string &text) {
    std::vector<std::string> result;
    for (size_t start = 0; start < text.size();) {
        size_t end = text.find('\n', start);
        if (end == std::string::npos) end = text.size();
        result.push_back(text.substr(start, end - start));
        start = end + 1;
    }
    return result;
}

int64_t conv_macs(const MmbasConv &conv, Size size, int64_t inputs, int64_t outputs) {
    return (int64_t)size.height * size.width * conv.kernel * conv.kernel * inputs * outputs;
}

int64_t dense_macs(const MmbasConv &conv, Size size) {
    return conv_macs(conv, size, conv.in_channels, conv.out_channels);
}

int count_open(const float *logits, int count) {
    int open = 0;
    for (int g = 0; g < count; g++) open += logits[g] > 0;
    return open;
}

// Floats `to[i] = (from[i * step] - mean) / std`.
template <class Value>
void normalize(const Value *from, int64_t step, int64_t count, float mean, float std, float *to) {
    for (int64_t i = 0; i < count; i++) to[i] = ((float)from[i * step] - mean) / std;
}

}  // namespace

MmbasModel::MmbasModel(const FileBytes &bytes, const MmbasOpenOptions &options) {
    ModelFile file(bytes);
    const int kernels = kernels_of(options);
    MmbasOptions backbone_options = {kernels, -1, release_before, (void *)&bytes};
    const MmbasNetwork network = file.network();
    backbone_ = must(mmbas_backbone_create(&network, &backbone_options));
    if (file.has_head) {
        MmbasOptions head_options = {mmbas_fastest_kernels(0), -1, nullptr, nullptr};
        if (kernels < MMBAS_PORTABLE) head_options.kernels = kernels;
        head_ = must(mmbas_head_create(&file.head, &head_options));
        const int channels = file.head.num_pools ? file.head.pools[0].in_channels
                                                 : file.head.convs[0].in_channels;
        int32_t shape[3];
        must(mmbas_backbone_output_shape(backbone_.get(), file.num_outputs - 1, 1, 1, shape));
        if (shape[0] != channels) throw FileError("has a head that does not fit its backbone");
    }
    kernels_ = kKernelNames[kernels];
    stem_ = std::move(file.stem);
    blocks_ = std::move(file.blocks);
    head_shape_ = file.head;
    head_convs_ = std::move(file.head_convs);
    max_pool_ = file.max_pool;
    num_outputs_ = file.num_outputs;
    for (const MmbasBlock &block : blocks_) num_gates_ += block.has_gate ? block.gate.num_gates : 0;
    preparation_ = std::move(file.preparation);
    texts = std::move(file.texts);
    auto names = texts.find("classes");
    if (names != texts.end()) classes = lines(names->second);
}

MmbasInfo MmbasModel::info() const {
    MmbasInfo info = {};
    info.num_outputs = num_outputs_;
    info.num_gates = num_gates_;
    info.num_classes = head_ ? head_convs_.back().out_channels : 0;
    info.dense = head_ && !head_shape_.average;
    info.image_channels = (int32_t)preparation_.mean.size();
    info.order = preparation_.order;
    for (size_t c = 0; c < preparation_.mean.size(); c++) {
        info.mean[c] = preparation_.mean[c];
        info.std[c] = preparation_.std[c];
    }
    info.kernels = kernels_;
    info.weight_bytes = mmbas_backbone_weight_bytes(backbone_.get());
    if (head_) info.weight_bytes += mmbas_backbone_weight_bytes(head_.get());
    return info;
}

void MmbasModel::output_shape(int output, int height, int width, int32_t shape[3]) const {
    must(mmbas_backbone_output_shape(backbone_.get(), output, height, width, shape));
}

void MmbasModel::logits_shape(int height, int width, int32_t shape[3]) const {
    if (!head_) throw CallError("the file has no head, so there are no logits");
    output_shape(num_outputs_ - 1, height, width, shape);
    must(mmbas_backbone_output_shape(head_.get(), 0, shape[1], shape[2], shape));
}

void MmbasModel::run(const MmbasImages &images, int num_threads, const MmbasResults &results) {
    Scratch scratch;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        if (!free_.empty()) {
            scratch = std::move(free_.back());
            free_.pop_back();
        }
    }
    run(images, num_threads, results, scratch);
    std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(scratch));
}

void MmbasModel::run(const MmbasImages &images, int num_threads, const MmbasResults &results,
                     Scratch &scratch) const {
    if (images.num_images < 1 || images.height < 1 || images.width < 1 || !images.data)
        throw CallError("there is no image");
    scratch.features.resize(num_outputs_);
    scratch.gate_logits.resize(blocks_.size());
    std::vector<void *> features;
    std::vector<float *> logits;
    std::vector<const float *> forced;
    for (int i = 0; i < num_outputs_; i++) {
        int32_t shape[3];
        output_shape(i, images.height, images.width, shape);
        float *given = results.features ? results.features[i] : nullptr;
        size_t floats = (size_t)images.num_images * shape[0] * shape[1] * shape[2];
        if (!given && scratch.features[i].size() < floats) scratch.features[i].resize(floats);
        features.push_back(given ? given : scratch.features[i].data());
    }
    for (size_t i = 0; i < blocks_.size(); i++) {
        if (!blocks_[i].has_gate) continue;
        size_t floats = (size_t)images.num_images * blocks_[i].gate.num_gates;
        std::vector<float> &own = scratch.gate_logits[i];
        if (own.size() < floats) own.resize(floats);
        logits.push_back(own.data());
        forced.push_back(nullptr);
    }
    MmbasCall call = {prepared(images, scratch), images.num_images, images.height, images.width,
                      num_threads, features.data(), logits.data(), forced.data(), nullptr,
                      MMBAS_FLOAT32_TENSORS};
    must(mmbas_backbone_run(backbone_.get(), &call));
    if (results.logits) run_head(images, num_threads, results, (const float *)features.back());
    if (results.gates) write_gates(images.num_images, results, scratch);
    for (int i = 0; results.macs && i < images.num_images; i++)
        results.macs[i] = macs(images.height, images.width, i, scratch);
}

// The images as the network reads them: (N, C, H, W), normalised, in its order of channels.
const float *MmbasModel::prepared(const MmbasImages &images, Scratch &scratch) const {
    if (images.normalized) {
        if (images.type != MMBAS_FLOAT32_VALUES || images.layout != MMBAS_NCHW)
            throw CallError("normalised images are not float32 and NCHW");
        return (const float *)images.data;
    }
    const int channels = (int)preparation_.mean.size();
    const int64_t pixels = (int64_t)images.height * images.width;
    const int64_t floats = images.num_images * channels * pixels;
    if ((int64_t)scratch.images.size() < floats) scratch.images.resize(floats);
    const bool swaps = images.order != preparation_.order && channels == 3;
    const bool planes = images.layout == MMBAS_NCHW;
    for (int64_t i = 0; i < images.num_images; i++) {
        for (int c = 0; c < channels; c++) {
            const int from = swaps ? channels - 1 - c : c;
            int64_t start = i * channels * pixels + (planes ? from * pixels : from);
            int64_t step = planes ? 1 : channels;
            float mean = preparation_.mean[c], std = preparation_.std[c];
            float *to = scratch.images.data() + (i * channels + c) * pixels;
            if (images.type == MMBAS_UINT8)
                normalize((const uint8_t *)images.data + start, step, pixels, mean, std, to);
            else normalize((const float *)images.data + start, step, pixels, mean, std, to);
        }
    }
    return scratch.images.data();
}

void MmbasModel::run_head(const MmbasImages &images, int num_threads, const MmbasResults &results,
                          const float *features) const {
    if (!head_) throw CallError("the file has no head, so there are no logits");
    int32_t shape[3];
    output_shape(num_outputs_ - 1, images.height, images.width, shape);
    void *outputs[1] = {results.logits};
    MmbasCall call = {features, images.num_images, shape[1], shape[2], num_threads, outputs,
                      nullptr, nullptr, nullptr, MMBAS_FLOAT32_TENSORS};
    must(mmbas_backbone_run(head_.get(), &call));
}

void MmbasModel::write_gates(int num_images, const MmbasResults &results,
                             const Scratch &scratch) const {
    for (int i = 0; i < num_images; i++) {
        uint8_t *to = results.gates + (int64_t)i * num_gates_;
        for (size_t b = 0; b < blocks_.size(); b++) {
            const int count = blocks_[b].has_gate ? blocks_[b].gate.num_gates : 0;
            const float *logits = scratch.gate_logits[b].data() + (int64_t)i * count;
            for (int g = 0; g < count; g++) *to++ = logits[g] > 0;
        }
    }
}

// MACs of convolutions and linear layers, by the channels that were open.
int64_t MmbasModel::macs(int height, int width, int image, const Scratch &scratch) const {
    Size size = {height, width};
    int64_t total = 0;
    for (const MmbasConv &conv : stem_) {
        size = strided(size, conv.stride);
        total += dense_macs(conv, size);
    }
    if (max_pool_) size = strided(size, 2);
    for (size_t b = 0; b < blocks_.size(); b++) {
        const MmbasBlock &block = blocks_[b];
        const MmbasGate &gate = block.gate;
        const bool runs = !block.skip || scratch.gate_logits[b][image] > 0;  // of its one gate
        int64_t inputs = block.convs[0].in_channels;
        for (int i = 0; i < block.num_convs; i++) {
            const MmbasConv &conv = block.convs[i];
            const int first = block.has_gate && i + 1 < block.num_convs ? block.first_gates[i] : -1;
            int64_t outputs = conv.out_channels;
            if (first >= 0)
                outputs = count_open(scratch.gate_logits[b].data() +
                                         (int64_t)image * gate.num_gates + first,
                                     conv.out_channels);
            size = strided(size, conv.stride);
            total += runs ? conv_macs(conv, size, inputs, outputs) : 0;
            inputs = outputs;
        }
        if (block.shortcut == MMBAS_CONV) total += dense_macs(block.shortcut_conv, size);
        if (block.has_gate) total += (int64_t)gate.hidden * (gate.in_channels + gate.num_gates);
    }
    return total + (head_ ? head_macs(size.height, size.width) : 0);
}

int64_t MmbasModel::head_macs(int height, int width) const {
    const Size size = head_shape_.average ? Size{1, 1} : Size{height, width};
    int64_t total = 0;
    for (int i = 0; i < head_shape_.num_pools; i++) {
        const int side = head_shape_.pool_sizes[i];
        total += dense_macs(head_shape_.pools[i], {side, side});
    }
    for (const MmbasConv &conv : head_convs_) total += dense_macs(conv, size);
    return total;
}
