// Runs a convolution in the way that suits its map.
#pragma once
#include "large_maps.h"
#include "small_maps.h"

namespace {

template <class Kernels>
void run_conv(const ConvStep &step, const Team &team) {
    Conv conv(step, team);
    gather_bias(conv);
    find_all_picks(conv);
    if (step.sums)
        std::memset(team.sums(team.run.rank), 0,
                    sizeof(float) * round_up(step.out_channels, kBlock));
    if (step.large) run_large<Kernels>(conv);
    else if (step.gated != kDense) run_small_gated<Kernels>(conv);
    else run_small_dense<Kernels>(conv);
}

}  // namespace
