#include "feature_maps.h"

#include <algorithm>

namespace f32 {

int64_t Level::plane_floats() const {
    int64_t padded = (int64_t)(size.height + pad) * pitch() + pad;
    int64_t written = (int64_t)(size.height - 1) * pitch() + size.width + kMaxLanes;
    return round_up(std::max(padded, written), kMaxLanes);
}

std::vector<int32_t> Level::mask() const {
    std::vector<int32_t> mask((size_t)size.height * pitch() + kMaxLanes, 0);
    for (int y = 0; y < size.height; y++)
        std::fill_n(mask.begin() + (int64_t)y * pitch(), size.width, -1);
    return mask;
}

int64_t FeatureMap::num_floats() const {
    int64_t planes = (int64_t)channels * phases * level->plane_floats();
    return round_up(2 * level->lead() + planes + 5 * kMaxLanes, kMaxLanes);
}

Grid FeatureMap::grid(bool phase_wise) const {
    int64_t stride = level->plane_floats() * (phase_wise ? 1 : phases);
    return {level->size.height, level->size.width, level->pitch(), (int32_t)stride};
}

Level *FeatureMaps::level(Size size) {
    for (Level &level : levels)
        if (level.size == size) return &level;
    levels.push_back({size});
    return &levels.back();
}

FeatureMap *FeatureMaps::get(const std::string &role, int channels, Size size, Size phases_of) {
    size_t i = 0;
    while (i < keys_.size() && !(keys_[i].role == role && keys_[i].size == size &&
                                 keys_[i].phases_of == phases_of))
        i++;
    if (i == keys_.size()) {
        keys_.push_back({role, size, phases_of});
        maps.push_back({level(size), phases_of == Size{} ? 1 : 4});
    }
    maps[i].channels = std::max(maps[i].channels, channels);
    return &maps[i];
}

TapShift tap_shift(const MmbasConv &conv, int tap) {
    const int position = (tap - conv.kernel / 2) * conv.dilation;
    const int phase = (position % conv.stride + conv.stride) % conv.stride;
    return {(position - phase) / conv.stride, phase};
}

int halo(const MmbasConv &conv) {
    int most = 0;
    for (int tap = 0; tap < conv.kernel; tap++)
        most = std::max(most, std::abs(tap_shift(conv, tap).shift));
    return most;
}

std::vector<int64_t> tap_offsets(const MmbasConv &conv, const Level &level) {
    std::vector<int64_t> offsets;
    for (int y = 0; y < conv.kernel; y++) {
        for (int x = 0; x < conv.kernel; x++) {
            const TapShift row = tap_shift(conv, y), column = tap_shift(conv, x);
            int64_t plane = conv.stride * row.phase + column.phase;
            offsets.push_back(plane * level.plane_floats() + (int64_t)row.shift * level.pitch() +
                              column.shift);
        }
    }
    return offsets;
}

}  // namespace f32
