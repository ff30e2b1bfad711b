// Which instructions this CPU, operating system and process can run.
#pragma once

// `kernels` is one of MmbasKernels; AMX asks the operating system for permission.
bool cpu_has(int kernels);
