/*
 * A machine that is as it was again, instead of a new one: the 16 pages that its guest has written are copied back, found
 * by the dirty log, its registers are set, and it runs to its HLT.
 */
#include "baseline.h"

enum { SIZE = 16 * PAGE };

static const uint8_t guest[] = {
    0xb9, 0x10, 0x00,       /* mov cx, 16 */
    0xbf, 0x00, 0x08,       /* mov di, 0x800 */
    0x88, 0x0d,             /* mov [di], cl */
    0x81, 0xc7, 0x00, 0x10, /* add di, 0x1000 */
    0xe2, 0xf8,             /* loop to the mov */
    0xf4,                   /* hlt */
};

static uint64_t batch(unsigned long operations)
{
    static struct machine machine;
    static uint8_t saved[SIZE];
    static struct kvm_sregs sregs;
    static struct kvm_regs regs;
    if (machine.run == NULL) {
        machine = create(guest, sizeof guest, SIZE);
        struct kvm_userspace_memory_region slot = {
            .flags = KVM_MEM_LOG_DIRTY_PAGES,
            .memory_size = SIZE,
            .userspace_addr = (uint64_t)(uintptr_t)machine.memory,
        };
        call(machine.vm, KVM_SET_USER_MEMORY_REGION, &slot, "KVM_SET_USER_MEMORY_REGION");
        memcpy(saved, machine.memory, SIZE);
        call(machine.vcpu, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
        call(machine.vcpu, KVM_GET_REGS, &regs, "KVM_GET_REGS");
    }
    uint64_t start = nanoseconds();
    for (unsigned long number = 0; number < operations; number++) {
        uint64_t dirty = 0;
        struct kvm_dirty_log log = {.dirty_bitmap = &dirty};
        call(machine.vm, KVM_GET_DIRTY_LOG, &log, "KVM_GET_DIRTY_LOG");
        for (unsigned page = 0; page < SIZE / PAGE; page++)
            if (dirty >> page & 1)
                memcpy(machine.memory + page * PAGE, saved + page * PAGE, PAGE);
        call(machine.vcpu, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
        call(machine.vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");
        call(machine.vcpu, KVM_RUN, NULL, "KVM_RUN");
        if (machine.run->exit_reason != KVM_EXIT_HLT)
            unexpected(machine.run);
    }
    uint64_t taken = nanoseconds() - start;
    if (machine.memory[0x800] != 16 || machine.memory[0xf800] != 1)
        fail("the guest's writes");
    return taken;
}

int main(int argc, char **argv)
{
    return report(argc, argv, batch);
}
