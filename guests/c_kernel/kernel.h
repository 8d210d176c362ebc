/* What the parts of the kernel know of each other. */
#ifndef KERNEL_H
#define KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

static inline void outb(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

static inline u8 inb(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

/* descriptors.c: the GDT and the IDT, and what comes by it. */
enum { KERNEL_CODE = 0x08, KERNEL_DATA = 0x10 };
enum { DIVIDE_ERROR = 0, BREAKPOINT = 3, INVALID_OPCODE = 6, GENERAL_PROTECTION = 13, PAGE_FAULT = 14 };
enum { IRQ_VECTORS = 32 };

struct trap {
  unsigned long vector, error, ip, cs, flags;
};

struct exception {
  unsigned count;
  unsigned long vector, error, address;
};

extern volatile struct exception last_exception;
extern unsigned long recovery;

void descriptors_initialize(void);

/* Runs an instruction that faults, and goes on behind it. */
#define faulting(instruction)                                                      \
  do {                                                                             \
    unsigned long ip;                                                              \
    __asm__ volatile("mov $1f, %0\n mov %0, %1\n" instruction "\n 1:"              \
                     : "=&S"(ip), "=m"(recovery) : : "eax", "ecx", "edx", "cc", "memory"); \
  } while (0)

/* timer.c: the PICs and the PIT. */
enum { TIMER_IRQ = 0 };

extern volatile u32 ticks;

void pic_initialize(void);
void pic_set_mask(u16 mask);
u16 pic_requests(void);
void interrupt(unsigned irq);
void pit_start(unsigned frequency);
u16 pit_count(void);

/* boot_information.c: what the boot loader said. */
struct boot_information {
  u32 upper_kib;
  const char *command_line;
};

/* Whether it was a boot loader of the protocol that the kernel has a header for. */
int read_boot_information(u32 magic, unsigned long address, struct boot_information *information);

#endif
