// What a plan in float32 consists of: operations that run one after the other on one image.
//
// What an operation takes for granted is asserted in debug builds (MMBAS_NATIVE_DEBUG=1).
//
// Layout of a feature map: one zero-padded plane per channel (H = 3, W = 4, pad = 1):
//
//     . . . . .            row -1: zeros
//   . a b c d .            pitch = W + pad: the zero right of a row is the one left of the next
//   . e f g h .
//   . i j k l .
//     . . . . .  + slack   row H: zeros; slack takes what the last vector writes beyond the plane
//
// Position p = y * pitch + x counts from pixel `a`, which is aligned to a vector. A tap of a
// convolution is a shift of p, so a run of positions is a run of vectors whatever the row; lanes
// that are padding are masked to zero before they are stored. Channels that a gate has closed have
// no plane: the planes of the open channels lie one after the other, and the gate's list says
// which channel each of them is.
//
// A convolution of stride 2 reads the four phases of its input instead, each a plane of the
// output's grid:
//
//     a b a b       plane 0: all a     plane 1: all b
//     c d c d       plane 2: all c     plane 3: all d
//     a b a b
#pragma once
#include <cstdint>

#include "../interface/backbone.h"

namespace f32 {

constexpr int kRows = 6;       // output channels per block of packed weights
constexpr int kMaxLanes = 16;  // floats of the widest vector
constexpr int kLookAhead = 8;  // entries of a list between prefetch and use
constexpr int kAllOpen = -1;   // in place of the number of a list

enum Kind : int32_t {
    kSplit,      // tensor or planes -> padded planes (stride 1) or phases (stride 2)
    kConv,       // planes or phases -> planes
    kMaxPool,    // planes -> planes, 3x3, stride 2, of values >= 0
    kAvgPool,    // planes -> planes, stride x stride without overlap, cut at the border
    kSubsample,  // planes -> planes, every stride-th pixel; further channels become zero
    kGate,       // channel sums -> logits and lists of open channels
    kOutput,     // planes -> contiguous tensor
    kFinish,     // planes in place: ReLU where asked for, and their sums
    kClear,      // memory that another feature map has used: zeros from out_offset up to in_offset
    kWindows,    // planes -> planes, averages over windows that cover the map
    kResize,     // planes -> planes of another size, bilinear
};

// When an operation runs: the gate that filled list 0 last is one for a whole block.
enum Guard : int32_t {
    kAlways,
    kIfOpen,    // list 0 is not empty
    kIfClosed,  // list 0 is empty
};

struct Grid {
    int32_t height, width, pitch, channel_stride;  // the last in floats
};

struct Op {
    int32_t kind;
    int32_t in_channels, out_channels;  // all of them, open or not
    int32_t in_list, out_list;          // which list tells the open ones; -1: all are open
    int32_t relu;                       // store max(., 0)
    int32_t accumulate;                 // add to what the output holds
    int32_t pool;                       // keep the sum of each channel for the next gate
    int32_t guard;                      // Guard
    int32_t stride;
    int32_t taps;       // of a convolution's kernel
    int32_t packed;     // weights are in blocks of kRows outputs
    int32_t hidden;     // of a gate: neurons of its first layer
    int32_t tensor;     // kOutput, kGate: which; kSplit: -1 reads planes
    int32_t align_corners;  // kResize: corner pixels lie on each other, not corners of pixels
    int32_t num_lists;  // of a gate: lists that it fills, from which of its gates
    int32_t list_starts[2], list_ends[2];
    Grid in_grid, out_grid;
    int64_t in_offset, out_offset;  // pixel (0, 0) of channel 0, in floats from the workspace
    int64_t scratch;                // memory of the operation itself, likewise
    const int32_t *all;             // 0, 1, ...: the list of a map with all channels
    const int64_t *tap_offsets;     // shift of each tap in floats
    const int32_t *mask;            // all bits set where a position of out_grid is a pixel
    const float *weights, *bias;    // of a gate: its first layer, normalisation included
    const float *weights2, *bias2;  // of a gate: its second layer
};

// Where a worker's memory holds what besides feature maps, in words of 4 bytes from its start.
struct Layout {
    int64_t lists, list_stride;  // lists of open channels
    int64_t pools, pool_stride;  // sums of channels of each thread
    int64_t total;
};

// One image, for each of the `size` threads that share it.
struct Run {
    double (*clock)();  // seconds
    const Op *ops;
    int32_t num_ops;
    Layout layout;
    const MmbasCall *call;
    float *workspace;
    int32_t image, rank, size;
};
typedef void (*RunImage)(const Run &run);
typedef double (*PeakRate)(double (*clock)());  // see peak.h

}  // namespace f32

// Defined once for each instruction set; null where the compiler was not told to use it.
extern "C" {
extern const f32::RunImage mmbas_run_generic, mmbas_run_avx2, mmbas_run_avx512;
extern const f32::PeakRate mmbas_peak_generic, mmbas_peak_avx2, mmbas_peak_avx512;
}
