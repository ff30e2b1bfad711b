// Memory that feature maps share, because they are needed at different times.
#pragma once
#include "steps.h"

namespace f32 {

// Gives the feature maps of a draft memory from `start` on, and returns its end, in floats. Where
// they take more than `unshared` floats, those that are never needed at the same time share
// memory, and steps that clear it are inserted: what is padding in one map was pixels in another.
int64_t place_maps(Draft &draft, int64_t start, int64_t unshared);

}  // namespace f32
