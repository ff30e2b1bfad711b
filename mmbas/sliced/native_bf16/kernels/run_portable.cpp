#include "executor.h"
#include "kernels_portable.h"
#include "peak.h"

const RunImage run_image_portable = run_image<PortableKernels>;
const PeakRate peak_rate_portable = peak_rate<PortableKernels>;
