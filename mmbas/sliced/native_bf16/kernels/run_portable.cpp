#include "executor.h"
#include "kernels_portable.h"

void run_image_portable(const Run &run) { run_image<PortableKernels>(run); }
