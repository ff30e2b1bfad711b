/* Runs a channel gated network from a file, without Python or PyTorch.
 *
 *     MmbasModel *model = mmbas_open("network.mmbas", NULL);
 *     if (!model) puts(mmbas_last_error());
 *     MmbasImages images = {pixels, MMBAS_UINT8, MMBAS_NHWC, MMBAS_RGB, 0, 1, height, width};
 *     MmbasResults results = {0};
 *     results.logits = logits;
 *     if (mmbas_run(model, &images, 1, &results)) puts(mmbas_last_error());
 *     mmbas_close(model);
 *
 * Files are written by tools/export_runtime.py and described in docs/runtime-file.md. A model may
 * be run by several threads at a time. Functions that fail return NULL or -1 and say why in
 * mmbas_last_error(). */
#ifndef MMBAS_H
#define MMBAS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MMBAS_API __attribute__((visibility("default")))
#else
#define MMBAS_API
#endif

#define MMBAS_VERSION 1 /* of this interface */

enum MmbasPrecision { MMBAS_FLOAT32, MMBAS_BFLOAT16 };

typedef struct {
    int32_t precision;   /* MmbasPrecision of the backbone; a head always runs in float32 */
    const char *kernels; /* "generic", "avx2", "avx512", "portable", "avx512_bf16", "amx"; NULL: the
                            fastest of the precision */
} MmbasOpenOptions;

enum MmbasType { MMBAS_FLOAT32_VALUES, MMBAS_UINT8 };
enum MmbasLayout { MMBAS_NCHW, MMBAS_NHWC };
enum MmbasOrder { MMBAS_RGB, MMBAS_BGR };

/* A batch. Values are 0 to 255, and the model normalises them; or `normalized`, then they are what
 * the network reads, in its own order of channels. */
typedef struct {
    const void *data;
    int32_t type;       /* MmbasType */
    int32_t layout;     /* MmbasLayout */
    int32_t order;      /* MmbasOrder */
    int32_t normalized; /* 0 or 1; 1 needs float32 */
    int32_t num_images, height, width;
} MmbasImages;

/* Where results go; each pointer may be NULL. */
typedef struct {
    float *logits;          /* (N, classes), or (N, classes, H', W'): see mmbas_logits_shape */
    float *const *features; /* for each output of the backbone (N, C, H', W') or NULL */
    uint8_t *gates;         /* (N, num_gates): 1 where a gate is open */
    int64_t *macs;          /* (N): multiply-accumulates that each image took */
} MmbasResults;

typedef struct {
    int32_t num_outputs;    /* of the backbone */
    int32_t num_gates;      /* of all blocks, in their order */
    int32_t num_classes;    /* 0: the file has no head, so there are no logits */
    int32_t dense;          /* 1: the logits are maps */
    int32_t image_channels;
    int32_t order;          /* MmbasOrder that the network reads */
    float mean[4], std[4];  /* in that order; (value - mean) / std */
    const char *kernels;    /* that run the backbone */
    int64_t weight_bytes;   /* memory of all weights */
} MmbasInfo;

typedef struct MmbasModel MmbasModel;

/* `options` may be NULL: float32. */
MMBAS_API MmbasModel *mmbas_open(const char *path, const MmbasOpenOptions *options);

/* The same from a file's bytes, which are copied. */
MMBAS_API MmbasModel *mmbas_open_memory(const void *bytes, size_t num_bytes,
                                        const MmbasOpenOptions *options);

/* NULL is left alone. */
MMBAS_API void mmbas_close(MmbasModel *model);

/* Pointers in it live as long as the model. */
MMBAS_API void mmbas_describe(const MmbasModel *model, MmbasInfo *info);

/* What the file says about `key`, such as "config", "version" or "classes"; NULL if nothing. */
MMBAS_API const char *mmbas_text(const MmbasModel *model, const char *key);

/* Name of a class; NULL if the file does not have it. */
MMBAS_API const char *mmbas_class_name(const MmbasModel *model, int32_t number);

/* (C, H', W') of an output of the backbone for images of a size; 0, or -1. */
MMBAS_API int mmbas_output_shape(const MmbasModel *model, int32_t output, int32_t height,
                                 int32_t width, int32_t shape[3]);

/* (classes, H', W') of the logits; H' = W' = 1 unless they are maps. */
MMBAS_API int mmbas_logits_shape(const MmbasModel *model, int32_t height, int32_t width,
                                 int32_t shape[3]);

/* Runs a batch with so many threads; 0, or -1. */
MMBAS_API int mmbas_run(MmbasModel *model, const MmbasImages *images, int32_t num_threads,
                        const MmbasResults *results);

/* What the last failed call of this thread complained about, one line. */
MMBAS_API const char *mmbas_last_error(void);

#ifdef __cplusplus
}
#endif
#endif
