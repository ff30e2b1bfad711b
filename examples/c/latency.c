/* Times a network: latency network.mmbas [height width [threads [repeats [images [bfloat16]]]]]
 *
 * Prints the time to open the file, of the first call, and quartiles of the later ones. */
#define _POSIX_C_SOURCE 200112L
#include <mmbas.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int argument(int argc, char **argv, int i, int otherwise) {
    return argc > i ? atoi(argv[i]) : otherwise;
}

int main(int argc, char **argv) {
    int height = argument(argc, argv, 2, 224), width = argument(argc, argv, 3, 224);
    int threads = argument(argc, argv, 4, 1), repeats = argument(argc, argv, 5, 20);
    MmbasImages images = {0};
    MmbasResults results = {0};
    MmbasOpenOptions options = {argument(argc, argv, 7, 0) ? MMBAS_BFLOAT16 : MMBAS_FLOAT32, NULL};
    MmbasInfo info;
    if (argc < 2 || height < 1 || width < 1 || repeats < 1)
        return fprintf(stderr, "usage: latency NETWORK.mmbas [height width [threads [repeats]]]\n"), 2;
    double start = milliseconds();
    MmbasModel *model = mmbas_open(argv[1], &options);
    if (!model) return fprintf(stderr, "%s\n", mmbas_last_error()), 1;
    mmbas_describe(model, &info);
    double opened = milliseconds();

    images.num_images = argument(argc, argv, 6, 1);
    images.height = height;
    images.width = width;
    size_t bytes = (size_t)images.num_images * height * width * info.image_channels;
    unsigned char *pixels = malloc(bytes);
    for (size_t i = 0; i < bytes; i++) pixels[i] = (unsigned char)rand();
    images.data = pixels;
    images.type = MMBAS_UINT8;
    double *times = malloc(sizeof(double) * (repeats + 1));
    results.macs = malloc(sizeof(int64_t) * images.num_images);
    for (int i = 0; i <= repeats; i++) {
        double before = milliseconds();
        if (mmbas_run(model, &images, threads, &results))
            return fprintf(stderr, "%s\n", mmbas_last_error()), 1;
        times[i] = milliseconds() - before;
    }
    qsort(times + 1, repeats, sizeof(double), compare);
    printf("%s, %dx%d, %d threads: open %.1f ms, first call %.1f ms, then %.2f ms (%.2f to %.2f), "
           "%.1f M MACs\n", info.kernels, height, width, threads, opened - start, times[0],
           times[1 + repeats / 2], times[1 + repeats / 4], times[1 + repeats * 3 / 4],
           results.macs[0] / 1e6);
    mmbas_close(model);
    free(pixels);
    free(times);
    free(results.macs);
    return 0;
}
