// From a network and an image size to the steps that run it.
#pragma once
#include "feature_maps.h"
#include "weights.h"

namespace f32 {

// An operation before its feature maps have a place.
struct Step {
    Op op;  // offsets, grids and pointers are filled in at the end
    FeatureMap *source = nullptr;  // null for the image
    FeatureMap *target = nullptr;  // null for an output tensor and for a gate
    const ConvLayer *conv = nullptr;
    const GateLayer *gate = nullptr;
    int first_channel = 0;  // of the target's planes
};

// The steps for one image size.
struct Draft {
    Step &add(const Step &step);

    FeatureMaps maps;
    std::deque<Step> steps;
    Guard guard = kAlways;  // of the steps that are added
    int max_channels = 1;  // largest number of channels or gates anywhere
};

Draft draft_steps(const NetworkLayers &network, Size size);
Draft draft_steps(const HeadLayers &head, Size size);

}  // namespace f32
