#include "step.h"
#if defined(__AVX512BF16__)
#include "executor.h"
#include "kernels_avx512.h"

const RunImage run_image_avx512_bf16 = run_image<Avx512Kernels>;
#else
const RunImage run_image_avx512_bf16 = nullptr;
#endif
