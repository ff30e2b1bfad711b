#include "step.h"
#if defined(__AMX_BF16__)
#include "executor.h"
#include "kernels_amx.h"

const RunImage run_image_amx = run_image<AmxKernels>;
#else
const RunImage run_image_amx = nullptr;
#endif
