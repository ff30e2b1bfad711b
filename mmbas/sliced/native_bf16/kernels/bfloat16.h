// bfloat16: the upper half of a float32.
#pragma once
#include <cstdint>
#include <cstring>

typedef uint16_t Bf16;

static inline float to_float(Bf16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

static inline Bf16 to_bf16(Bf16 value) { return value; }

// Rounds to the nearest, ties to even; NaN stays NaN.
static inline Bf16 to_bf16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000) return (Bf16)(bits >> 16 | 0x40);
    return (Bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
