#include "plan.h"
#if defined(__AVX2__)
#include "run.h"

const f32::RunImage mmbas_run_avx2 = f32::run_image;
#else
const f32::RunImage mmbas_run_avx2 = nullptr;
#endif
