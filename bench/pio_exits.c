/*
 * Port output exits per second of the plain KVM API, for the ratio of vmexit's run loop to it.
 *
 *   pio_exits COUNT
 *
 * A real-mode guest of one page writes a byte to a port COUNT times and halts. The time is that of the KVM_RUN loop alone,
 * set-up excluded. Prints one line of JSON: {"exits":COUNT,"nanoseconds":N}.
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

enum { PAGE = 4096, PORT = 0x1000, COUNT_OFFSET = 5, RFLAGS_RESERVED = 1 << 1 };

static const uint8_t guest[] = {
    0xba, PORT & 0xff, PORT >> 8,       /* mov dx, PORT */
    0x66, 0xb9, 0, 0, 0, 0,             /* mov ecx, COUNT */
    0xee,                               /* out dx, al */
    0x66, 0x49,                         /* dec ecx */
    0x75, 0xfb,                         /* jnz to the out */
    0xf4,                               /* hlt */
};

static void fail(const char *what)
{
    fprintf(stderr, "pio_exits: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int call(int fd, unsigned long request, void *argument, const char *name)
{
    int result = ioctl(fd, request, argument);
    if (result < 0)
        fail(name);
    return result;
}

static uint64_t nanoseconds(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) < 0)
        fail("clock_gettime");
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void *map(size_t size, int flags, int fd)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (at == MAP_FAILED)
        fail("mmap");
    return at;
}

/* A virtual CPU at the start of the guest, in real mode. */
static int create_vcpu(int vm, uint32_t count)
{
    uint8_t *memory = map(PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
    memcpy(memory, guest, sizeof guest);
    memcpy(memory + COUNT_OFFSET, &count, sizeof count);
    struct kvm_userspace_memory_region slot = {
        .memory_size = PAGE,
        .userspace_addr = (uint64_t)(uintptr_t)memory,
    };
    call(vm, KVM_SET_USER_MEMORY_REGION, &slot, "KVM_SET_USER_MEMORY_REGION");

    int vcpu = call(vm, KVM_CREATE_VCPU, NULL, "KVM_CREATE_VCPU");
    struct kvm_sregs sregs;
    call(vcpu, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    call(vcpu, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
    struct kvm_regs regs = {.rflags = RFLAGS_RESERVED};
    call(vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");
    return vcpu;
}

/* Runs the guest to its HLT and returns how many port output exits it made. */
static uint32_t run(int vcpu, const struct kvm_run *state)
{
    for (uint32_t exits = 0;;) {
        call(vcpu, KVM_RUN, NULL, "KVM_RUN");
        if (state->exit_reason == KVM_EXIT_HLT)
            return exits;
        if (state->exit_reason != KVM_EXIT_IO || state->io.direction != KVM_EXIT_IO_OUT ||
            state->io.port != PORT) {
            fprintf(stderr, "pio_exits: exit reason %" PRIu32 "\n", state->exit_reason);
            exit(1);
        }
        exits += state->io.count;
    }
}

int main(int argc, char **argv)
{
    char *end = NULL;
    unsigned long count = argc == 2 ? strtoul(argv[1], &end, 10) : 0;
    if (count == 0 || count > UINT32_MAX || *end != '\0') {
        fprintf(stderr, "usage: pio_exits COUNT (1 to %" PRIu32 ")\n", UINT32_MAX);
        return 2;
    }

    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        fail("/dev/kvm");
    int vm = call(kvm, KVM_CREATE_VM, NULL, "KVM_CREATE_VM");
    int vcpu = create_vcpu(vm, (uint32_t)count);
    int size = call(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL, "KVM_GET_VCPU_MMAP_SIZE");
    const struct kvm_run *state = map((size_t)size, MAP_SHARED, vcpu);

    uint64_t start = nanoseconds();
    uint32_t exits = run(vcpu, state);
    uint64_t elapsed = nanoseconds() - start;

    if (exits != count) {
        fprintf(stderr, "pio_exits: %" PRIu32 " exits instead of %lu\n", exits, count);
        return 1;
    }
    printf("{\"exits\":%" PRIu32 ",\"nanoseconds\":%" PRIu64 "}\n", exits, elapsed);
    return 0;
}
