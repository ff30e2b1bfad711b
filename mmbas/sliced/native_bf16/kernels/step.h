// What a plan consists of: steps that run one after the other on one image.
//
// Feature map: blocks of 32 channels; in a block one cache line for each position.
//
//     block 0:  ... pad | 0 | 1 | ... | W-1 | pad | W | ...      each | | = 64 bytes = 32 channels
//     block 1:  the same for channels 32 to 63
//
// Position y * pitch + x, pitch = W + pad: the padding right of a row is the one left of the next.
// A tap of a convolution is a shift of the position, so that 16 consecutive positions of a block,
// which are one operand tile of AMX, are 1 KB of contiguous memory for every tap. Padding stays
// zero: what is computed for positions of padding goes to an extra "dump" position at the end.
//
// A gated map holds its open channels one after the other: open channel number i is lane i % 32 of
// block i / 32. Lanes behind the last channel are zero.
//
// A map that a convolution of stride 2 reads is stored as four phases, each a plane of the
// output's size; the consumer's taps are shifts again:
//
//     a b a b       plane 0: all a     plane 1: all b
//     c d c d       plane 2: all c     plane 3: all d
//     a b a b
#pragma once
#include <cstdint>

#include "../../native/interface/backbone.h"
#include "bfloat16.h"

constexpr int kBlock = 32;                         // channels of a block
constexpr int kLine = kBlock * (int)sizeof(Bf16);  // bytes of a position in a block
constexpr int kRows = 16;                          // rows of a tile
constexpr int kTile = kRows * kBlock;              // elements of a tile
constexpr int kChunk = 64;                         // positions that are computed at a time
constexpr int kPoolStride = 2;                     // of max pooling
constexpr int kBandRows = 4;                       // rows of max pooling at a time
constexpr int kSums = 16;                          // of a gate network, side by side
constexpr int kAllOpen = -1;                       // in place of the number of a list

static inline int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t round_up(int64_t a, int64_t b) { return div_up(a, b) * b; }
static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Where the pixels of a map are. All maps of one size share pitch and padding.
struct Grid {
    int32_t height, width;  // of the map
    int32_t pitch;          // between rows, in positions
    int32_t plane;          // between phases, in positions
    int32_t phased;         // 0: one plane; 1: four
    int32_t dump;           // position for what is no pixel
};

// Functions that several instruction sets compile are static, so that no two share one version.
static inline int64_t position_of(const Grid &grid, int64_t y, int64_t x) {
    if (!grid.phased) return y * grid.pitch + x;
    return (y % 2 * 2 + x % 2) * grid.plane + y / 2 * grid.pitch + x / 2;
}

struct Map {
    int64_t offset;        // of position 0 in block 0, in bytes from the workspace's start
    int64_t block_stride;  // bytes between blocks
    int32_t channels;      // all of them, open or not
    Grid grid;
};

// Which side of a convolution a gate switches, and so the order of its weights; see weights.h.
enum Gated : int32_t { kDense, kOutputs, kInputs, kBoth };

// Weights of gated inputs lie where they are read one after the other: by input, or of 1x1
// convolutions, which have too few weights for each input, by block of outputs.
static inline bool is_by_input(int32_t gated, int64_t taps) {
    return gated == kBoth || (gated == kInputs && taps > 1);
}

// A map and the weights that multiply it.
struct Operand {
    int64_t offset, block_stride;  // of the map
    int32_t channels;              // 0: there is no such operand
    int32_t num_taps;
    const int64_t *taps;  // shifts in bytes
    const Bf16 *weights;
};

// The first convolution: a row of its operand is gathered from the image for each position.
struct ImageConv {
    int32_t kernel, stride, channels;
    int32_t row;        // elements between rows of the padded image
    int32_t width;      // of the output
    int32_t row_bytes;  // of the gathered operand
};

struct ConvStep {
    int32_t gated;  // Gated
    int32_t in_list, out_list;
    Operand main;
    Operand shortcut;  // 1x1 convolution whose result is added; dense
    ImageConv image;   // kernel 0: not a convolution of the image
    int32_t out_channels, out_height, out_width;
    const float *bias;
    int32_t positions;         // to compute
    int32_t large;             // whether threads share positions; else they share outputs
    int32_t piece_blocks;      // blocks of inputs that are packed at a time then
    int32_t inputs_outside;    // in which order; see small_maps.h
    const int32_t *out_table;  // for each of them the output's position
    int64_t out_offset, out_block_stride;
    int32_t out_dump;
    int32_t residual_channels;      // of the map that is added; 0: none is
    const int32_t *residual_table;  // for each position that of this map
    int64_t residual_offset, residual_block_stride;
    int32_t sums;  // keep the sum of each channel for the next gate
};

struct ImageStep {
    int32_t channels, height, width;
    int32_t pad, row;  // pixels of zeros around; elements between rows
};

struct PoolStep {
    Map in, out;
    int32_t size;  // of average pooling, also its stride
    int32_t sums;
};

// The first convolution and the max pooling behind it: see stem.h.
struct StemStep {
    ConvStep conv;  // writes rows of a band; out_offset is not used
    Map band;       // of `kBandRows` pooled rows; its offset is where row 0 is in a thread's band
    Map out;
    int32_t conv_height;  // rows of the convolution's output
};

struct GateStep {
    MmbasGate gate;
    float pixels;       // that the sums are of
    int32_t number;     // among the gates
    int32_t num_lists;  // that it fills, from which of its gates
    int32_t starts[2], ends[2];
};

struct OutputStep {
    Map in;
    int32_t number;
};

enum Kind : int32_t {
    kImage,  // float32 image -> bfloat16, channels last, padded
    kConv,
    kStem,     // the first convolution with max pooling
    kMaxPool,  // 3x3, stride 2, of values >= 0
    kAvgPool,
    kGate,    // channel sums -> logits, lists of open channels
    kOutput,  // map -> float32 tensor
};

struct Step {
    Kind kind;
    union {
        ImageStep image;
        ConvStep conv;
        StemStep stem;
        PoolStep pool;
        GateStep gate;
        OutputStep output;
    };
};

// Where a worker's memory holds what, in bytes from its start.
struct Memory {
    int64_t lists, list_stride;    // lists of open channels
    int64_t sums, sum_stride;      // channel sums of each thread
    int64_t gate;                  // means and hidden values
    int64_t image;                 // image in bfloat16
    int64_t packed;                // weights of open channels that all threads share
    int64_t locals, local_stride;  // memory of each thread: see Local in team.h
    int64_t product_bytes, bias_bytes, picks_bytes;  // parts of it
    int64_t bands, band_stride;  // rows between convolution and max pooling, of each thread
    int64_t total;
};

struct Plan {
    const Step *steps;
    int32_t num_steps;
    Memory memory;
};

// Runs the steps; called by each of `size` threads.
struct Run {
    double (*clock)();  // seconds
    const Plan *plan;
    const MmbasCall *call;
    char *workspace;
    int32_t image, rank, size;
};
typedef void (*RunImage)(const Run &run);
typedef double (*PeakRate)(double (*clock)());  // see peak.h

// Defined once for each instruction set; null where the compiler was not told to use it.
extern const RunImage run_image_portable, run_image_avx512_bf16, run_image_amx;
extern const PeakRate peak_rate_portable, peak_rate_avx512_bf16, peak_rate_amx;
