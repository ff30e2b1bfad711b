// Each kernel against its portable twin on random operands; returns how far they are apart.
//
// Packing must be equal bit by bit; sums in another order may differ by rounding.
#include <cmath>
#include <cstdlib>
#include <random>
#include <vector>

#include "kernels_portable.h"
#if defined(__AMX_BF16__)
#include "kernels_amx.h"
#elif defined(__AVX512BF16__)
#include "kernels_avx512.h"
#endif

namespace {

struct Random {
    std::mt19937 engine;
    int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine); }
    Bf16 value() { return to_bf16(std::normal_distribution<float>()(engine)); }
};

// At a cache line, as the kernels' operands are.
template <class T>
struct Lines {
    T *data;
    size_t size;
    explicit Lines(size_t size)
        : data((T *)std::aligned_alloc(64, round_up(size * sizeof(T), 64))), size(size) {
        for (size_t i = 0; i < size; i++) data[i] = 0;
    }
    Lines(const Lines &) = delete;
    ~Lines() { std::free(data); }
    void fill(Random &random) {
        for (size_t i = 0; i < size; i++) data[i] = random.value();
    }
    int differences(const Lines &other) const {
        int count = 0;
        for (size_t i = 0; i < size; i++) count += data[i] != other.data[i];
        return count;
    }
};

template <class Kernels>
double pack_outputs_case(Random &random) {
    int steps = random.between(1, 20);
    Lines<Bf16> weights((size_t)kRows * steps * kBlock), tile(kTile), twin(kTile);
    weights.fill(random);
    const Bf16 *rows[kRows];
    for (auto &row : rows) row = weights.data + random.between(0, kRows - 1) * steps * kBlock;
    int64_t offset = random.between(0, steps - 1) * kBlock;
    Kernels::pack_outputs(rows, offset, tile.data);
    PortableKernels::pack_outputs(rows, offset, twin.data);
    return tile.differences(twin);
}

template <class Kernels>
double pack_inputs_case(Random &random) {
    int taps = random.between(1, 9);
    Lines<Bf16> weights((size_t)2 * taps * kBlock);
    weights.fill(random);
    const Bf16 *second = random.between(0, 3) ? weights.data + taps * kBlock : nullptr;
    Lines<Bf16> tiles((size_t)2 * taps * kTile), twin((size_t)2 * taps * kTile);
    int64_t row = random.between(0, kRows - 1) * kBlock;
    Kernels::pack_inputs(weights.data, second, taps, tiles.data + row,
                         tiles.data + taps * kTile + row);
    PortableKernels::pack_inputs(weights.data, second, taps, twin.data + row,
                                 twin.data + taps * kTile + row);
    return tiles.differences(twin);
}

// Up to 32 outputs, each from one of two blocks of one pick.
Picks random_picks(Random &random, int blocks, int taps) {
    Picks picks = {};
    picks.count = random.between(0, 3);
    for (int i = 0; i < picks.count; i++) {
        picks.picks[i].low = (int64_t)random.between(0, blocks - 1) * taps * kBlock;
        picks.picks[i].high = (int64_t)random.between(0, blocks - 1) * taps * kBlock;
    }
    for (int o = 0; o < kBlock && picks.count; o++) {
        Picks::Pick &pick = picks.picks[random.between(0, picks.count - 1)];
        pick.from[o] = (uint16_t)random.between(0, 2 * kBlock - 1);
        if (random.between(0, 7)) pick.lanes |= 1u << o;
    }
    return picks;
}

template <class Kernels>
double pack_both_case(Random &random) {
    int taps = random.between(1, 9), blocks = random.between(1, 5);
    size_t input = (size_t)blocks * taps * kBlock;
    Lines<Bf16> weights(2 * input);
    weights.fill(random);
    const Bf16 *second = random.between(0, 3) ? weights.data + input : nullptr;
    Picks picks = random_picks(random, blocks, taps);
    Lines<Bf16> tiles((size_t)2 * taps * kTile), twin((size_t)2 * taps * kTile);
    int64_t row = random.between(0, kRows - 1) * kBlock;
    Kernels::pack_both(weights.data, second, taps, picks, tiles.data + row,
                       tiles.data + taps * kTile + row);
    PortableKernels::pack_both(weights.data, second, taps, picks, twin.data + row,
                               twin.data + taps * kTile + row);
    return tiles.differences(twin);
}

template <class Kernels>
double multiply_case(Random &random) {
    constexpr int kMap = 200;  // positions
    Product product = {};
    product.m_tiles = random.between(1, 4);
    product.n_tiles = random.between(1, 2);
    product.num_segments = random.between(1, 2);
    Lines<Bf16> maps(2 * 3 * kMap * kBlock), weights(2 * 2 * 3 * 9 * kTile);
    maps.fill(random);
    weights.fill(random);
    Lines<float> bias(kBlock), sums(kChunk * kBlock), twin(kChunk * kBlock);
    for (int o = 0; o < kBlock; o++) bias.data[o] = to_float(random.value());
    bool add = random.between(0, 1);
    product.bias = add ? nullptr : bias.data;
    for (size_t i = 0; i < sums.size; i++) sums.data[i] = twin.data[i] = to_float(random.value());
    std::vector<int64_t> shifts(9);
    for (auto &shift : shifts) shift = random.between(0, 100) * kLine;
    for (int s = 0; s < product.num_segments; s++) {
        int blocks = random.between(0, 3), taps = random.between(1, 9);
        product.segments[s] = {(char *)(maps.data + s * 3 * kMap * kBlock),
                               kLine,
                               kMap * kLine,
                               shifts.data(),
                               taps,
                               blocks,
                               weights.data + s * 2 * 27 * kTile,
                               (int64_t)blocks * taps * kTile};
    }
    int64_t position = random.between(0, 30);
    NoWork work;
    Kernels::multiply(product, position, sums.data, work);
    PortableKernels::multiply(product, position, twin.data, work);
    double largest = 0;
    for (int p = 0; p < product.m_tiles * kRows; p++)
        for (int o = 0; o < product.n_tiles * kRows; o++) {
            int i = p * kBlock + o;
            largest = std::fmax(largest, std::fabs(sums.data[i] - twin.data[i]));
        }
    return largest;
}

template <class Kernels>
double finish_case(Random &random) {
    constexpr int kMap = 200;
    int count = random.between(1, kChunk), first = random.between(0, 20);
    std::vector<int32_t> out_table(kMap), residual_table(kMap);
    for (int p = 0; p < kMap; p++) {
        out_table[p] = random.between(0, 4) ? p : kMap;
        residual_table[p] = random.between(0, kMap - 1);
    }
    Lines<Bf16> residual(kMap * kBlock), out((kMap + 1) * kBlock), twin((kMap + 1) * kBlock);
    residual.fill(random);
    Lines<float> products(kChunk * kBlock), sums(kBlock), twin_sums(kBlock);
    for (size_t i = 0; i < products.size; i++) products.data[i] = to_float(random.value());
    Finish finish = {};
    finish.out_table = out_table.data();
    finish.dump = kMap;
    finish.ahead = (char *)residual.data;
    finish.out = (char *)out.data;
    if (random.between(0, 1)) {
        finish.residual_table = residual_table.data();
        finish.residual = (char *)residual.data;
    }
    int lanes = random.between(1, kBlock);
    finish.lanes = lanes == kBlock ? ~0u : (1u << lanes) - 1;
    bool with_sums = random.between(0, 1);
    finish.sums = with_sums ? sums.data : nullptr;
    Kernels::finish(finish, products.data, first, count);
    finish.out = (char *)twin.data;
    finish.sums = with_sums ? twin_sums.data : nullptr;
    PortableKernels::finish(finish, products.data, first, count);
    double largest = out.differences(twin);
    for (int o = 0; o < kBlock; o++)
        largest = std::fmax(largest, std::fabs(sums.data[o] - twin_sums.data[o]));
    return largest;
}

template <class Kernels>
double run_case(int kernel, int seed) {
    Random random = {std::mt19937(seed)};
    Kernels::begin();
    double result = -1;
    switch (kernel) {
        case 0: result = pack_outputs_case<Kernels>(random); break;
        case 1: result = pack_inputs_case<Kernels>(random); break;
        case 2: result = pack_both_case<Kernels>(random); break;
        case 3: result = multiply_case<Kernels>(random); break;
        case 4: result = finish_case<Kernels>(random); break;
    }
    Kernels::end();
    return result;
}

}  // namespace

extern "C" double kernel_case(int kernel, int seed) {
#if defined(__AMX_BF16__)
    return run_case<AmxKernels>(kernel, seed);
#elif defined(__AVX512BF16__)
    return run_case<Avx512Kernels>(kernel, seed);
#else
    return run_case<PortableKernels>(kernel, seed);
#endif
}
