/* The life of a machine: made, run to its HLT, its registers read, closed. */
#include "baseline.h"

static const uint8_t guest[] = {0xf4}; /* hlt */

static uint64_t batch(unsigned long operations)
{
    uint64_t start = nanoseconds();
    for (unsigned long number = 0; number < operations; number++) {
        struct machine machine = create(guest, sizeof guest, PAGE);
        call(machine.vcpu, KVM_RUN, NULL, "KVM_RUN");
        if (machine.run->exit_reason != KVM_EXIT_HLT)
            unexpected(machine.run);
        struct kvm_regs regs;
        call(machine.vcpu, KVM_GET_REGS, &regs, "KVM_GET_REGS");
        if (regs.rip != LOADED_AT + sizeof guest)
            fail("rip");
        dispose(&machine);
    }
    return nanoseconds() - start;
}

int main(int argc, char **argv)
{
    return report(argc, argv, batch);
}
