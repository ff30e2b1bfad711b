#include "step.h"
#if defined(__AVX512BF16__)
#include "executor.h"
#include "kernels_avx512.h"
#include "peak.h"

const RunImage run_image_avx512_bf16 = run_image<Avx512Kernels>;
const PeakRate peak_rate_avx512_bf16 = peak_rate<Avx512Kernels>;
#else
const RunImage run_image_avx512_bf16 = nullptr;
const PeakRate peak_rate_avx512_bf16 = nullptr;
#endif
