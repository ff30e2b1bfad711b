// ONNX Runtime's operator mmbas::GatedBackbone, version 1 of the domain `mmbas`.
//
// Input: normalised images (N, C, H, W), float32. Outputs: gates (N, gates), bool; then the feature
// maps of the backbone, float32. Those that have no name in the graph are left out.
// Attributes: `file` (string): the bytes of a runtime file; `bfloat16` (int): 1 computes in it
// where the CPU has it; `threads` (int): 0, the default, takes OpenMP's number.
#include <omp.h>

#include <cstring>
#include <map>
#include <new>

#include "model.h"
#include "ort_api.h"

namespace {

// An error that ONNX Runtime has told.
struct OrtFailure {
    OrtStatus *status;
};

void must(OrtStatus *status) {
    if (status) throw OrtFailure{status};
}

// The status of a function that may throw.
template <class Function>
OrtStatus *guarded(const OrtApi *api, Function function) {
    try {
        function();
        return nullptr;
    } catch (const OrtFailure &failure) {
        return failure.status;
    } catch (const FileError &error) {
        std::string text = std::string("mmbas::GatedBackbone: the file ") + error.what();
        return ort::create_status(api, ort::kInvalidArgument, text.c_str());
    } catch (const std::exception &error) {
        std::string text = std::string("mmbas::GatedBackbone: ") + error.what();
        return ort::create_status(api, ort::kFail, text.c_str());
    }
}

int64_t integer(const OrtApi *api, const OrtKernelInfo *info, const char *name) {
    int64_t value = 0;
    OrtStatus *status = ort::integer_attribute(api, info, name, &value);
    if (status) ort::release_status(api, status);  // there is none, so it is 0
    return status ? 0 : value;
}

std::unique_ptr<MmbasModel> open_file(const OrtApi *api, const OrtKernelInfo *info) {
    size_t bytes = 0;
    must(ort::string_attribute(api, info, "file", nullptr, &bytes));  // with a zero behind it
    Buffer file((int64_t)bytes);
    must(ort::string_attribute(api, info, "file", file.data(), &bytes));
    const bool bfloat16 = integer(api, info, "bfloat16") != 0;
    const MmbasOpenOptions options = {bfloat16 ? MMBAS_BFLOAT16 : MMBAS_FLOAT32, nullptr};
    return std::make_unique<MmbasModel>(FileBytes(file.data(), bytes - 1), options);
}

class Kernel {
   public:
    Kernel(const OrtApi *api, const OrtKernelInfo *info)
        : api_(api), model_(open_file(api, info)), info_(model_->info()),
          threads_((int)integer(api, info, "threads")) {}

    const OrtApi *api() const { return api_; }

    void compute(OrtKernelContext *context) const {
        const OrtValue *value;
        must(ort::input(api_, context, 0, &value));
        void *data;
        must(ort::tensor_data(api_, const_cast<OrtValue *>(value), &data));
        const std::vector<int64_t> shape = shape_of(value);
        if (shape.size() != 4 || shape[1] != info_.image_channels)
            throw CallError("the images are not (N, " + std::to_string(info_.image_channels) +
                            ", H, W)");
        const int num_images = (int)shape[0], height = (int)shape[2], width = (int)shape[3];
        MmbasImages images = {data, MMBAS_FLOAT32_VALUES, MMBAS_NCHW, MMBAS_RGB, 1,
                              num_images, height, width};
        size_t num_outputs;
        must(ort::num_outputs(api_, context, &num_outputs));
        MmbasResults results = {};
        results.gates = output<uint8_t>(context, 0, {num_images, info_.num_gates});
        std::vector<float *> features(info_.num_outputs);
        for (int i = 0; i < info_.num_outputs && i + 1 < (int)num_outputs; i++) {
            int32_t map[3];
            model_->output_shape(i, height, width, map);
            features[i] = output<float>(context, i + 1, {num_images, map[0], map[1], map[2]});
        }
        results.features = features.data();
        if (num_images) model_->run(images, threads_ ? threads_ : omp_get_max_threads(), results);
    }

   private:
    std::vector<int64_t> shape_of(const OrtValue *value) const {
        OrtTensorTypeAndShapeInfo *info;
        must(ort::type_and_shape(api_, value, &info));
        size_t count = 0;
        OrtStatus *status = ort::num_dimensions(api_, info, &count);
        std::vector<int64_t> shape(count);
        if (!status) status = ort::dimensions(api_, info, shape.data(), count);
        ort::release_info(api_, info);
        must(status);
        return shape;
    }

    // Null where nobody wants the output.
    template <class T>
    T *output(OrtKernelContext *context, int index, const std::vector<int64_t> &shape) const {
        OrtValue *value = nullptr;
        must(ort::output(api_, context, index, shape.data(), shape.size(), &value));
        if (!value) return nullptr;
        void *data;
        must(ort::tensor_data(api_, value, &data));
        return (T *)data;
    }

    const OrtApi *api_;
    std::unique_ptr<MmbasModel> model_;
    MmbasInfo info_;
    int threads_;
};

OrtStatus *create_kernel(const OrtCustomOp *, const OrtApi *api, const OrtKernelInfo *info,
                         void **kernel) {
    return guarded(api, [&] { *kernel = new Kernel(api, info); });
}

OrtStatus *compute(void *kernel, OrtKernelContext *context) {
    const Kernel &own = *(const Kernel *)kernel;
    return guarded(own.api(), [&] { own.compute(context); });
}

const OrtCustomOp kOperator = {
    ort::kVersion,
    nullptr,
    [](const OrtCustomOp *) { return "GatedBackbone"; },
    [](const OrtCustomOp *) { return "CPUExecutionProvider"; },
    [](const OrtCustomOp *, size_t) -> int { return ort::kFloat; },
    [](const OrtCustomOp *) -> size_t { return 1; },
    [](const OrtCustomOp *, size_t i) -> int { return i ? ort::kFloat : ort::kBool; },
    [](const OrtCustomOp *) -> size_t { return 2; },
    nullptr,
    [](void *kernel) { delete (Kernel *)kernel; },
    [](const OrtCustomOp *, size_t) -> int { return ort::kRequired; },
    [](const OrtCustomOp *, size_t i) -> int { return i ? ort::kVariadic : ort::kOptional; },
    [](const OrtCustomOp *, size_t) { return 0; },
    [](const OrtCustomOp *) { return 1; },
    [](const OrtCustomOp *) { return 1; },
    [](const OrtCustomOp *) { return 1; },
    [](const OrtCustomOp *) { return 1; },
    create_kernel,
    compute,
};

// One for each ONNX Runtime in the process; sessions use it until they end.
OrtCustomOpDomain *domain_of(const OrtApi *api) {
    static std::mutex mutex;
    static std::map<const OrtApi *, OrtCustomOpDomain *> domains;
    std::lock_guard<std::mutex> lock(mutex);
    OrtCustomOpDomain *&domain = domains[api];
    if (!domain) {
        must(ort::create_domain(api, "mmbas", &domain));
        must(ort::add_operator(api, domain, &kOperator));
    }
    return domain;
}

}  // namespace

// What SessionOptions.register_custom_ops_library looks for.
extern "C" MMBAS_API OrtStatus *RegisterCustomOps(OrtSessionOptions *options,
                                                  const OrtApiBase *base) {
    const OrtApi *api = base->get_api(ort::kVersion);
    return guarded(api, [&] { must(ort::add_domain(api, options, domain_of(api))); });
}
