/* The two interrupt controllers (8259A) and the interval timer (8254) of a PC. */
#include "kernel.h"

enum { MASTER = 0x20, SLAVE = 0xa0 };
enum { ICW1_INITIALIZE = 0x11, ICW3_CASCADE = 2, ICW4_8086 = 0x01 };
enum { END_OF_INTERRUPT = 0x20, READ_REQUESTS = 0x0a };

enum { COUNTER_0 = 0x40, CONTROL = 0x43, LATCH_0 = 0x00, RATE_GENERATOR_0 = 0x34, CLOCK = 1193182 };

volatile u32 ticks;

void pic_initialize(void) {
  outb(MASTER, ICW1_INITIALIZE);
  outb(SLAVE, ICW1_INITIALIZE);
  outb(MASTER + 1, IRQ_VECTORS);
  outb(SLAVE + 1, IRQ_VECTORS + 8);
  outb(MASTER + 1, 1 << ICW3_CASCADE);
  outb(SLAVE + 1, ICW3_CASCADE);
  outb(MASTER + 1, ICW4_8086);
  outb(SLAVE + 1, ICW4_8086);
  pic_set_mask(0xffff);
}

void pic_set_mask(u16 mask) {
  outb(MASTER + 1, mask);
  outb(SLAVE + 1, mask >> 8);
}

u16 pic_requests(void) {
  outb(MASTER, READ_REQUESTS);
  outb(SLAVE, READ_REQUESTS);
  return inb(MASTER) | inb(SLAVE) << 8;
}

void interrupt(unsigned irq) {
  if (irq == TIMER_IRQ) ticks++;
#ifndef FORGETS_END_OF_INTERRUPT /* a fault, for a test of the tests */
  if (irq >= 8) outb(SLAVE, END_OF_INTERRUPT);
  outb(MASTER, END_OF_INTERRUPT);
#endif
}

void pit_start(unsigned frequency) {
  unsigned divisor = CLOCK / frequency;
  outb(CONTROL, RATE_GENERATOR_0);
  outb(COUNTER_0, divisor);
  outb(COUNTER_0, divisor >> 8);
}

u16 pit_count(void) {
  outb(CONTROL, LATCH_0);
  u8 low = inb(COUNTER_0);
  return low | inb(COUNTER_0) << 8;
}
