/* A picture service: for every picture it allocates the raster and the scaled copy anew, goes over each once and frees
 * both; the allocator maps and unmaps such large blocks each time. Models minor faults from mappings that do not last.
 * usage: PROGRAM */
#include <stdint.h>
#include <stdlib.h>

#define WIDTH 8192
#define HEIGHT 6144

static volatile uint64_t served;

__attribute__((noinline)) static void decode_picture(uint8_t *raster, unsigned seed) {
    for (int row = 0; row < HEIGHT; row++)
        for (int column = 0; column < WIDTH; column += 64) raster[row * WIDTH + column] = (uint8_t)(seed + row);
}

__attribute__((noinline)) static uint64_t scale_picture(const uint8_t *raster, uint8_t *scaled) {
    uint64_t sum = 0;
    for (int row = 0; row < HEIGHT / 2; row++)
        for (int column = 0; column < WIDTH / 2; column += 64)
            sum += scaled[row * (WIDTH / 2) + column] = raster[row * 2 * WIDTH + column * 2];
    return sum;
}

__attribute__((noinline)) static void serve_picture(unsigned seed) {
    uint8_t *raster = malloc(WIDTH * HEIGHT), *scaled = malloc(WIDTH * HEIGHT / 4);
    if (!raster || !scaled) exit(1);
    decode_picture(raster, seed);
    served += scale_picture(raster, scaled);
    free(scaled);
    free(raster);
}

int main(void) {
    for (unsigned seed = 0;; seed++) serve_picture(seed);
}
