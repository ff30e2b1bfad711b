#include "feature_maps.h"

namespace {

Size halved(Size size) { return {(size.height + 1) / 2, (size.width + 1) / 2}; }

}  // namespace

int64_t span(const Grid &grid) {
    Size size = {grid.height, grid.width};
    if (grid.phased) size = halved(size);
    int64_t plane = (int64_t)(size.height - 1) * grid.pitch + size.width;
    return grid.phased ? 3 * (int64_t)grid.plane + plane : plane;
}

void FeatureMaps::need_padding(Size size, int positions) {
    int &padding = padding_[{size.height, size.width}];
    padding = padding > positions ? padding : positions;
}

int FeatureMaps::padding(Size size) const {
    auto found = padding_.find({size.height, size.width});
    return found == padding_.end() ? 0 : found->second;
}

int FeatureMaps::pitch(Size size) const { return size.width + padding(size); }

Size FeatureMaps::plane_size(Size size, bool phased) const { return phased ? halved(size) : size; }

int64_t FeatureMaps::before(Size size, bool phased) const {
    Size plane = plane_size(size, phased);
    return (int64_t)padding(plane) * (pitch(plane) + 1);
}

// Behind the last pixel come the positions that complete a chunk, what their taps read, and the
// dump.
Grid FeatureMaps::grid(Size size, bool phased) const {
    Size plane = plane_size(size, phased);
    Grid grid = {size.height, size.width, pitch(plane), 0, phased, 0};
    grid.plane = (plane.height + padding(plane)) * grid.pitch;
    grid.dump = (int32_t)(round_up(span(grid), kChunk) + before(size, phased));
    return grid;
}

Map FeatureMaps::get(Size size, bool phased, Role role, int channels) {
    Slot &slot = slots_[Key(size.height, size.width, phased, role)];
    int blocks = (int)div_up(channels, kBlock);
    slot.blocks = slot.blocks > blocks ? slot.blocks : blocks;
    Grid positions = grid(size, phased);
    int64_t first = before(size, phased);
    int64_t stride = (first + positions.dump + 1) * kLine;
    return {slot.offset + first * kLine, stride, channels, positions};
}

int64_t FeatureMaps::place(int64_t start) {
    for (auto &[key, slot] : slots_) {
        const auto &[height, width, phased, role] = key;
        slot.offset = start;
        start += get({height, width}, phased, (Role)role, 1).block_stride * slot.blocks;
    }
    return start;
}
