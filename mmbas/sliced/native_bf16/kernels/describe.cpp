#include "planner.h"

namespace {

std::string describe_conv(const ConvStep &step) {
    static const char *const kNames[] = {"dense", "outputs", "inputs", "both"};
    std::string text = std::string("conv ") + (step.image.kernel ? "image" : kNames[step.gated]);
    text += " " + std::to_string(step.main.num_taps) + " taps ";
    text += std::to_string(step.main.channels) + "->" + std::to_string(step.out_channels);
    if (step.shortcut.channels) text += " + " + std::to_string(step.shortcut.channels);
    return text + ", " + std::to_string(step.positions) + " positions";
}

}  // namespace

std::string describe(const Step &step) {
    switch (step.kind) {
        case kImage: return "image";
        case kConv: return describe_conv(step.conv);
        case kStem: return describe_conv(step.stem.conv) + ", max pool";
        case kMaxPool: return "max pool";
        case kAvgPool: return "average pool";
        case kGate: return "gate";
        case kOutput: return "output";
    }
    return "";
}
