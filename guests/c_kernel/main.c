/* A kernel that starts by a boot loader, and tests itself: its descriptor tables, its exceptions and its timer. */
#include "kernel.h"
#include "guest_test.h"

enum { FREQUENCY = 1000, TICKS = 5 };

#ifndef UPPER_KIB /* memory above 1 MiB, of a machine without firmware */
#define UPPER_KIB (15 * 1024)
#endif

static u32 initialized = 0x600d600d;
static u32 zeroed[1024];

static int is_equal(const char *left, const char *right) {
  while (*left != 0 && *left == *right) left++, right++;
  return *left == *right;
}

static void test_boot(u32 magic, unsigned long address) {
  struct boot_information information = { 0, "" };
  guest_test("the boot loader's information");
  assert_true(read_boot_information(magic, address, &information));
  assert_eq(information.upper_kib, UPPER_KIB);
  assert_true(is_equal(information.command_line, "test=all quiet"));
  guest_test_end();

  guest_test("data is there, and the rest is zeros");
  assert_eq(initialized, 0x600d600d);
  u32 sum = 0;
  for (unsigned index = 0; index < sizeof zeroed / sizeof *zeroed; index++) sum |= zeroed[index];
  assert_eq(sum, 0);
  guest_test_end();
}

static void test_descriptors(void) {
  u16 cs, ss;
  guest_test("own segments");
  __asm__ volatile("mov %%cs, %0\n mov %%ss, %1" : "=r"(cs), "=r"(ss));
  assert_eq(cs, KERNEL_CODE);
  assert_eq(ss, KERNEL_DATA);
  guest_test_end();

  guest_test("exceptions arrive, with their error codes");
  __asm__ volatile("int3");
  assert_eq(last_exception.vector, BREAKPOINT);
  faulting("xor %%edx, %%edx\n div %%edx");
  assert_eq(last_exception.vector, DIVIDE_ERROR);
  faulting("ud2");
  assert_eq(last_exception.vector, INVALID_OPCODE);
  faulting("mov $0x50, %%eax\n mov %%eax, %%es");
  assert_eq(last_exception.vector, GENERAL_PROTECTION);
  assert_eq(last_exception.error, 0x50);
  assert_eq(last_exception.count, 4);
  guest_test_end();

  guest_test("page faults arrive, with their addresses");
#ifdef __x86_64__
  faulting("mov $0x12345678, %%eax\n movb $0, (%%rax)");
  assert_eq(last_exception.vector, PAGE_FAULT);
  assert_eq(last_exception.error, 0x2); /* a write, to a page that is not present */
  assert_eq(last_exception.address, 0x12345678);
#else
  guest_test_skip("paging is off");
#endif
  guest_test_end();
}

static void wait_for_ticks(u32 count) {
  u32 end = ticks + count;
  while ((int)(end - ticks) > 0) __asm__ volatile("sti\n hlt\n cli");
}

static void test_timer(void) {
  pic_initialize();
  pit_start(FREQUENCY);

  guest_test("the timer counts down");
  u16 before = pit_count();
  u16 after = pit_count();
  while (after == before) after = pit_count();
  assert_lt(before, 1193 + 1);
  assert_lt(after, 1193 + 1);
  guest_test_end();

  guest_test("a masked interrupt waits");
  while ((pic_requests() & 1 << TIMER_IRQ) == 0) {}
  __asm__ volatile("sti\n nop\n cli");
  assert_eq(ticks, 0);
  pic_set_mask(~(1 << TIMER_IRQ));
  __asm__ volatile("sti\n nop\n cli");
  assert_ne(ticks, 0);
  guest_test_end();

  guest_test("the timer interrupts a halted CPU");
  u32 start = ticks;
  wait_for_ticks(TICKS);
  assert_lt(start + TICKS - 1, ticks);
  assert_eq(last_exception.count, sizeof(void *) == 8 ? 5 : 4); /* and nothing else has come */
  guest_test_end();
}

void kernel_main(u32 magic, unsigned long address) {
  descriptors_initialize();
  test_boot(magic, address);
  test_descriptors();
  test_timer();
  guest_print("%d ticks", ticks >= TICKS ? TICKS : ticks);
  guest_tests_done();
}
