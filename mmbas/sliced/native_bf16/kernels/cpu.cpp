#include "cpu.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

bool bit(unsigned word, int number) { return word >> number & 1; }

unsigned enabled_registers() {
    unsigned low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

struct Features {
    bool avx512_bf16 = false, amx = false;

    Features() {
        unsigned a, b, c, d;
        if (!__get_cpuid(1, &a, &b, &c, &d) || !bit(c, 27)) return;  // OSXSAVE
        const unsigned registers = enabled_registers();
        if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
        const unsigned amx_bits = d;
        const bool wide = bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);  // F DQ BW VL
        const bool scalar = bit(b, 3) && bit(b, 8);                              // BMI BMI2
        if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return;
        avx512_bf16 = wide && scalar && bit(a, 5) && (registers & 0xe6) == 0xe6;
        // AMX_BF16, AMX_TILE, and the registers of tiles.
        amx = avx512_bf16 && bit(amx_bits, 22) && bit(amx_bits, 24) &&
              (registers & 0x60000) == 0x60000 && permitted();
    }

    // Linux enlarges the area that threads are saved in only when asked to, once per process.
    static bool permitted() {
        constexpr int kRequestPermission = 0x1023, kTileData = 18;
        return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
    }
};

const Features &features() {
    static const Features found;
    return found;
}

}  // namespace

bool can_run(int kernels) {
    if (kernels == MMBAS_AVX512_BF16) return features().avx512_bf16;
    if (kernels == MMBAS_AMX) return features().amx;
    return kernels == MMBAS_PORTABLE;
}

RunImage run_function(int kernels) {
    if (kernels == MMBAS_AVX512_BF16) return run_image_avx512_bf16;
    if (kernels == MMBAS_AMX) return run_image_amx;
    return run_image_portable;
}
#else
bool can_run(int kernels) { return kernels == MMBAS_PORTABLE; }
RunImage run_function(int) { return run_image_portable; }
#endif
