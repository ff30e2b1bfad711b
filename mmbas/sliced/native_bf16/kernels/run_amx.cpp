#include "step.h"
#if defined(__AMX_BF16__)
#include "executor.h"
#include "kernels_amx.h"
#include "peak.h"

const RunImage run_image_amx = run_image<AmxKernels>;
const PeakRate peak_rate_amx = peak_rate<AmxKernels>;
#else
const RunImage run_image_amx = nullptr;
const PeakRate peak_rate_amx = nullptr;
#endif
