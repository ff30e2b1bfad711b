#include "tables.h"

namespace {

int floor_half(int a) { return (a - (a & 1)) / 2; }

}  // namespace

const int64_t *Tables::taps(std::vector<int64_t> shifts) {
    taps_.push_back(std::move(shifts));
    return taps_.back().data();
}

const int64_t *Tables::conv_taps(const MmbasConv &conv, const Grid &grid) {
    std::vector<int64_t> shifts;
    const int radius = conv.kernel / 2;
    for (int y = -radius; y <= radius; y++) {
        for (int x = -radius; x <= radius; x++) {
            int dy = y * conv.dilation, dx = x * conv.dilation;
            int64_t position = (int64_t)dy * grid.pitch + dx;
            if (conv.stride == 2)
                position = (int64_t)((dy & 1) * 2 + (dx & 1)) * grid.plane +
                           (int64_t)floor_half(dy) * grid.pitch + floor_half(dx);
            shifts.push_back(position * kLine);
        }
    }
    return taps(std::move(shifts));
}

const int32_t *Tables::positions(Order order, const Map &map, const Grid &source, int32_t none) {
    const Size size = size_of(map);
    auto key = std::make_tuple((int)order, size.height, size.width, map.grid.phased, none);
    auto found = known_.find(key);
    if (found != known_.end()) return found->second;
    const int pitch = order == kPixels ? size.width : source.pitch;
    const int64_t count = order == kPixels ? (int64_t)size.height * size.width : span(source);
    std::vector<int32_t> positions;
    positions.reserve(count);
    for (int64_t p = 0; p < count; p++) {
        int64_t phase = order == kPhases ? p / source.plane : 0;
        int64_t rest = p - phase * source.plane, y = rest / pitch, x = rest % pitch;
        if (order == kPhases) {
            y = 2 * y + phase / 2;
            x = 2 * x + phase % 2;
        }
        bool pixel = y < size.height && x < size.width;
        positions.push_back(pixel ? (int32_t)position_of(map.grid, y, x) : none);
    }
    positions_.push_back(std::move(positions));
    return known_[key] = positions_.back().data();
}

const int32_t *Tables::rows(int count, int width, int pitch) {
    std::vector<int32_t> positions;
    for (int p = 0; p < count * width; p++) positions.push_back(p / width * pitch + p % width);
    positions_.push_back(std::move(positions));
    return positions_.back().data();
}
