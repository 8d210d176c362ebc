/*
 * What the programs share: the plain KVM API, and how they report. Each is called with how many operations a batch has
 * and how many batches there are, and prints one line of JSON: {"operations":N,"nanoseconds":[T, ...]}, a time per batch.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, LOADED_AT = 0x500, CPUID_ENTRIES = 256, RFLAGS_RESERVED = 1 << 1 };

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void unexpected(const struct kvm_run *run)
{
    fprintf(stderr, "exit reason %" PRIu32 "\n", run->exit_reason);
    exit(1);
}

static int call(int fd, unsigned long request, void *argument, const char *name)
{
    int result = ioctl(fd, request, argument);
    if (result < 0)
        fail(name);
    return result;
}

static void *map(size_t size, int flags, int fd)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (at == MAP_FAILED)
        fail("mmap");
    return at;
}

static uint64_t nanoseconds(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) < 0)
        fail("clock_gettime");
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A machine of one vCPU in real mode that starts at LOADED_AT, as vmexit's smallest. */
struct machine {
    int kvm, vm, vcpu;
    size_t size, run_size;
    uint8_t *memory;
    struct kvm_run *run;
};

static void set_registers(const struct machine *machine)
{
    struct kvm_sregs sregs;
    call(machine->vcpu, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    call(machine->vcpu, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
    struct kvm_regs regs = {.rip = LOADED_AT, .rflags = RFLAGS_RESERVED};
    call(machine->vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");
}

static struct machine create(const void *guest, size_t length, size_t size)
{
    static struct {
        struct kvm_cpuid2 head;
        struct kvm_cpuid_entry2 entries[CPUID_ENTRIES];
    } cpuid;
    struct machine machine = {.size = size};
    machine.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (machine.kvm < 0)
        fail("/dev/kvm");
    machine.vm = call(machine.kvm, KVM_CREATE_VM, NULL, "KVM_CREATE_VM");
    cpuid.head.nent = CPUID_ENTRIES;
    call(machine.kvm, KVM_GET_SUPPORTED_CPUID, &cpuid, "KVM_GET_SUPPORTED_CPUID");
    machine.memory = map(size, MAP_SHARED | MAP_ANONYMOUS, -1);
    memcpy(machine.memory + LOADED_AT, guest, length);
    struct kvm_userspace_memory_region slot = {
        .memory_size = size,
        .userspace_addr = (uint64_t)(uintptr_t)machine.memory,
    };
    call(machine.vm, KVM_SET_USER_MEMORY_REGION, &slot, "KVM_SET_USER_MEMORY_REGION");
    machine.vcpu = call(machine.vm, KVM_CREATE_VCPU, NULL, "KVM_CREATE_VCPU");
    call(machine.vcpu, KVM_SET_CPUID2, &cpuid, "KVM_SET_CPUID2");
    machine.run_size = (size_t)call(machine.kvm, KVM_GET_VCPU_MMAP_SIZE, NULL, "KVM_GET_VCPU_MMAP_SIZE");
    machine.run = map(machine.run_size, MAP_SHARED, machine.vcpu);
    set_registers(&machine);
    return machine;
}

/* Runs the HLT that is its guest, and reads its registers. */
static inline void run_to_hlt(const struct machine *machine)
{
    call(machine->vcpu, KVM_RUN, NULL, "KVM_RUN");
    if (machine->run->exit_reason != KVM_EXIT_HLT)
        unexpected(machine->run);
    struct kvm_regs regs;
    call(machine->vcpu, KVM_GET_REGS, &regs, "KVM_GET_REGS");
    if (regs.rip != LOADED_AT + 1)
        fail("rip");
}

static inline void dispose(struct machine *machine)
{
    munmap(machine->run, machine->run_size);
    close(machine->vcpu);
    close(machine->vm);
    close(machine->kvm);
    munmap(machine->memory, machine->size);
}

/* Runs `batch` as often as the command line says, and prints what it returns. */
static int report(int argc, char **argv, uint64_t (*batch)(unsigned long operations))
{
    unsigned long operations = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
    unsigned long batches = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    if (operations == 0 || batches == 0) {
        fprintf(stderr, "usage: %s OPERATIONS BATCHES\n", argv[0]);
        return 2;
    }
    uint64_t *times = calloc(batches, sizeof *times);
    if (times == NULL)
        fail("calloc");
    for (unsigned long index = 0; index < batches; index++)
        times[index] = batch(operations);
    printf("{\"operations\":%lu,\"nanoseconds\":[", operations);
    for (unsigned long index = 0; index < batches; index++)
        printf("%s%" PRIu64, index == 0 ? "" : ",", times[index]);
    printf("]}\n");
    free(times);
    return 0;
}
