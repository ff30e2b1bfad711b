// From a network and an image size to the steps that run it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "feature_maps.h"
#include "network.h"
#include "tables.h"

// A plan and the tables that its steps point to.
struct FinishedPlan {
    Plan plan;
    std::vector<Step> steps;
    std::vector<Map> outputs;  // what each output tensor is made from
    Tables tables;
};

// For images of `size`, at most `threads` threads per image.
std::unique_ptr<FinishedPlan> make_plan(const NetworkLayers &network, Size size, int threads);

// For people: what a step does, such as "conv inputs 3x3 512->512, 7x7".
std::string describe(const Step &step);
