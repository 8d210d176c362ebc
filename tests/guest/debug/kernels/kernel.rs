// A kernel that fails deep in: it takes the fifth of four slots, and panics.
#![no_std]
#![no_main]
use core::arch::asm;
use core::panic::PanicInfo;

struct Queue {
    slots: [u32; 4],
}

impl Queue {
    #[inline(never)]
    fn take(&self, index: usize) -> u32 {
        self.slots[index]
    }
}

#[inline(never)]
fn drain(queue: &Queue, count: usize) -> u32 {
    let mut sum = 0;
    for index in 0..count {
        sum += queue.take(index);
    }
    sum
}

#[inline(always)]
fn stop() -> ! {
    loop {
        unsafe { asm!("ud2") }
    }
}

#[no_mangle]
pub extern "C" fn _start() -> ! {
    let queue = Queue { slots: [1, 2, 3, 4] };
    let sum = drain(&queue, 5);
    unsafe { asm!("out 0x80, al", in("al") sum as u8) }
    stop()
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    stop()
}

#[no_mangle]
extern "C" fn rust_eh_personality() {}
