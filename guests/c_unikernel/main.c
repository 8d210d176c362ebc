/* A unikernel that makes each hypercall of uhyve, and tests what it is given. */
#include "uhyve.h"
#include "guest_test.h"

enum { PAGE = 4096, FRAME = 1514, LONG_TEXT = 5000 };

/* A buffer that begins 6 bytes before the end of a page. */
static char pages[3 * PAGE] __attribute__((aligned(PAGE)));
static char *const over_border = pages + PAGE - 6;

static u64 length(const char *text) {
  u64 count = 0;
  while (text[count] != 0) count++;
  return count;
}

static int is_text(const char *bytes, const char *text) {
  for (u64 index = 0; index < length(text); index++) {
    if (bytes[index] != text[index]) return 0;
  }
  return 1;
}

static void test_command_line(void) {
  static struct uhyve_cmdsize sizes;
  static char texts[4][64];
  static char *argv[2] = { texts[0], texts[1] };
  static char *envp[2] = { texts[2], texts[3] };
  struct uhyve_cmdval values = { argv, envp };

  guest_test("the command line and the environment");
  hypercall(UHYVE_CMDSIZE, &sizes);
  assert_eq(sizes.argc, 2);
  assert_eq(sizes.argsz[0], sizeof "-v");
  assert_eq(sizes.argsz[1], sizeof "/etc/config");
  assert_eq(sizes.argsz[2], 0);
  assert_eq(sizes.envc, 1);
  assert_eq(sizes.envsz[0], sizeof "HOME=/");
  hypercall(UHYVE_CMDVAL, &values);
  assert_true(is_text(argv[0], "-v"));
  assert_true(is_text(argv[1], "/etc/config"));
  assert_true(is_text(envp[0], "HOME=/"));
  assert_eq(texts[3][0], 0);
  guest_test_end();
}

static void test_reading(void) {
  guest_test("a file is read, also over the border of a page");
  i32 fd = sys_open("/etc/config", O_RDONLY, 0);
  assert_lt(2, fd);
  assert_eq(sys_read(fd, over_border, 100), 16);
  assert_true(is_text(over_border, "name = unikernel"));
  assert_eq(over_border[16], 0);
  assert_eq(sys_read(fd, over_border, 100), 0);
  assert_eq(sys_lseek(fd, -9, SEEK_END), 7);
  assert_eq(sys_lseek(fd, 3, SEEK_CUR), 10);
  assert_eq(sys_read(fd, over_border, 3), 3);
  assert_true(is_text(over_border, "ker"));
  assert_eq(sys_lseek(fd, 0, 9), -1);
  assert_eq(sys_lseek(fd, -1, SEEK_SET), -1);
  assert_eq(sys_close(fd), 0);
  assert_eq(sys_close(fd), -1);
  assert_eq(sys_read(fd, over_border, 1), -1);
  guest_test_end();

  guest_test("what is not there, or not the guest's, cannot be opened");
  assert_eq(sys_open("/etc/missing", O_RDONLY, 0), -1);
  assert_eq(sys_open("/etc/../../secret", O_RDONLY, 0), -1);
  assert_eq(sys_open("/etc", O_RDONLY, 0), -1);
  assert_eq(sys_open("", O_RDONLY, 0), -1);
  guest_test_end();
}

static void test_writing(void) {
  guest_test("a file is made, written, appended to and read back");
  for (int index = 0; index < LONG_TEXT; index++) over_border[index] = 'a' + index % 26;
  i32 fd = sys_open("/log", O_WRONLY | O_CREAT | O_EXCL, 0644);
  assert_lt(2, fd);
  sys_write(fd, over_border, LONG_TEXT);
  assert_eq(sys_read(fd, over_border, 1), -1);
  assert_eq(sys_close(fd), 0);
  assert_eq(sys_open("/log", O_WRONLY | O_CREAT | O_EXCL, 0644), -1);
  fd = sys_open("/log", O_WRONLY | O_APPEND, 0);
  sys_write(fd, "end", 3);
  sys_close(fd);
  fd = sys_open("/log", O_RDWR, 0);
  assert_eq(sys_lseek(fd, 0, SEEK_END), LONG_TEXT + 3);
  assert_eq(sys_lseek(fd, LONG_TEXT - 1, SEEK_SET), LONG_TEXT - 1);
  assert_eq(sys_read(fd, pages, PAGE), 4);
  assert_true(is_text(pages, "hend"));
  assert_eq(sys_lseek(fd, 0, SEEK_SET), 0);
  sys_write(fd, "A", 1);
  assert_eq(sys_close(fd), 0);
  fd = sys_open("/etc/state", O_WRONLY | O_TRUNC, 0);
  assert_lt(2, fd);
  assert_eq(sys_lseek(fd, 0, SEEK_END), 0);
  assert_eq(sys_close(fd), 0);
  guest_test_end();

  guest_test("a file is removed");
  assert_eq(sys_unlink("/etc/old"), 0);
  assert_eq(sys_unlink("/etc/old"), -1);
  assert_eq(sys_unlink("/etc"), -1);
  assert_eq(sys_open("/etc/old", O_RDONLY, 0), -1);
  guest_test_end();
}

static void test_terminal(void) {
  guest_test("standard input");
  assert_eq(sys_read(0, over_border, 3), 3);
  assert_true(is_text(over_border, "typ"));
  assert_eq(sys_read(0, over_border, 100), 3);
  assert_true(is_text(over_border, "ed\n"));
  assert_eq(sys_read(0, over_border, 100), 0);
  guest_test_end();
  sys_write(1, "output, ", 8);
  sys_write(2, "error, ", 7);
  uart_write("UART: gr\xc3\xbc\xc3\x9f""e\n");
}

static void test_network(void) {
  static u8 frame[FRAME];
  guest_test("a frame comes, and goes back with its addresses exchanged");
  assert_eq(network_is_up(), 1);
  assert_eq(network_receive(frame, 4), -1); /* no room */
  i64 count = network_receive(frame, sizeof frame);
  assert_eq(count, 16);
  assert_true(is_text((char *)frame, "to me.from x"));
  for (int index = 0; index < 6; index++) {
    u8 byte = frame[index];
    frame[index] = frame[index + 6];
    frame[index + 6] = byte;
  }
  assert_eq(network_send(frame, count), 0);
  assert_eq(network_receive(frame, sizeof frame), -1);
  guest_test_end();
}

/* By the convention: the boot information's address and the CPU's number. */
void _start(u64 information, u64 cpu) {
  guest_test("the entry");
  assert_eq(information, 0x500);
  assert_eq(cpu, 0);
  guest_test_end();
  test_command_line();
  test_reading();
  test_writing();
  test_terminal();
  test_network();
  guest_tests_done();
  sys_exit(-42);
}
