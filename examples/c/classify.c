/* Says what an image shows: classify network.mmbas image.ppm
 *
 * The image is a binary PPM (P6, 8 bits) of the size that the network was tested with. */
#include <mmbas.h>
#include <stdio.h>
#include <stdlib.h>

/* The pixels, red first, or NULL. */
static unsigned char *read_ppm(const char *path, int *width, int *height) {
    FILE *file = fopen(path, "rb");
    unsigned char *pixels = NULL;
    int most;
    if (file && fscanf(file, "P6 %d %d %d", width, height, &most) == 3 && most == 255 &&
        fgetc(file) != EOF && *width > 0 && *height > 0 && *width <= 8192 && *height <= 8192) {
        size_t bytes = (size_t)*width * *height * 3;
        pixels = malloc(bytes);
        if (pixels && fread(pixels, 1, bytes, file) != bytes) {
            free(pixels);
            pixels = NULL;
        }
    }
    if (file) fclose(file);
    return pixels;
}

int main(int argc, char **argv) {
    MmbasInfo info;
    MmbasImages images = {0};
    MmbasResults results = {0};
    int64_t macs;
    int best = 0, c;
    if (argc != 3) return fprintf(stderr, "usage: classify NETWORK.mmbas IMAGE.ppm\n"), 2;
    MmbasModel *model = mmbas_open(argv[1], NULL);
    if (!model) return fprintf(stderr, "%s\n", mmbas_last_error()), 1;
    mmbas_describe(model, &info);
    if (!info.num_classes || info.dense) return fprintf(stderr, "not a classifier\n"), 1;

    unsigned char *pixels = read_ppm(argv[2], &images.width, &images.height);
    if (!pixels) return fprintf(stderr, "%s is no binary PPM\n", argv[2]), 1;
    images.data = pixels;
    images.type = MMBAS_UINT8;
    images.layout = MMBAS_NHWC;
    images.order = MMBAS_RGB;
    images.num_images = 1;
    results.logits = malloc(sizeof(float) * info.num_classes);
    results.macs = &macs;
    if (mmbas_run(model, &images, 1, &results))
        return fprintf(stderr, "%s\n", mmbas_last_error()), 1;

    for (c = 1; c < info.num_classes; c++)
        if (results.logits[c] > results.logits[best]) best = c;
    const char *name = mmbas_class_name(model, best);
    printf("class %d %s, logit %.4f, %.2f M MACs\n", best, name ? name : "", results.logits[best],
           macs / 1e6);
    free(results.logits);
    free(pixels);
    mmbas_close(model);
    return 0;
}
