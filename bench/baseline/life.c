/* The life of a machine: made, run to its HLT, its registers read, closed. */
#include "baseline.h"

static const uint8_t guest[] = {0xf4}; /* hlt */

static uint64_t batch(unsigned long operations)
{
    uint64_t start = nanoseconds();
    for (unsigned long number = 0; number < operations; number++) {
        struct machine machine = create(guest, sizeof guest, PAGE);
        run_to_hlt(&machine);
        dispose(&machine);
    }
    return nanoseconds() - start;
}

int main(int argc, char **argv)
{
    return report(argc, argv, batch);
}
