#include "executor.h"
#include "kernels_avx512.h"

void run_image_avx512_bf16(const Run &run) { run_image<Avx512Kernels>(run); }
