// The C interface of include/mmbas.h.
#include <cstring>
#include <new>

#include "model.h"

namespace {

thread_local std::string last_error;

// Calls a function that may throw; its result, or `failed`. `subject` stands before the reason.
template <class Function, class Result>
Result guarded(const std::string &subject, Function function, Result failed) {
    try {
        return function();
    } catch (const FileError &error) {
        last_error = subject + " " + error.what();
    } catch (const std::bad_alloc &) {
        last_error = "there is not enough memory";
    } catch (const std::exception &error) {
        last_error = error.what();
    }
    return failed;
}

constexpr MmbasOpenOptions kDefaults = {MMBAS_FLOAT32, nullptr};

MmbasModel *open_model(const FileBytes &bytes, const MmbasOpenOptions *options) {
    return new MmbasModel(bytes, options ? *options : kDefaults);
}

}  // namespace

extern "C" {

const char *mmbas_last_error(void) { return last_error.c_str(); }

MmbasModel *mmbas_open(const char *path, const MmbasOpenOptions *options) {
    return guarded(
        path, [&] { return open_model(FileBytes(std::string(path)), options); },
        (MmbasModel *)nullptr);
}

MmbasModel *mmbas_open_memory(const void *bytes, size_t num_bytes,
                              const MmbasOpenOptions *options) {
    return guarded(
        "the memory", [&] { return open_model(FileBytes(bytes, num_bytes), options); },
        (MmbasModel *)nullptr);
}

void mmbas_close(MmbasModel *model) { delete model; }

void mmbas_describe(const MmbasModel *model, MmbasInfo *info) { *info = model->info(); }

const char *mmbas_text(const MmbasModel *model, const char *key) {
    auto found = model->texts.find(key);
    return found == model->texts.end() ? nullptr : found->second.c_str();
}

const char *mmbas_class_name(const MmbasModel *model, int32_t number) {
    bool known = number >= 0 && number < (int64_t)model->classes.size();
    return known ? model->classes[number].c_str() : nullptr;
}

int mmbas_output_shape(const MmbasModel *model, int32_t output, int32_t height, int32_t width,
                       int32_t shape[3]) {
    return guarded(
        "", [&] { return model->output_shape(output, height, width, shape), 0; }, -1);
}

int mmbas_logits_shape(const MmbasModel *model, int32_t height, int32_t width, int32_t shape[3]) {
    return guarded("", [&] { return model->logits_shape(height, width, shape), 0; }, -1);
}

int mmbas_run(MmbasModel *model, const MmbasImages *images, int32_t num_threads,
              const MmbasResults *results) {
    return guarded("", [&] { return model->run(*images, num_threads, *results), 0; }, -1);
}
}
