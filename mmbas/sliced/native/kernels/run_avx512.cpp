#include "plan.h"
#if defined(__AVX512F__)
#include "run.h"

const f32::RunImage mmbas_run_avx512 = f32::run_image;
#else
const f32::RunImage mmbas_run_avx512 = nullptr;
#endif
