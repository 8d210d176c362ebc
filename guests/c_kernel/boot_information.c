/* Multiboot's information (3.3 of its specification), or the tags of multiboot 2 (3.6). */
#include "kernel.h"

#ifdef MULTIBOOT2

enum { MAGIC = 0x36d76289, TAG_END = 0, TAG_COMMAND_LINE = 1, TAG_MEMORY = 4 };

struct tag {
  u32 type, size;
  union {
    char text[1];
    struct { u32 lower_kib, upper_kib; } memory;
  };
};

int read_boot_information(u32 magic, unsigned long address, struct boot_information *information) {
  if (magic != MAGIC) return 0;
  for (unsigned long at = address + 8;;) {
    const struct tag *tag = (const struct tag *)at;
    if (tag->type == TAG_END) return 1;
    if (tag->type == TAG_COMMAND_LINE) information->command_line = tag->text;
    if (tag->type == TAG_MEMORY) information->upper_kib = tag->memory.upper_kib;
    at += (tag->size + 7) & ~7;
  }
}

#else

enum { MAGIC = 0x2badb002, HAS_MEMORY = 1 << 0, HAS_COMMAND_LINE = 1 << 2 };

struct multiboot_information {
  u32 flags, lower_kib, upper_kib, boot_device, command_line;
};

int read_boot_information(u32 magic, unsigned long address, struct boot_information *information) {
  const struct multiboot_information *given = (const struct multiboot_information *)address;
  if (magic != MAGIC) return 0;
  if (given->flags & HAS_MEMORY) information->upper_kib = given->upper_kib;
  if (given->flags & HAS_COMMAND_LINE) information->command_line = (const char *)(unsigned long)given->command_line;
  return 1;
}

#endif
