// Which kernels this CPU, kernel and process can run.
#pragma once
#include "step.h"

bool can_run(int kernels);
RunImage run_function(int kernels);
