// Where the padded planes of feature maps lie in the workspace; the layout is drawn in plan.h.
#pragma once
#include <deque>
#include <string>
#include <vector>

#include "../interface/sizes.h"
#include "plan.h"

namespace f32 {

inline int64_t round_up(int64_t number, int64_t multiple) {
    return (number + multiple - 1) / multiple * multiple;
}

// The grid that all feature maps of one size share.
struct Level {
    Size size;
    int pad = 0;  // zeros around the pixels, as many as the widest convolution needs

    int pitch() const { return size.width + pad; }
    // Positions from channel to channel; the padding between two planes is shared.
    int64_t plane_floats() const;
    // Positions that a convolution reads before the first pixel.
    int64_t lead() const { return round_up((int64_t)pad * (pitch() + 1), kMaxLanes); }
    // For each position of a plane: all bits set (-1) if it is a pixel, else 0.
    std::vector<int32_t> mask() const;
};

// Memory for the planes of one or, in turns, several feature maps.
struct FeatureMap {
    Level *level;
    int phases;           // planes per channel: 4 for the input of a convolution of stride 2
    int channels = 0;     // most that it holds
    int64_t offset = -1;  // of pixel (0, 0) of channel 0, in floats from the workspace

    // All of its memory: what convolutions read before and behind the planes included.
    int64_t num_floats() const;
    int64_t start() const { return offset - level->lead(); }
    void place(int64_t start) { offset = start + level->lead(); }
    // A phase counts as a channel on request.
    Grid grid(bool phase_wise = false) const;
};

// All feature maps of a network at one image size.
class FeatureMaps {
   public:
    // Memory for planes of `size`, that of one phase if there are four. Maps of one role are never
    // needed at the same time. Maps of different sizes leave different parts of the phases
    // unwritten, and those must stay zero: so `phases_of` is the size before it was split.
    FeatureMap *get(const std::string &role, int channels, Size size, Size phases_of = {});

    std::deque<FeatureMap> maps;
    std::deque<Level> levels;

   private:
    Level *level(Size size);

    struct Key {
        std::string role;
        Size size, phases_of;
    };
    std::deque<Key> keys_;  // of `maps`
};

// Shift within a phase, and the phase, of one tap of a row or column.
struct TapShift {
    int shift, phase;
};
TapShift tap_shift(const MmbasConv &conv, int tap);

// Pixels that a convolution reads beyond the borders of its input, or of a phase of it.
int halo(const MmbasConv &conv);

// Shift of each tap into the input, in floats; `level` is that of the output.
std::vector<int64_t> tap_offsets(const MmbasConv &conv, const Level &level);

}  // namespace f32
