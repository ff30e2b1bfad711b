// Runs a plan (plan.h) on a batch of images.
#if !defined(__GNUC__) || defined(__clang__)
#error "expected GCC, whose OpenMP calls PyTorch's runtime understands"
#endif
#include <omp.h>

#include "conv_kernel.h"
#include "fields.h"
#include "gate.h"
#include "maps.h"

static void run_op(const Op &op, const Team &team, int image) {
    const Call &call = team.call;
    switch (op.kind) {
        case kSplit: return run_split(op, team, call.images + image * call.image_stride);
        case kConv: return run_conv(op, team);
        case kMaxPool: return run_max_pool(op, team);
        case kAvgPool: return run_avg_pool(op, team);
        case kSubsample: return run_subsample(op, team);
        case kClear: return run_clear(op, team);
        case kGate: {
            int64_t first = (int64_t)image * op.out_channels;
            const float *forced = call.forced[op.tensor];
            return run_gate(op, team, call.logits[op.tensor] + first,
                            forced ? forced + first : nullptr);
        }
        case kOutput: {
            int64_t first = image * call.output_strides[op.tensor];
            return run_output(op, team, call.outputs[op.tensor] + first);
        }
    }
}

static void run_image(const Op *ops, int num_ops, const Team &team, int image) {
    assert((uintptr_t)team.workspace % kVectorBytes == 0);
    for (int i = 0; i < num_ops; i++) {
        run_op(ops[i], team, image);
        team.wait();
    }
}

extern "C" {

// What the packing of weights depends on.
int mmbas_rows() { return kRows; }

// The fields of Grid (0), Op (1) or Call (2), and how many they are.
int mmbas_fields(int which, const Field **fields) { return fields_of(which, fields); }

void mmbas_run(const Op *ops, int num_ops, const Call *call) {
    int threads = call->num_threads;
    assert(threads > 0 && (call->num_workspaces == 1 || call->num_workspaces >= threads));
#pragma omp parallel num_threads(threads)
    {
        int rank = omp_get_thread_num(), size = omp_get_num_threads();
        if (call->num_workspaces == 1) {  // all threads on one image after the other
            for (int image = 0; image < call->num_images; image++)
                run_image(ops, num_ops, {*call, call->workspaces[0], rank, size}, image);
        } else {  // each thread on images of its own
#pragma omp for schedule(dynamic)
            for (int image = 0; image < call->num_images; image++)
                run_image(ops, num_ops, {*call, call->workspaces[rank], 0, 1}, image);
        }
    }
}
}
