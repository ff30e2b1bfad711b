#include "executor.h"
#include "kernels_portable.h"

const RunImage run_image_portable = run_image<PortableKernels>;
