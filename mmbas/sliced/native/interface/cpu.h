// Which instructions this CPU, operating system and process can run.
#pragma once

// `kernels` is one of MmbasKernels; AMX asks the operating system for permission.
bool cpu_has(int kernels);

// Whether this CPU runs them slower than float32 with its other instructions: Intel's run the
// instruction of AVX512_BF16 at less than half the rate of float32, and the portable ones are slow
// everywhere.
bool is_slow(int kernels);
