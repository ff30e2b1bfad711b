// How fast one thread reads memory.
#pragma once
#include <cstdint>

// Bytes per second of a read of so many bytes, in several streams, as the kernels read weights: the
// best piece of it.
double read_rate(int64_t bytes, double (*clock)());
