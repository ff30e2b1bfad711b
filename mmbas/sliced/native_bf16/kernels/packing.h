// Packing the weights of open channels into tiles, a unit at a time, so that the weights of the
// next product can be packed between the steps of this one: packing waits for memory, and AMX does
// not.
//
// weights      unit                              what it reads
// outputs      one tile                          a line of 16 open outputs each
// inputs, both a row of two tiles for each tap   all taps of two open inputs
//
// Units follow each other in the order of memory, in few streams, which the CPU reads ahead.
#pragma once
#include "conv.h"
#include "kernels_portable.h"

namespace {

// Whether the outputs of a pair are all of one block, so that none has to be picked.
bool is_whole_block(const Conv &conv, int pair) {
    int first = pair * kBlock, last = first + kBlock - 1;
    if (conv.step.gated != kBoth) return true;
    return last < conv.out.count && conv.out.channel(first) % kBlock == 0 &&
           conv.out.channel(last) - conv.out.channel(first) == kBlock - 1;
}

// Which outputs a pair of N tiles holds, as a kernel picks them.
void find_picks(const Conv &conv, int pair, Picks &picks) {
    const int count = (int)smaller(kBlock, conv.out.count - pair * kBlock);
    int blocks = 0, last_block = -1;
    picks.count = 0;
    for (int o = 0; o < count; o++) {
        const int channel = conv.out.channel(pair * kBlock + o), block = channel / kBlock;
        const int64_t start = (int64_t)block * conv.taps * kBlock;
        if (block != last_block) {
            Picks::Pick &pick = picks.picks[blocks / 2];
            if (blocks % 2 == 0) pick.low = start, pick.lanes = 0;
            pick.high = start;
            last_block = block;
            blocks++;
        }
        Picks::Pick &pick = picks.picks[(blocks - 1) / 2];
        const int stored = stored_output(o), high = (blocks - 1) % 2 * kBlock;
        pick.from[stored] = (uint16_t)(high + stored_output(channel % kBlock));
        pick.lanes |= 1u << stored;
    }
    picks.count = (blocks + 1) / 2;
}

// Those of all pairs in the thread's own memory, where there are any.
void find_all_picks(const Conv &conv) {
    if (conv.step.gated != kBoth) return;
    for (int pair = 0; pair < conv.pairs; pair++)
        if (!is_whole_block(conv, pair)) find_picks(conv, pair, conv.local.picks[pair]);
}

template <class Kernels>
class Packing {
  public:
    explicit Packing(const Conv &conv)
        : conv_(conv), by_input_(is_by_input(conv.step.gated, conv.taps)) {
        const int64_t piece = (int64_t)conv.taps * kBlock;
        const int64_t blocks = div_up(conv.step.out_channels, kBlock);
        input_stride_ = by_input_ ? blocks * piece : piece;
        block_stride_ = by_input_ ? piece : conv.step.main.channels * piece;
    }

    // Takes up a piece, to be packed in at least `slots` calls of step().
    void begin(const Piece &piece, Bf16 *tiles, int64_t stride, int64_t slots) {
        const bool outputs = conv_.step.gated == kOutputs;
        if (piece.pair != piece_.pair) outputs ? find_rows(piece.pair) : find_outputs(piece.pair);
        piece_ = piece;
        tiles_ = tiles;
        stride_ = stride;
        done_ = 0;
        units_ = piece.num_blocks * (outputs ? conv_.n_tiles(piece.pair) * conv_.taps : kRows);
        owed_ = 0;
        rate_ = slots ? (int)((int64_t)units_ * kOne / slots) : 0;
    }

    // Packs its share.
    void step() {
        for (owed_ += rate_; owed_ >= kOne && done_ < units_; owed_ -= kOne) pack(done_++);
    }

    // Packs what is left.
    void finish() {
        while (done_ < units_) pack(done_++);
    }

  private:
    static constexpr int kOne = 1 << 12;    // unit, of which fractions are counted
    static constexpr int kSecondLevel = 2;  // of the caches

    // A row of weights for each output of both tiles.
    void find_rows(int pair) {
        const int64_t row = div_up(conv_.step.main.channels, kBlock) * conv_.taps * kBlock;
        for (int i = 0; i < kBlock; i++) {
            // A row beyond the last is packed once more and dropped by `Finish::lanes`.
            int number = (int)smaller(pair * kBlock + i, conv_.out.count - 1);
            rows_[i] = conv_.step.main.weights + conv_.out.channel(number) * row;
        }
    }

    void find_outputs(int pair) {
        const bool whole = is_whole_block(conv_, pair);
        picks_ = whole ? nullptr : &conv_.local.picks[pair];
        int block = whole ? conv_.out.channel(pair * kBlock) / kBlock : 0;
        outputs_ = conv_.step.main.weights + block * block_stride_;
    }

    void pack(int unit) {
        if (conv_.step.gated == kOutputs) {
            int two = conv_.n_tiles(piece_.pair) - 1;  // units take turns between two tiles
            pack_tile(unit & two, unit >> two);
        } else {
            pack_row(unit / kRows, unit % kRows);
        }
    }

    void pack_tile(int n, int64_t step) {
        int64_t offset = ((int64_t)piece_.first_block * conv_.taps + step) * kBlock;
        Kernels::pack_outputs(rows_ + n * kRows, offset, tiles_ + n * stride_ + step * kTile);
    }

    const Bf16 *input(int i) const { return outputs_ + conv_.in.channel(i) * input_stride_; }

    void pack_row(int block, int row) {
        const int i = (piece_.first_block + block) * kBlock + 2 * row;
        Bf16 *rows0 = tiles_ + (int64_t)block * conv_.taps * kTile + row * kBlock;
        Bf16 *rows1 = rows0 + stride_;
        if (i >= conv_.in.count) return clear_row(rows0, rows1);
        const Bf16 *first = input(i), *second = i + 1 < conv_.in.count ? input(i + 1) : nullptr;
        if (by_input_) prefetch(first);
        if (by_input_ && second) prefetch(second);
        if (picks_) Kernels::pack_both(first, second, conv_.taps, *picks_, rows0, rows1);
        else Kernels::pack_inputs(first, second, conv_.taps, rows0, rows1);
    }

    // The weights of the same input for the next outputs, which come with the next piece.
    void prefetch(const Bf16 *input) const {
        const Bf16 *next = input + block_stride_;
        for (int t = 0; t < conv_.taps; t++) __builtin_prefetch(next + t * kBlock, 0, kSecondLevel);
    }

    void clear_row(Bf16 *rows0, Bf16 *rows1) {
        for (int t = 0; t < conv_.taps; t++) {
            std::memset(rows0 + t * kTile, 0, kLine);
            std::memset(rows1 + t * kTile, 0, kLine);
        }
    }

    const Conv &conv_;
    const bool by_input_;                  // in which order the weights lie
    int64_t input_stride_, block_stride_;  // between inputs, and between blocks of outputs
    Piece piece_ = {-1, 0, 0};
    Bf16 *tiles_ = nullptr;
    int64_t stride_ = 0;
    int units_ = 0, done_ = 0, owed_ = 0, rate_ = 0;
    const Bf16 *rows_[kBlock];       // outputs gated
    const Picks *picks_ = nullptr;   // both gated; null: a whole block of outputs
    const Bf16 *outputs_ = nullptr;  // its weights
};

}  // namespace
