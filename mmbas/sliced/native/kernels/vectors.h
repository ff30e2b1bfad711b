// Vectors of floats for whichever instruction set the compiler was told to use.
#pragma once
#include <cstdint>

namespace f32 {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kVecs = 4;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32, kVecs = 2;
#else
constexpr int kVectorBytes = 16, kVecs = 2;
#endif

constexpr int kLanes = kVectorBytes / 4;
constexpr int kTile = kVecs * kLanes;  // floats that a micro-kernel computes for each row

typedef float Vec __attribute__((vector_size(kVectorBytes)));
typedef float HalfVec __attribute__((vector_size(kVectorBytes / 2)));

// The same in memory: at any address, and over any type; and bits to mask them with.
template <class V>
struct Memory;
template <>
struct Memory<Vec> {
    typedef float Floats __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
    typedef int32_t Bits __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
};
template <>
struct Memory<HalfVec> {
    typedef float Floats __attribute__((vector_size(kVectorBytes / 2), aligned(4), may_alias));
    typedef int32_t Bits __attribute__((vector_size(kVectorBytes / 2), aligned(4), may_alias));
};

template <class V = Vec>
static inline V load(const float *p) {
    return *(const typename Memory<V>::Floats *)p;
}
template <class V>
static inline void store(float *p, V v) {
    *(typename Memory<V>::Floats *)p = v;
}
template <class V = Vec>
static inline V splat(float x) {
    return x - V{};
}
// Written so that NaN stays NaN; the same one instruction.
template <class V>
static inline V relu(V v) {
    return V{} > v ? V{} : v;
}
template <class V>
static inline V keep(V v, const int32_t *mask) {
    typedef typename Memory<V>::Bits Bits;
    return (V)((Bits)v & *(const Bits *)mask);
}

template <class V>
static inline float sum(V v) {
    float total = 0;
    for (unsigned i = 0; i < sizeof(V) / 4; i++) total += v[i];
    return total;
}

static inline int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline float larger(float a, float b) { return a > b ? a : b; }  // b if it is NaN

}  // namespace
}  // namespace f32
