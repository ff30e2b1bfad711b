/* Two models, eight threads, images of varying size: results stay, memory does not grow.
 *
 *     stress_sessions NETWORK.mmbas [calls in all]
 *
 * Prints how far the process has grown after a tenth of the calls, in KiB. */
#include <mmbas.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { kThreads = 8, kModels = 2, kMost = 40, kSizes = 16 };

static MmbasModel *models[kModels];
static unsigned char pixels[kMost * kMost * 3];
static float expected[kSizes];
static int num_classes, calls_each;

static float run(MmbasModel *model, int size) {
    float logits[64];
    MmbasImages images = {pixels, MMBAS_UINT8, MMBAS_NHWC, MMBAS_RGB, 0, 1, 8 + 2 * size, 40 - size};
    MmbasResults results = {logits, NULL, NULL, NULL};
    if (mmbas_run(model, &images, 1, &results)) {
        fprintf(stderr, "%s\n", mmbas_last_error());
        exit(1);
    }
    return logits[num_classes - 1];
}

static void *work(void *argument) {
    unsigned seed = (unsigned)(size_t)argument + 1;
    for (int i = 0; i < calls_each; i++) {
        seed = seed * 1664525u + 1013904223u;
        int size = seed >> 16 & (kSizes - 1);
        if (run(models[seed >> 24 & 1], size) != expected[size]) {
            fprintf(stderr, "another result\n");
            exit(1);
        }
    }
    return NULL;
}

static long most_memory(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void run_all(int calls) {
    pthread_t threads[kThreads];
    calls_each = calls / kThreads;
    for (size_t i = 0; i < kThreads; i++) pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < kThreads; i++) pthread_join(threads[i], NULL);
}

int main(int argc, char **argv) {
    int calls = argc > 2 ? atoi(argv[2]) : 100000;
    MmbasInfo info;
    for (int i = 0; i < kModels; i++) {
        models[i] = argc > 1 ? mmbas_open(argv[1], NULL) : NULL;
        if (!models[i]) return fprintf(stderr, "%s\n", mmbas_last_error()), 1;
    }
    mmbas_describe(models[0], &info);
    num_classes = info.num_classes;
    if (num_classes < 1 || num_classes > 64 || info.dense) return 2;
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (unsigned char)(i * 37);
    for (int size = 0; size < kSizes; size++) expected[size] = run(models[0], size);
    run_all(calls / 10);
    long before = most_memory();
    run_all(calls - calls / 10);
    printf("%d calls, grown by %ld KiB from %ld\n", calls, most_memory() - before, before);
    for (int i = 0; i < kModels; i++) mmbas_close(models[i]);
    return 0;
}
