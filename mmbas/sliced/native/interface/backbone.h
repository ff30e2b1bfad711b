// The C interface: a gated residual network is described once, then run on images of any size.
//
// Plain C and no header of PyTorch: Python calls it through ctypes (structures.py mirrors the
// structures), and so does all that reads a network from a file. Everything else, that is buffers,
// packed weights and their caches, is planned behind it, for both precisions.
//
// Numbers: in float32, or weights and feature maps rounded to bfloat16 (nearest even) and products
// summed in float32. Gates are always decided in float32, from float32 sums over the feature maps.
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MMBAS_INTERFACE 4  // counted up with each change of this file

// A convolution with square kernel of odd size, padding `dilation * (kernel / 2)`, normalisation
// folded in. Shapes: weights (out, in, kernel, kernel), bias (out).
typedef struct {
    int32_t in_channels, out_channels, kernel, stride, dilation;
    const float *weights, *bias;
} MmbasConv;

// logits = weights2 relu(weights mean + bias) + bias2, where `mean` is the average over all pixels
// of the block's input. Shapes: weights (hidden, in), weights2 (gates, hidden). A gate is open
// where its logit is > 0.
typedef struct {
    int32_t in_channels, hidden, num_gates;
    const float *weights, *bias, *weights2, *bias2;
} MmbasGate;

enum MmbasShortcut {
    MMBAS_IDENTITY,   // the block's input
    MMBAS_CONV,       // a 1x1 convolution, after average pooling where `pooling` > 1
    MMBAS_SUBSAMPLE,  // every second pixel; channels that the input does not have are zero
};

// What gate 0 of a block does besides: one gate for all of the block, which is skipped where that is
// closed.
enum MmbasSkip {
    MMBAS_NEVER,        // the gates switch channels only
    MMBAS_SKIP_BRANCH,  // relu(shortcut(x)) is left
    MMBAS_SKIP_BLOCK,   // shortcut(x) is left
};

// relu(last(relu(...(relu(first(x)) * gates))) + shortcut(x))
typedef struct {
    int32_t num_convs;       // 2 or 3
    int32_t first_gates[2];  // which gate switches channel 0 of each inner map; -1: none is gated
    int32_t has_gate;
    int32_t shortcut;  // MmbasShortcut
    int32_t pooling;   // size and stride, without padding, cut at the border; 1: none
    int32_t output;    // number of the output that the block's result is; -1: none
    int32_t skip;      // MmbasSkip; float32 alone has another than MMBAS_NEVER
    MmbasConv convs[3];
    MmbasConv shortcut_conv;
    MmbasGate gate;
} MmbasBlock;

// The stem's convolutions, ReLU after each, then 3x3 max pooling of stride 2 where asked for, then
// the blocks.
typedef struct {
    int32_t num_stem, max_pool, num_blocks, num_outputs;
    const MmbasConv *stem;
    const MmbasBlock *blocks;
} MmbasNetwork;

// What a task makes of the last feature map, in float32. The map is averaged to one pixel where
// asked for. Pyramid pooling averages it to so many windows per side, convolves, resizes back
// (bilinear) and puts the results behind the map's channels. Then come the convolutions, of stride
// 1, with ReLU after each but the last.
typedef struct {
    int32_t average, align_corners;
    int32_t num_pools, num_convs;
    int32_t pool_sizes[8];
    MmbasConv pools[8];  // 1x1, ReLU after each
    const MmbasConv *convs;
} MmbasHead;

// Type of images and outputs.
enum MmbasTensors {
    MMBAS_FLOAT32_TENSORS,   // images (N, C, H, W), outputs (N, C', H', W')
    MMBAS_BFLOAT16_TENSORS,  // images (N, C, H, W), outputs (N, H', W', C'); bfloat16 kernels
};

// One batch. Tensors are contiguous; logits and forced logits are float32, (N, gates), one for each
// block with a gate.
typedef struct {
    const void *images;
    int32_t num_images, height, width;
    int32_t num_threads;
    void *const *outputs;
    float *const *logits;        // written: the logits that decided, forced ones where forced
    const float *const *forced;  // each may be null: the gate network decides
    double *step_seconds;        // null, or added to: the time that each step took
    int32_t type;                // MmbasTensors
} MmbasCall;

enum MmbasKernels {
    MMBAS_GENERIC,      // float32, vectors of 16 bytes: SSE2 or NEON
    MMBAS_AVX2,         // float32
    MMBAS_AVX512,       // float32
    MMBAS_PORTABLE,     // bfloat16 in plain C++, the specification of the others
    MMBAS_AVX512_BF16,  // bfloat16, vdpbf16ps
    MMBAS_AMX,          // bfloat16, tdpbf16ps
};

typedef struct {
    int32_t kernels;  // MmbasKernels
    // Feature maps of float32 that together take more bytes share memory, which costs clearing it;
    // -1 is a bound that is seldom passed. Those of bfloat16 share memory always.
    int64_t unshared_bytes;
    // Null, or called while a network is created, with the first weight that has not been copied:
    // those of blocks before have.
    void (*copied)(void *context, const float *next);
    void *context;
} MmbasOptions;

typedef struct MmbasBackbone MmbasBackbone;

// MMBAS_INTERFACE of the compiled library.
int mmbas_interface(void);

// Whether the library has these kernels, and this CPU, operating system and process can run them.
int mmbas_can_run(int32_t kernels);

// The fastest of float32 or bfloat16 that this CPU runs; -1 if none is faster than float32.
int32_t mmbas_fastest_kernels(int32_t bfloat16);

// Copies and packs the weights. Null if the description is not one that can be run.
MmbasBackbone *mmbas_backbone_create(const MmbasNetwork *network, const MmbasOptions *options);

// The same for a head. Its images are feature maps, its one output is the logits; kernels are those
// of float32.
MmbasBackbone *mmbas_head_create(const MmbasHead *head, const MmbasOptions *options);

void mmbas_backbone_destroy(MmbasBackbone *backbone);

// Memory of the packed weights in bytes.
int64_t mmbas_backbone_weight_bytes(const MmbasBackbone *backbone);

// Memory for feature maps that is kept for the next calls, in bytes.
int64_t mmbas_backbone_workspace_bytes(MmbasBackbone *backbone);

// (C, H, W) of an output for images of a size; 0, or -1 if there is no such output.
int mmbas_backbone_output_shape(const MmbasBackbone *backbone, int32_t output, int32_t height,
                                int32_t width, int32_t shape[3]);

// Runs a batch; 0, or -1 on an error. Several threads may call at a time.
int mmbas_backbone_run(MmbasBackbone *backbone, const MmbasCall *call);

// Describes step number `step` of the plan for images of a size, such as "conv inputs 3x3
// 512->512 7x7"; 0, or -1 if there are no more steps.
int mmbas_backbone_describe_step(MmbasBackbone *backbone, int32_t height, int32_t width,
                                 int32_t num_threads, int32_t step, char *text, int32_t text_bytes);

// What one thread of this machine does at best, measured in a few milliseconds: multiply-accumulates
// per second of the backbone's kernels, their operands in the first-level cache, and bytes per
// second of a read of as much memory as the weights take.
void mmbas_backbone_roofline(const MmbasBackbone *backbone, double *macs_rate, double *bytes_rate);

// What the last failed call of this thread complained about: one clause.
const char *mmbas_backbone_last_error(void);

#ifdef __cplusplus
}
#endif
