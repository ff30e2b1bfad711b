// The part of ONNX Runtime's C API that the operator uses, declared here since no package of
// Debian 12 and no Python package has its headers.
//
// Source: the binary interface of onnxruntime_c_api.h, version 16 (ONNX Runtime 1.16) and later: a
// table of functions to which later versions append only. Each position of a function that is
// called is given by its number in that table.
#pragma once
#include <cstddef>
#include <cstdint>

extern "C" {

struct OrtApi;
struct OrtCustomOpDomain;
struct OrtKernelContext;
struct OrtKernelInfo;
struct OrtSessionOptions;
struct OrtStatus;
struct OrtTensorTypeAndShapeInfo;
struct OrtValue;

struct OrtApiBase {
    const OrtApi *(*get_api)(uint32_t version);
    const char *(*get_version)();
};

// What an operator is: version 16 of the structure.
struct OrtCustomOp {
    uint32_t version;
    void *(*create_kernel)(const OrtCustomOp *, const OrtApi *, const OrtKernelInfo *);
    const char *(*name)(const OrtCustomOp *);
    const char *(*execution_provider)(const OrtCustomOp *);
    int (*input_type)(const OrtCustomOp *, size_t);
    size_t (*num_inputs)(const OrtCustomOp *);
    int (*output_type)(const OrtCustomOp *, size_t);
    size_t (*num_outputs)(const OrtCustomOp *);
    void (*compute)(void *, OrtKernelContext *);
    void (*destroy_kernel)(void *);
    int (*input_characteristic)(const OrtCustomOp *, size_t);
    int (*output_characteristic)(const OrtCustomOp *, size_t);
    int (*input_memory_type)(const OrtCustomOp *, size_t);
    int (*variadic_input_min)(const OrtCustomOp *);
    int (*variadic_input_homogeneous)(const OrtCustomOp *);
    int (*variadic_output_min)(const OrtCustomOp *);
    int (*variadic_output_homogeneous)(const OrtCustomOp *);
    OrtStatus *(*create_kernel_v2)(const OrtCustomOp *, const OrtApi *, const OrtKernelInfo *,
                                   void **);
    OrtStatus *(*compute_v2)(void *, OrtKernelContext *);
};
}

namespace ort {

constexpr uint32_t kVersion = 16;
enum ElementType { kFloat = 1, kBool = 9 };
enum Characteristic { kRequired = 0, kOptional = 1, kVariadic = 2 };
enum ErrorCode { kFail = 1, kInvalidArgument = 2 };

// Function number `position` of the table.
template <class Function>
Function function(const OrtApi *api, int position) {
    return ((const Function *)api)[position];
}

inline OrtStatus *create_status(const OrtApi *api, ErrorCode code, const char *message) {
    return function<OrtStatus *(*)(int, const char *)>(api, 0)(code, message);
}
inline OrtStatus *create_domain(const OrtApi *api, const char *name, OrtCustomOpDomain **domain) {
    return function<OrtStatus *(*)(const char *, OrtCustomOpDomain **)>(api, 26)(name, domain);
}
inline OrtStatus *add_operator(const OrtApi *api, OrtCustomOpDomain *domain,
                               const OrtCustomOp *op) {
    return function<OrtStatus *(*)(OrtCustomOpDomain *, const OrtCustomOp *)>(api, 27)(domain, op);
}
inline OrtStatus *add_domain(const OrtApi *api, OrtSessionOptions *options,
                             OrtCustomOpDomain *domain) {
    return function<OrtStatus *(*)(OrtSessionOptions *, OrtCustomOpDomain *)>(api, 28)(options,
                                                                                      domain);
}
inline OrtStatus *tensor_data(const OrtApi *api, OrtValue *value, void **data) {
    return function<OrtStatus *(*)(OrtValue *, void **)>(api, 51)(value, data);
}
inline OrtStatus *num_dimensions(const OrtApi *api, const OrtTensorTypeAndShapeInfo *info,
                                 size_t *count) {
    return function<OrtStatus *(*)(const OrtTensorTypeAndShapeInfo *, size_t *)>(api, 61)(info,
                                                                                         count);
}
inline OrtStatus *dimensions(const OrtApi *api, const OrtTensorTypeAndShapeInfo *info,
                             int64_t *values, size_t count) {
    return function<OrtStatus *(*)(const OrtTensorTypeAndShapeInfo *, int64_t *, size_t)>(api, 62)(
        info, values, count);
}
inline OrtStatus *type_and_shape(const OrtApi *api, const OrtValue *value,
                                 OrtTensorTypeAndShapeInfo **info) {
    return function<OrtStatus *(*)(const OrtValue *, OrtTensorTypeAndShapeInfo **)>(api, 65)(value,
                                                                                            info);
}
inline OrtStatus *integer_attribute(const OrtApi *api, const OrtKernelInfo *info, const char *name,
                                    int64_t *value) {
    return function<OrtStatus *(*)(const OrtKernelInfo *, const char *, int64_t *)>(api, 86)(
        info, name, value);
}
inline OrtStatus *string_attribute(const OrtApi *api, const OrtKernelInfo *info, const char *name,
                                   char *text, size_t *bytes) {
    return function<OrtStatus *(*)(const OrtKernelInfo *, const char *, char *, size_t *)>(
        api, 87)(info, name, text, bytes);
}
inline OrtStatus *num_outputs(const OrtApi *api, const OrtKernelContext *context, size_t *count) {
    return function<OrtStatus *(*)(const OrtKernelContext *, size_t *)>(api, 89)(context, count);
}
inline OrtStatus *input(const OrtApi *api, const OrtKernelContext *context, size_t index,
                        const OrtValue **value) {
    return function<OrtStatus *(*)(const OrtKernelContext *, size_t, const OrtValue **)>(api, 90)(
        context, index, value);
}
inline OrtStatus *output(const OrtApi *api, OrtKernelContext *context, size_t index,
                         const int64_t *shape, size_t num_dimensions, OrtValue **value) {
    return function<OrtStatus *(*)(OrtKernelContext *, size_t, const int64_t *, size_t,
                                   OrtValue **)>(api, 91)(context, index, shape, num_dimensions,
                                                          value);
}
inline void release_status(const OrtApi *api, OrtStatus *status) {
    function<void (*)(OrtStatus *)>(api, 93)(status);
}
inline void release_info(const OrtApi *api, OrtTensorTypeAndShapeInfo *info) {
    function<void (*)(OrtTensorTypeAndShapeInfo *)>(api, 99)(info);
}

}  // namespace ort
