// One convolution of one image, and how threads divide it.
#pragma once
#include "team.h"

namespace f32 {
namespace {

constexpr int kLineFloats = 16;              // of a cache line
constexpr int64_t kCachedFloats = 96 << 10;  // inputs that are kept in the second-level cache

// A convolution with its lists looked up.
struct Conv {
    const Op &op;
    const float *in;
    float *out;
    const int32_t *in_list;   // channels of the planes that there are
    const int32_t *out_list;  // null: all
    int num_in, num_out;
    float *pool;  // this thread's sums, kLanes per channel, or null

    Conv(const Op &op, const Team &team)
        : op(op), in(team.floats(op.in_offset)), out(team.floats(op.out_offset)),
          in_list(op.in_list < 0 ? op.all : team.list(op.in_list)),
          out_list(team.list(op.out_list)), num_in(team.count(op.in_list, op.in_channels)),
          num_out(team.count(op.out_list, op.out_channels)), pool(op.pool ? team.pool() : nullptr) {
        check(team);
    }

    void check(const Team &team) const {
        assert(op.weights && op.bias && op.tap_offsets && op.mask && op.all);
        assert(op.taps > 0 && op.in_channels > 0 && op.out_channels > 0);
        assert(0 <= num_in && num_in <= op.in_channels);
        assert(0 <= num_out && num_out <= op.out_channels);
        assert(!(op.packed && out_list));  // blocks of outputs cannot be picked apart
        for (int i = 0; i < num_in; i++) assert(0 <= in_list[i] && in_list[i] < op.in_channels);
        for (int i = 0; out_list && i < num_out; i++)
            assert(0 <= out_list[i] && out_list[i] < op.out_channels);
        team.check_planes(op.out_offset, op.out_grid, num_out);
        for (int t = 0; t < op.taps; t++)
            team.check_planes(op.in_offset + op.tap_offsets[t], op.in_grid, num_in > 0);
    }

    // The channel of an output plane; of the last one for rows beyond it, which are not stored.
    int out_channel(int i) const {
        if (i >= num_out) i = num_out - 1;
        return out_list ? out_list[i] : i;
    }
};

// This thread's share of tiles of positions x blocks of output channels. The tiles are cut in
// chunks whose inputs stay in the second-level cache while all blocks pass.
struct Items {
    int64_t tiles, blocks, chunk, item, end;
    int64_t tile, block;

    Items(const Conv &conv, const Team &team, int64_t tiles, int64_t blocks)
        : tiles(tiles), blocks(blocks) {
        int64_t tile_floats = (int64_t)kTile * (conv.num_in + 1);
        chunk = tile_floats * tiles <= kCachedFloats ? tiles : kCachedFloats / tile_floats + 1;
        Range share = team.share(tiles * blocks);
        item = share.begin;
        end = share.end;
    }

    // Item = (chunk, block, tile in chunk); the last chunk may be smaller.
    bool next() {
        if (item >= end) return false;
        int64_t start = item / (chunk * blocks) * chunk;
        int64_t size = tiles - start < chunk ? tiles - start : chunk;
        int64_t rest = item++ - start * blocks;
        block = rest / size;
        tile = start + rest % size;
        return true;
    }
};

}  // namespace
}  // namespace f32
