// The first convolution and 3x3 max pooling of stride 2, a band of rows at a time, so that the map
// between them, the largest of the network, never leaves the second-level cache.
//
//     band row 0:   convolution row 2 y - 1   the last one of the band before
//     band row 1:   2 y                       the middle of pooled row y
//     band row 2:   2 y + 1
//     band row 3:   2 y + 2                   the middle of pooled row y + 1
//     ...
//
// Rows that the map does not have are zeros, as its padding is: values are >= 0.
#pragma once
#include "large_maps.h"
#include "maps.h"

namespace {

char *band_row(const Map &band, const Team &team, int block, int row) {
    return team.at(band.offset + block * band.block_stride +
                   (int64_t)row * band.grid.pitch * kLine);
}

void clear_band_row(const Map &band, const Team &team, int row) {
    for (int block = 0; block < div_up(band.channels, kBlock); block++)
        std::memset(band_row(band, team, block, row), 0, (int64_t)band.grid.width * kLine);
}

// Rows `first` to `end` of the convolution, from band row `row` on.
template <class Kernels>
void compute_band(const Conv &conv, const Map &band, int first, int end, int row) {
    const int64_t width = conv.step.image.width, count = (end - first) * width;
    NoWork work;
    for (int64_t p = 0; p < count; p += kChunk) {
        int positions = (int)smaller(kChunk, count - p);
        gather_image(conv, first * width + p, positions);
        for (int pair = 0; pair < conv.pairs; pair++) {
            Product product =
                make_product(conv, {pair, 0, conv.in_blocks}, dense_tiles(conv, pair));
            product.m_tiles = (int)div_up(positions, kRows);
            Finish finish = make_finish(conv, pair);
            finish.out = band_row(band, conv.team, pair, row);
            finish.ahead = finish.out;
            finish.sums = nullptr;  // those of the pooled map are wanted
            Kernels::multiply(product, 0, conv.local.products, work);
            Kernels::finish(finish, conv.local.products, p, positions);
        }
    }
}

// Pooled rows `y` to `end` from a band that begins with them.
void pool_band(const StemStep &step, const Map &band, const Team &team, int y, int end) {
    Map middle = band;  // whose row 0 is the middle of the first pooled row
    middle.offset += (int64_t)band.grid.pitch * kLine;
    float *sums = step.conv.sums ? team.sums(team.run.rank) : nullptr;
    for (int block = 0; block < div_up(band.channels, kBlock); block++) {
        for (int row = y; row < end; row++) {
            for (int x = 0; x < step.out.grid.width; x++) {
                Bf16 *to = (Bf16 *)line(team, step.out, block, row, x);
                max_pool_pixel(team, middle, block, row - y, x, to);
                if (sums) add_sums(to, sums + block * kBlock);
            }
        }
    }
}

template <class Kernels>
void run_stem(const StemStep &step, const Team &team) {
    Conv conv(step.conv, team);
    gather_bias(conv);
    Map band = step.band;
    band.offset += team.memory().bands + team.run.rank * team.memory().band_stride;
    if (step.conv.sums)
        std::memset(team.sums(team.run.rank), 0,
                    sizeof(float) * round_up(step.conv.out_channels, kBlock));
    Range rows = team.share(step.out.grid.height);
    int done = 2 * (int)rows.begin - 1;  // first row of the convolution that is not computed
    for (int y = (int)rows.begin; y < rows.end; y += kBandRows) {
        const int end = (int)smaller(y + kBandRows, rows.end), first = 2 * y - 1;
        if (done > first)  // the last row of the band before
            for (int block = 0; block < conv.pairs; block++)
                std::memcpy(band_row(band, team, block, 0),
                            band_row(band, team, block, 2 * kBandRows),
                            (int64_t)band.grid.width * kLine);
        if (done < 0) {
            clear_band_row(band, team, 0);
            done = 0;
        }
        const int last = (int)smaller(2 * end, step.conv_height);
        compute_band<Kernels>(conv, band, done, last, done - first);
        if (last < 2 * end) clear_band_row(band, team, last - first);
        done = last;
        pool_band(step, band, team, y, end);
    }
}

}  // namespace
