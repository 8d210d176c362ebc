/* The kernel's own descriptor tables (Intel SDM Vol. 3A, 3.4.5 and 6.11), and where exceptions and interrupts arrive. */
#include "kernel.h"
#include "guest_test.h"

enum { VECTORS = 48, INTERRUPT_GATE = 0x8e };

struct table {
  u16 limit;
  unsigned long base;
} __attribute__((packed));

struct gate {
  u16 offset_low, selector;
  u8 stack, type;
  u16 offset_middle;
#ifdef __x86_64__
  u32 offset_high, reserved;
#endif
} __attribute__((packed));

static const u64 gdt[] = {
  0,
#ifdef __x86_64__
  0x00af9b000000ffff, /* 64-bit code at CPL 0 */
#else
  0x00cf9b000000ffff, /* 32-bit code at CPL 0, 4 GiB */
#endif
  0x00cf93000000ffff, /* data, 4 GiB */
};

static struct gate idt[VECTORS];

extern const unsigned long trap_entries[VECTORS];
void load_gdt(const struct table *gdt);

volatile struct exception last_exception;
unsigned long recovery;

void descriptors_initialize(void) {
  const struct table gdt_table = { sizeof gdt - 1, (unsigned long)gdt };
  load_gdt(&gdt_table);
  for (int vector = 0; vector < VECTORS; vector++) {
    unsigned long entry = trap_entries[vector];
    idt[vector] = (struct gate){
      .offset_low = entry,
      .selector = KERNEL_CODE,
      .type = INTERRUPT_GATE,
      .offset_middle = entry >> 16,
#ifdef __x86_64__
      .offset_high = entry >> 32,
#endif
    };
  }
  const struct table idt_table = { sizeof idt - 1, (unsigned long)idt };
  __asm__ volatile("lidt %0" : : "m"(idt_table));
}

void trap(struct trap *trap) {
  if (trap->vector >= IRQ_VECTORS) return interrupt(trap->vector - IRQ_VECTORS);
  unsigned long cr2;
  __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
  last_exception.count++;
  last_exception.vector = trap->vector;
  last_exception.error = trap->error;
  last_exception.address = cr2;
  if (trap->vector == BREAKPOINT) return;
  if (recovery == 0) {
    guest_print("exception %d (0x%x) at %p\n", trap->vector, trap->error, trap->ip);
    for (;;) __asm__ volatile("cli\n hlt");
  }
  trap->ip = recovery;
  recovery = 0;
}
