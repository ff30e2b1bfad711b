// CRC-32 as zlib and PNG compute it, eight bytes at a time.
//
// Source: "A Painless Guide to CRC Error Detection Algorithms" (R. Williams, 1993) for the table;
// the tables for later bytes follow from it: a byte that is k places further ahead is shifted
// through k more zero bytes.
#pragma once
#include <cstddef>
#include <cstdint>

class Crc32 {
   public:
    Crc32() {
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t value = byte;
            for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0);
            tables_[0][byte] = value;
        }
        for (int ahead = 1; ahead < 8; ahead++)
            for (uint32_t byte = 0; byte < 256; byte++) {
                uint32_t before = tables_[ahead - 1][byte];
                tables_[ahead][byte] = before >> 8 ^ tables_[0][before & 255];
            }
    }

    void add(const unsigned char *bytes, size_t count) {
        for (; count >= 8; bytes += 8, count -= 8) {
            uint32_t mixed = 0;
            for (int i = 0; i < 8; i++) {
                uint32_t byte = bytes[i] ^ (i < 4 ? state_ >> 8 * i & 255 : 0);
                mixed ^= tables_[7 - i][byte];
            }
            state_ = mixed;
        }
        for (; count; bytes++, count--) state_ = state_ >> 8 ^ tables_[0][(state_ ^ *bytes) & 255];
    }

    uint32_t value() const { return ~state_; }

   private:
    uint32_t tables_[8][256];
    uint32_t state_ = ~0u;
};
