// Sizes of images and feature maps.
#pragma once

struct Size {
    int height, width;
    bool operator==(const Size &other) const {
        return height == other.height && width == other.width;
    }
};

// What a convolution or a pooling of this stride leaves.
inline int strided(int size, int stride) { return (size + stride - 1) / stride; }
inline Size strided(Size size, int stride) {
    return {strided(size.height, stride), strided(size.width, stride)};
}
