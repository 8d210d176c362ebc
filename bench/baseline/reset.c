/*
 * A machine that is as it was again, instead of a new one, by the system calls that vmexit makes for it: the 16 pages that
 * its guest has written are copied back, found by the dirty log; all state of its vCPU is set that a guest may have changed
 * without an exit, or that changes by itself; KVM's statistics are read, which tell whether there was another exit; and it
 * runs to its HLT.
 */
#include "baseline.h"

enum { SIZE = 16 * PAGE, MOST_MSRS = 256, STATISTICS = 2048, XSTATE_BV = 512 / 4, SSE_AND_AVX = 6 };

static const uint8_t guest[] = {
    0xb9, 0x10, 0x00,       /* mov cx, 16 */
    0xbf, 0x00, 0x08,       /* mov di, 0x800 */
    0x88, 0x0d,             /* mov [di], cl */
    0x81, 0xc7, 0x00, 0x10, /* add di, 0x1000 */
    0xe2, 0xf8,             /* loop to the mov */
    0xf4,                   /* hlt */
};

struct msrs {
    struct kvm_msrs head;
    struct kvm_msr_entry entries[MOST_MSRS];
};

struct state {
    struct kvm_sregs sregs;
    struct kvm_regs regs;
    struct kvm_xsave mxcsr, xsave; /* the first of them brings in MXCSR, where SSE is not in use */
    struct msrs msrs;
    struct kvm_debugregs debugregs;
    struct kvm_vcpu_events events;
};

/* Adds an MSR, if the vCPU has it, and it can be set. */
static void add(const struct machine *machine, struct msrs *msrs, uint32_t index)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } one = {.head = {.nmsrs = 1}, .entry = {.index = index}};
    if (ioctl(machine->vcpu, KVM_GET_MSRS, &one) == 1 && ioctl(machine->vcpu, KVM_SET_MSRS, &one) == 1)
        msrs->entries[msrs->head.nmsrs++] = one.entry;
}

static void save_msrs(const struct machine *machine, struct msrs *msrs)
{
    static struct {
        struct kvm_msr_list head;
        uint32_t indices[MOST_MSRS];
    } list = {.head = {.nmsrs = MOST_MSRS}};
    enum { TSC = 0x10, WALL_CLOCK = 0x11, WALL_CLOCK_NEW = 0x4b564d00, HYPERV = 0x40000000, HYPERV_END = 0x40002000 };
    static const uint32_t unlisted[] = {0xc0010114, 0xc0011029, 0x1d9}; /* VM_CR, DE_CFG, IA32_DEBUGCTL */
    call(machine->kvm, KVM_GET_MSR_INDEX_LIST, &list, "KVM_GET_MSR_INDEX_LIST");
    add(machine, msrs, TSC); /* twice, as KVM takes one that is near as one that is to be in step */
    add(machine, msrs, TSC);
    for (uint32_t at = 0; at < list.head.nmsrs; at++) {
        uint32_t index = list.indices[at];
        int is_hyperv = index >= HYPERV && index < HYPERV_END;
        int is_emulated = (index >= 0x200 && index < 0x270) || index == 0x2ff || (index >= 0x400 && index < 0x480);
        if (index != TSC && index != WALL_CLOCK && index != WALL_CLOCK_NEW && !is_hyperv && !is_emulated)
            add(machine, msrs, index);
    }
    for (size_t at = 0; at < sizeof unlisted / sizeof *unlisted; at++)
        add(machine, msrs, unlisted[at]);
}

static void save(const struct machine *machine, struct state *state)
{
    call(machine->vcpu, KVM_GET_SREGS, &state->sregs, "KVM_GET_SREGS");
    call(machine->vcpu, KVM_GET_REGS, &state->regs, "KVM_GET_REGS");
    call(machine->vcpu, KVM_GET_XSAVE, &state->xsave, "KVM_GET_XSAVE");
    state->mxcsr = state->xsave;
    state->mxcsr.region[XSTATE_BV] |= SSE_AND_AVX;
    save_msrs(machine, &state->msrs);
    call(machine->vcpu, KVM_GET_DEBUGREGS, &state->debugregs, "KVM_GET_DEBUGREGS");
    call(machine->vcpu, KVM_GET_VCPU_EVENTS, &state->events, "KVM_GET_VCPU_EVENTS");
}

static void restore(const struct machine *machine, struct state *state)
{
    call(machine->vcpu, KVM_SET_SREGS, &state->sregs, "KVM_SET_SREGS");
    call(machine->vcpu, KVM_SET_REGS, &state->regs, "KVM_SET_REGS");
    call(machine->vcpu, KVM_SET_XSAVE, &state->mxcsr, "KVM_SET_XSAVE");
    call(machine->vcpu, KVM_SET_XSAVE, &state->xsave, "KVM_SET_XSAVE");
    int count = call(machine->vcpu, KVM_SET_MSRS, &state->msrs, "KVM_SET_MSRS");
    if ((uint32_t)count != state->msrs.head.nmsrs)
        fail("KVM_SET_MSRS");
    call(machine->vcpu, KVM_SET_DEBUGREGS, &state->debugregs, "KVM_SET_DEBUGREGS");
    call(machine->vcpu, KVM_SET_VCPU_EVENTS, &state->events, "KVM_SET_VCPU_EVENTS");
}

static uint64_t batch(unsigned long operations)
{
    static struct machine machine;
    static uint8_t saved[SIZE];
    static struct state state;
    static struct kvm_stats_header header;
    static uint64_t statistics[STATISTICS / sizeof(uint64_t)];
    static int file;
    if (machine.run == NULL) {
        machine = create(guest, sizeof guest, SIZE);
        struct kvm_userspace_memory_region slot = {
            .flags = KVM_MEM_LOG_DIRTY_PAGES,
            .memory_size = SIZE,
            .userspace_addr = (uint64_t)(uintptr_t)machine.memory,
        };
        call(machine.vm, KVM_SET_USER_MEMORY_REGION, &slot, "KVM_SET_USER_MEMORY_REGION");
        memcpy(saved, machine.memory, SIZE);
        save(&machine, &state);
        file = call(machine.vcpu, KVM_GET_STATS_FD, NULL, "KVM_GET_STATS_FD");
        if (pread(file, &header, sizeof header, 0) != sizeof header)
            fail("pread");
    }
    uint64_t start = nanoseconds();
    for (unsigned long number = 0; number < operations; number++) {
        if (pread(file, statistics, sizeof statistics, header.data_offset) <= 0)
            fail("pread");
        uint64_t dirty = 0;
        struct kvm_dirty_log log = {.dirty_bitmap = &dirty};
        call(machine.vm, KVM_GET_DIRTY_LOG, &log, "KVM_GET_DIRTY_LOG");
        for (unsigned page = 0; page < SIZE / PAGE; page++)
            if (dirty >> page & 1)
                memcpy(machine.memory + page * PAGE, saved + page * PAGE, PAGE);
        restore(&machine, &state);
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
