//! A kernel that fails deep in: it takes the fifth of four slots.
const Queue = struct {
    slots: [4]u32,

    noinline fn take(self: *const Queue, index: usize) u32 {
        if (index >= self.slots.len) stop();
        return self.slots[index];
    }
};

inline fn stop() noreturn {
    while (true) asm volatile ("ud2");
}

noinline fn drain(queue: *const Queue, count: usize) u32 {
    var sum: u32 = 0;
    var index: usize = 0;
    while (index < count) : (index += 1) sum +%= queue.take(index);
    return sum;
}

export fn _start() noreturn {
    const queue = Queue{ .slots = .{ 1, 2, 3, 4 } };
    const sum = drain(&queue, 5);
    asm volatile ("outb %%al, $0x80" : : [sum] "{al}" (@as(u8, @truncate(sum))));
    stop();
}
