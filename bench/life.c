/*
 * How long a virtual machine lives that is made, run to its HLT and closed, by the plain KVM API.
 *
 *   life COUNT
 *
 * One page of memory, one vCPU in real mode, as vmexit's smallest machine has them. Prints one line of JSON:
 * {"lives":COUNT,"nanoseconds":N}.
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

enum { PAGE = 4096, HLT = 0xf4, CPUID_ENTRIES = 256, RFLAGS_RESERVED = 1 << 1 };

static void fail(const char *what)
{
    fprintf(stderr, "life: %s: %s\n", what, strerror(errno));
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

static void live(void)
{
    static struct {
        struct kvm_cpuid2 head;
        struct kvm_cpuid_entry2 entries[CPUID_ENTRIES];
    } cpuid;
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        fail("/dev/kvm");
    int vm = call(kvm, KVM_CREATE_VM, NULL, "KVM_CREATE_VM");
    cpuid.head.nent = CPUID_ENTRIES;
    call(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid, "KVM_GET_SUPPORTED_CPUID");
    uint8_t *memory = map(PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
    memory[0] = HLT;
    struct kvm_userspace_memory_region slot = {
        .memory_size = PAGE,
        .userspace_addr = (uint64_t)(uintptr_t)memory,
    };
    call(vm, KVM_SET_USER_MEMORY_REGION, &slot, "KVM_SET_USER_MEMORY_REGION");
    int vcpu = call(vm, KVM_CREATE_VCPU, NULL, "KVM_CREATE_VCPU");
    call(vcpu, KVM_SET_CPUID2, &cpuid, "KVM_SET_CPUID2");
    int size = call(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL, "KVM_GET_VCPU_MMAP_SIZE");
    struct kvm_run *run = map((size_t)size, MAP_SHARED, vcpu);
    struct kvm_sregs sregs;
    call(vcpu, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    call(vcpu, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
    struct kvm_regs regs = {.rflags = RFLAGS_RESERVED};
    call(vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");
    call(vcpu, KVM_RUN, NULL, "KVM_RUN");
    if (run->exit_reason != KVM_EXIT_HLT) {
        fprintf(stderr, "life: exit reason %" PRIu32 "\n", run->exit_reason);
        exit(1);
    }
    call(vcpu, KVM_GET_REGS, &regs, "KVM_GET_REGS");
    munmap(run, (size_t)size);
    close(vcpu);
    close(vm);
    close(kvm);
    munmap(memory, PAGE);
}

static uint64_t nanoseconds(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) < 0)
        fail("clock_gettime");
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv)
{
    unsigned long count = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    if (count == 0) {
        fprintf(stderr, "usage: life COUNT\n");
        return 2;
    }
    uint64_t start = nanoseconds();
    for (unsigned long number = 0; number < count; number++)
        live();
    printf("{\"lives\":%lu,\"nanoseconds\":%" PRIu64 "}\n", count, nanoseconds() - start);
    return 0;
}
