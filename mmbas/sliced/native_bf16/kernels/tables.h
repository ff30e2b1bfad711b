// Shifts of taps and tables of positions that the steps of a plan point to.
#pragma once
#include <deque>
#include <map>
#include <tuple>
#include <vector>

#include "feature_maps.h"

// In which order a convolution visits the pixels of its output: one after the other, or by
// positions of one plane or of four phases, padding included.
enum Order { kPixels, kPlane, kPhases };

static inline Size size_of(const Map &map) { return {map.grid.height, map.grid.width}; }

class Tables {
  public:
    const int64_t *taps(std::vector<int64_t> shifts);
    // Where the taps of a convolution lie in a map, in bytes.
    const int64_t *conv_taps(const MmbasConv &conv, const Grid &grid);
    // For each position of `source`, or each pixel, the position in `map`; `none` for padding.
    const int32_t *positions(Order order, const Map &map, const Grid &source, int32_t none);
    // For each pixel of so many rows its position.
    const int32_t *rows(int count, int width, int pitch);

  private:
    std::deque<std::vector<int64_t>> taps_;
    std::deque<std::vector<int32_t>> positions_;
    std::map<std::tuple<int, int, int, int, int32_t>, const int32_t *> known_;
};
