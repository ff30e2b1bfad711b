// Name, offset and size of all that Python hands over; library.py compares them with its own.
#pragma once
#include <cstddef>

#include "plan.h"

struct Field {
    const char *name;
    int32_t offset, size;
};

#define FIELD(S, name) {#name, offsetof(S, name), sizeof(S::name)}

static const Field kGridFields[] = {
    FIELD(Grid, height),
    FIELD(Grid, width),
    FIELD(Grid, pitch),
    FIELD(Grid, channel_stride),
};

static const Field kOpFields[] = {
    FIELD(Op, kind),     FIELD(Op, in_channels), FIELD(Op, out_channels), FIELD(Op, in_list),
    FIELD(Op, out_list), FIELD(Op, relu),        FIELD(Op, accumulate),   FIELD(Op, pool),
    FIELD(Op, stride),   FIELD(Op, taps),        FIELD(Op, packed),       FIELD(Op, hidden),
    FIELD(Op, tensor),   FIELD(Op, num_lists),   FIELD(Op, list_starts),  FIELD(Op, list_ends),
    FIELD(Op, in_grid),  FIELD(Op, out_grid),    FIELD(Op, in_offset),    FIELD(Op, out_offset),
    FIELD(Op, scratch),  FIELD(Op, all),         FIELD(Op, tap_offsets),  FIELD(Op, mask),
    FIELD(Op, weights),  FIELD(Op, bias),        FIELD(Op, weights2),     FIELD(Op, bias2),
};

static const Field kCallFields[] = {
    FIELD(Call, images),         FIELD(Call, image_stride), FIELD(Call, outputs),
    FIELD(Call, output_strides), FIELD(Call, logits),       FIELD(Call, forced),
    FIELD(Call, workspaces),     FIELD(Call, lists_offset), FIELD(Call, list_stride),
    FIELD(Call, pools_offset),   FIELD(Call, pool_stride),  FIELD(Call, workspace_floats),
    FIELD(Call, num_images),     FIELD(Call, num_threads),  FIELD(Call, num_workspaces),
};

#undef FIELD

static int fields_of(int which, const Field **fields) {
    switch (which) {
        case 0: *fields = kGridFields; return sizeof(kGridFields) / sizeof(Field);
        case 1: *fields = kOpFields; return sizeof(kOpFields) / sizeof(Field);
        default: *fields = kCallFields; return sizeof(kCallFields) / sizeof(Field);
    }
}
