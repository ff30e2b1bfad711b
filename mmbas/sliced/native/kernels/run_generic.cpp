#include "run.h"

const f32::RunImage mmbas_run_generic = f32::run_image;
