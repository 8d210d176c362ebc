/*
 * Tests inside the guest, for `guestTests` of @vmexit/vmexit, in C (GCC or Clang; 32 and 64 bits, 16 by -m16):
 *
 *     guest_test("addition");
 *     assert_eq(add(2, 3), 5);
 *     guest_test_end();
 *     guest_tests_done();
 *
 * Each report is one exit: an `out` to a port, with the address of a record in RDI, or EDI.
 */
#ifndef VMEXIT_GUEST_TEST_H
#define VMEXIT_GUEST_TEST_H

#define GUEST_RECORD_PORT 0xe5

enum {
  GUEST_REPORT_TEST = 1,
  GUEST_REPORT_FAILED = 2,
  GUEST_REPORT_PASSED = 3,
  GUEST_REPORT_END = 4,
  GUEST_REPORT_PRINT = 5,
  GUEST_REPORT_SKIP = 6,
  GUEST_REPORT_DONE = 7,
};

struct guest_record {
  unsigned int kind;
  unsigned int line;
  unsigned long long file;
  unsigned long long text;
  unsigned long long left;   /* of a print: its arguments, and how many */
  unsigned long long right;
};

static inline void guest_report(unsigned int kind, const char *file, unsigned int line, const char *text,
                                unsigned long long left, unsigned long long right) {
  struct guest_record record = { kind, line, (unsigned long)file, (unsigned long)text, left, right };
  __asm__ volatile("outb %%al, %0" : : "i"(GUEST_RECORD_PORT), "D"(&record) : "memory");
}

#define guest_test(name) guest_report(GUEST_REPORT_TEST, __FILE__, __LINE__, name, 0, 0)
#define guest_test_end() guest_report(GUEST_REPORT_END, __FILE__, __LINE__, "", 0, 0)
#define guest_test_skip(why) guest_report(GUEST_REPORT_SKIP, __FILE__, __LINE__, why, 0, 0)
#define guest_tests_done() guest_report(GUEST_REPORT_DONE, __FILE__, __LINE__, "", 0, 0)

/* Operands are compared as C compares them; -Wsign-compare would warn of each number that is written without a U. */
#define guest_assert(left_, right_, op, text)                                                          \
  do {                                                                                                 \
    _Pragma("GCC diagnostic push")                                                                     \
    _Pragma("GCC diagnostic ignored \"-Wsign-compare\"")                                               \
    __typeof__(left_) guest_left = (left_);                                                            \
    __typeof__(right_) guest_right = (right_);                                                         \
    guest_report(guest_left op guest_right ? GUEST_REPORT_PASSED : GUEST_REPORT_FAILED, __FILE__,      \
                 __LINE__, text, (unsigned long long)guest_left, (unsigned long long)guest_right);     \
    _Pragma("GCC diagnostic pop")                                                                      \
  } while (0)

/* Assertions. The test goes on behind one that fails. */
#define assert_eq(left, right) guest_assert(left, right, ==, #left " == " #right)
#define assert_ne(left, right) guest_assert(left, right, !=, #left " != " #right)
#define assert_lt(left, right) guest_assert(left, right, <, #left " < " #right)
#define assert_true(value) guest_assert(!!(value), 1, ==, #value)

/* Prints by one exit: %d, %u, %x, %p, %c, %s and %%, with l or ll before them. */
#define guest_print(format, ...)                                                                       \
  do {                                                                                                 \
    unsigned long long guest_arguments[] = { 0, ##__VA_ARGS__ };                                       \
    guest_report(GUEST_REPORT_PRINT, __FILE__, __LINE__, format,                                       \
                 (unsigned long)(guest_arguments + 1),                                                 \
                 sizeof guest_arguments / sizeof *guest_arguments - 1);                                \
  } while (0)

#endif
