#include "peak.h"
#include "run.h"

const f32::RunImage mmbas_run_generic = f32::run_image;
const f32::PeakRate mmbas_peak_generic = f32::peak_rate;
