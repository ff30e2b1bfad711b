// Damaged copies of a runtime file: each must be refused with a clause, or run.
//
//     fuzz_files FILE.mmbas [copies] [first seed]
//
// Half of the copies get a checksum that fits, so that what lies behind it is reached.
// `make fuzz-files` compiles it with AddressSanitizer and UndefinedBehaviorSanitizer.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include "crc32.h"
#include "mmbas.h"

namespace {

typedef std::vector<unsigned char> Bytes;
constexpr size_t kHeader = 24;

struct Random {
    std::mt19937 engine;
    size_t below(size_t count) { return std::uniform_int_distribution<size_t>(0, count - 1)(engine); }
};

void damage(Bytes &bytes, Random &random) {
    // Descriptions stand in front of the weights, and are where damage is understood wrongly.
    const size_t reach = random.below(4) && bytes.size() > 2048 ? 2048 : bytes.size();
    switch (random.below(6)) {
        case 0: bytes.resize(random.below(bytes.size())); return;
        case 1: bytes.insert(bytes.end(), 1 + random.below(100), (unsigned char)random.below(256));
                return;
        case 2: bytes[random.below(reach)] ^= (unsigned char)(1 << random.below(8)); return;
        case 3: bytes[random.below(reach)] = (unsigned char)random.below(256); return;
        case 4: {  // a whole word, small, large or negative
            static const int32_t kWords[] = {0, 1, -1, 2, 3, 7, 64, 65536, 131072, 1 << 30,
                                             INT32_MAX, INT32_MIN};
            size_t at = random.below(reach / 4) * 4;
            if (at + 4 <= bytes.size()) std::memcpy(&bytes[at], &kWords[random.below(12)], 4);
            return;
        }
        default: {  // a piece elsewhere
            size_t from = random.below(reach), to = random.below(reach), count = random.below(64);
            for (size_t i = 0; i < count; i++)
                if (from + i < bytes.size() && to + i < bytes.size()) bytes[to + i] = bytes[from + i];
        }
    }
}

void seal(Bytes &bytes) {
    if (bytes.size() < kHeader) return;
    Crc32 crc;
    crc.add(bytes.data() + kHeader, bytes.size() - kHeader);
    uint32_t value = crc.value();
    uint64_t size = bytes.size();
    std::memcpy(&bytes[12], &value, sizeof value);
    std::memcpy(&bytes[16], &size, sizeof size);
}

bool runs(MmbasModel *model) {
    MmbasInfo info;
    mmbas_describe(model, &info);
    const int height = 9, width = 7;
    std::vector<unsigned char> pixels((size_t)height * width * info.image_channels, 100);
    MmbasImages images = {pixels.data(), MMBAS_UINT8, MMBAS_NHWC, MMBAS_RGB, 0, 1, height, width};
    int32_t shape[3];
    std::vector<float> logits;
    if (info.num_classes && !mmbas_logits_shape(model, height, width, shape))
        logits.resize((size_t)shape[0] * shape[1] * shape[2]);
    std::vector<uint8_t> gates((size_t)info.num_gates + 1);
    int64_t macs;
    MmbasResults results = {logits.empty() ? nullptr : logits.data(), nullptr, gates.data(), &macs};
    return mmbas_run(model, &images, 1, &results) == 0;
}

}  // namespace

int main(int argc, char **argv) {
    if (argc < 2) return std::printf("usage: fuzz_files FILE.mmbas [copies] [first seed]\n"), 2;
    std::ifstream stream(argv[1], std::ios::binary);
    const Bytes original((std::istreambuf_iterator<char>(stream)), {});
    const int copies = argc > 2 ? std::atoi(argv[2]) : 10000;
    const int first = argc > 3 ? std::atoi(argv[3]) : 0;
    if (original.size() < kHeader) return std::printf("%s is no file\n", argv[1]), 2;
    int opened = 0, ran = 0;
    for (int seed = first; seed < first + copies; seed++) {
        Random random = {std::mt19937(seed)};
        Bytes bytes = original;
        for (size_t i = 0; i < 1 + random.below(3); i++)
            if (!bytes.empty()) damage(bytes, random);
        if (random.below(2)) seal(bytes);
        MmbasModel *model = mmbas_open_memory(bytes.data(), bytes.size(), nullptr);
        if (!model && !*mmbas_last_error()) return std::printf("seed %d: no reason\n", seed), 1;
        if (!model) continue;
        opened++;
        ran += runs(model);
        mmbas_close(model);
    }
    std::printf("%d copies: %d refused, %d opened, %d of them ran\n", copies, copies - opened,
                opened, ran);
    return 0;
}
