// A network from a file, ready to run: the backbone, its head, and how images are prepared.
#pragma once
#include <memory>
#include <mutex>

#include "mmbas.h"
#include "model_file.h"

// A call cannot be done; the text is one clause about it.
class CallError : public std::runtime_error {
   public:
    using std::runtime_error::runtime_error;
};

// Owns what mmbas_backbone_create or mmbas_head_create has made.
struct DestroyBackbone {
    void operator()(MmbasBackbone *backbone) const { mmbas_backbone_destroy(backbone); }
};
typedef std::unique_ptr<MmbasBackbone, DestroyBackbone> OwnedBackbone;

// Memory of one call that the next one uses again.
struct Scratch {
    std::vector<float> images, logits;
    std::vector<std::vector<float>> features, gate_logits;
};

struct MmbasModel {
    MmbasModel(const FileBytes &bytes, const MmbasOpenOptions &options);

    void run(const MmbasImages &images, int num_threads, const MmbasResults &results);
    void output_shape(int output, int height, int width, int32_t shape[3]) const;
    void logits_shape(int height, int width, int32_t shape[3]) const;
    MmbasInfo info() const;

    std::map<std::string, std::string> texts;
    std::vector<std::string> classes;

   private:
    void run(const MmbasImages &images, int num_threads, const MmbasResults &results,
             Scratch &scratch) const;
    const float *prepared(const MmbasImages &images, Scratch &scratch) const;
    void run_head(const MmbasImages &images, int num_threads, const MmbasResults &results,
                  const float *features) const;
    void write_gates(int num_images, const MmbasResults &results, const Scratch &scratch) const;
    int64_t macs(int height, int width, int image, const Scratch &scratch) const;
    int64_t head_macs(int height, int width) const;

    // Without weights.
    std::vector<MmbasConv> stem_, head_convs_;
    std::vector<MmbasBlock> blocks_;
    MmbasHead head_shape_;
    int max_pool_, num_outputs_, num_gates_ = 0;

    Preparation preparation_;
    const char *kernels_;
    OwnedBackbone backbone_, head_;
    std::mutex mutex_;
    std::vector<Scratch> free_;
};
