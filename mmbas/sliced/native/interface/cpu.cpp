#include "cpu.h"

#include "backbone.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr unsigned kYmm = 0x6, kZmm = 0xe6, kTiles = 0x60000;  // registers that are saved

bool bit(unsigned word, int number) { return word >> number & 1; }

unsigned enabled_registers() {
    unsigned low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

struct Features {
    bool avx2 = false, avx512 = false, avx512_bf16 = false, amx = false;

    Features() {
        unsigned a, b, c, d;
        if (!__get_cpuid(1, &a, &b, &c, &d) || !bit(c, 27)) return;  // OSXSAVE
        const bool fma = bit(c, 12);
        const unsigned registers = enabled_registers();
        if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
        const unsigned amx_bits = d;
        const bool wide = bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);  // F DQ BW VL
        const bool scalar = bit(b, 3) && bit(b, 8);                              // BMI BMI2
        avx2 = fma && bit(b, 5) && (registers & kYmm) == kYmm;
        avx512 = avx2 && wide && (registers & kZmm) == kZmm;
        if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return;
        avx512_bf16 = avx512 && scalar && bit(a, 5);
        // AMX_BF16, AMX_TILE, and the registers of tiles.
        amx = avx512_bf16 && bit(amx_bits, 22) && bit(amx_bits, 24) &&
              (registers & kTiles) == kTiles && permitted();
    }

    // Linux enlarges the area that threads are saved in only when asked to, once per process.
    static bool permitted() {
        constexpr int kRequestPermission = 0x1023, kTileData = 18;
        return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
    }
};

bool is_intel() {
    unsigned a, b, c, d;
    return __get_cpuid(0, &a, &b, &c, &d) && b == signature_INTEL_ebx;
}

const Features &features() {
    static const Features found;
    return found;
}

}  // namespace

bool cpu_has(int kernels) {
    switch (kernels) {
        case MMBAS_GENERIC:
        case MMBAS_PORTABLE: return true;
        case MMBAS_AVX2: return features().avx2;
        case MMBAS_AVX512: return features().avx512;
        case MMBAS_AVX512_BF16: return features().avx512_bf16;
        case MMBAS_AMX: return features().amx;
        default: return false;
    }
}

bool is_slow(int kernels) {
    return kernels == MMBAS_PORTABLE || (kernels == MMBAS_AVX512_BF16 && is_intel());
}
#else
bool cpu_has(int kernels) { return kernels == MMBAS_GENERIC || kernels == MMBAS_PORTABLE; }
bool is_slow(int kernels) { return kernels == MMBAS_PORTABLE; }
#endif
