/* A machine made, run to its HLT, its registers read. That it is closed, which waits for the kernel, is not timed. */
#include "baseline.h"

static const uint8_t guest[] = {0xf4}; /* hlt */

static uint64_t batch(unsigned long operations)
{
    uint64_t taken = 0;
    for (unsigned long number = 0; number < operations; number++) {
        uint64_t start = nanoseconds();
        struct machine machine = create(guest, sizeof guest, PAGE);
        run_to_hlt(&machine);
        taken += nanoseconds() - start;
        dispose(&machine);
    }
    return taken;
}

int main(int argc, char **argv)
{
    return report(argc, argv, batch);
}
