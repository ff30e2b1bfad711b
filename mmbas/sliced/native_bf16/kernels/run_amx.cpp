#include "executor.h"
#include "kernels_amx.h"

void run_image_amx(const Run &run) { run_image<AmxKernels>(run); }
