/*
 * Exits of a guest that writes a byte to a port again and again, each handed to a handler that is found by its port. The
 * time is that from the first exit of a batch to its last.
 */
#include "baseline.h"

enum { PORT = 0x1000, PORTS = 0x10000 };

static const uint8_t guest[] = {
    0xba, PORT & 0xff, PORT >> 8, /* mov dx, PORT */
    0xee,                         /* out dx, al */
    0xeb, 0xfd,                   /* jmp to the out */
};

typedef void handler(uint16_t port, uint8_t value);

static handler *handlers[PORTS];
static unsigned long exits, last;
static uint64_t began, ended;

static void count(uint16_t port, uint8_t value)
{
    (void)port, (void)value;
    if (exits == 0)
        began = nanoseconds();
    else if (exits == last)
        ended = nanoseconds();
    exits++;
}

static uint64_t batch(unsigned long operations)
{
    static struct machine machine;
    if (machine.run == NULL)
        machine = create(guest, sizeof guest, PAGE);
    const struct kvm_run *run = machine.run;
    exits = 0;
    last = operations;
    while (exits <= operations) {
        call(machine.vcpu, KVM_RUN, NULL, "KVM_RUN");
        if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT || run->io.size != 1)
            unexpected(run);
        handler *found = handlers[run->io.port];
        if (found == NULL)
            unexpected(run);
        const uint8_t *data = (const uint8_t *)run + run->io.data_offset;
        for (uint32_t index = 0; index < run->io.count; index++)
            found(run->io.port, data[index]);
    }
    return ended - began;
}

int main(int argc, char **argv)
{
    handlers[PORT] = count;
    return report(argc, argv, batch);
}
