#include "plan.h"
#if defined(__AVX512F__)
#include "peak.h"
#include "run.h"

const f32::RunImage mmbas_run_avx512 = f32::run_image;
const f32::PeakRate mmbas_peak_avx512 = f32::peak_rate;
#else
const f32::RunImage mmbas_run_avx512 = nullptr;
const f32::PeakRate mmbas_peak_avx512 = nullptr;
#endif
