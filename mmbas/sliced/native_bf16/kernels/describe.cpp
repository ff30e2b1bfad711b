#include <cmath>

#include "planner.h"

namespace {

// Such as "conv inputs 3x3 512->512 + 256, 7x7": which side is gated, kernel, channels, those of
// the shortcut's 1x1 convolution, size of the output.
std::string describe_conv(const ConvStep &step) {
    static const char *const kNames[] = {"dense", "outputs", "inputs", "both"};
    const ImageConv &image = step.image;
    const int kernel =
        image.kernel ? image.kernel : (int)std::lround(std::sqrt(step.main.num_taps));
    const int channels = image.kernel ? image.channels : step.main.channels;
    auto by = [](int a, int b) { return std::to_string(a) + "x" + std::to_string(b); };
    std::string text = std::string("conv ") + (image.kernel ? "image" : kNames[step.gated]);
    text += " " + by(kernel, kernel) + " " + std::to_string(channels) + "->";
    text += std::to_string(step.out_channels);
    if (step.shortcut.channels) text += " + " + std::to_string(step.shortcut.channels);
    return text + ", " + by(step.out_height, step.out_width);
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
