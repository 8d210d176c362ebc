/*
 * The hypercalls of uhyve 0.2.1: a 32-bit `out` carries the physical address of a structure. Its members lie one behind the other,
 * without padding. Buffers of read and write are virtual addresses, all other pointers are physical; here the two are the same.
 */
#ifndef UHYVE_H
#define UHYVE_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef int i32;
typedef long i64;

enum uhyve_port {
  UHYVE_WRITE = 0x400,
  UHYVE_OPEN = 0x440,
  UHYVE_CLOSE = 0x480,
  UHYVE_READ = 0x500,
  UHYVE_EXIT = 0x540,
  UHYVE_LSEEK = 0x580,
  UHYVE_NETWRITE = 0x640,
  UHYVE_NETREAD = 0x680,
  UHYVE_NETSTAT = 0x700,
  UHYVE_CMDSIZE = 0x740,
  UHYVE_CMDVAL = 0x780,
  UHYVE_UART = 0x800,
  UHYVE_UNLINK = 0x840,
};

#define PACKED __attribute__((packed))

struct uhyve_write { i32 fd; const void *buf; u64 len; } PACKED;
struct uhyve_open { const char *name; i32 flags; i32 mode; i32 ret; } PACKED;
struct uhyve_close { i32 fd; i32 ret; } PACKED;
struct uhyve_read { i32 fd; void *buf; u64 len; i64 ret; } PACKED;
struct uhyve_exit { i32 arg; } PACKED;
struct uhyve_lseek { i32 fd; i64 offset; i32 whence; } PACKED;
struct uhyve_netwrite { const void *data; u64 len; i32 ret; } PACKED;
struct uhyve_netread { void *data; u64 len; i32 ret; } PACKED;
struct uhyve_netstat { i32 status; } PACKED;
enum { UHYVE_ARGUMENTS = 128 };
struct uhyve_cmdsize { i32 argc; i32 argsz[UHYVE_ARGUMENTS]; i32 envc; i32 envsz[UHYVE_ARGUMENTS]; } PACKED;
struct uhyve_cmdval { char **argv; char **envp; } PACKED;
struct uhyve_unlink { const char *name; i32 ret; } PACKED;

static inline void hypercall(enum uhyve_port port, const void *structure) {
  __asm__ volatile("outl %0, %1" : : "a"((u32)(u64)structure), "d"((u16)port) : "memory");
}

enum { O_RDONLY = 0, O_WRONLY = 01, O_RDWR = 02, O_CREAT = 0100, O_EXCL = 0200, O_TRUNC = 01000, O_APPEND = 02000 };
enum { SEEK_SET, SEEK_CUR, SEEK_END };

static inline void sys_write(i32 fd, const void *buf, u64 len) {
  struct uhyve_write call = { fd, buf, len };
  hypercall(UHYVE_WRITE, &call);
}

static inline i32 sys_open(const char *name, i32 flags, i32 mode) {
  struct uhyve_open call = { name, flags, mode, 0 };
  hypercall(UHYVE_OPEN, &call);
  return call.ret;
}

static inline i32 sys_close(i32 fd) {
  struct uhyve_close call = { fd, 0 };
  hypercall(UHYVE_CLOSE, &call);
  return call.ret;
}

static inline i64 sys_read(i32 fd, void *buf, u64 len) {
  struct uhyve_read call = { fd, buf, len, 0 };
  hypercall(UHYVE_READ, &call);
  return call.ret;
}

static inline i64 sys_lseek(i32 fd, i64 offset, i32 whence) {
  struct uhyve_lseek call = { fd, offset, whence };
  hypercall(UHYVE_LSEEK, &call);
  return call.offset;
}

static inline i32 sys_unlink(const char *name) {
  struct uhyve_unlink call = { name, 0 };
  hypercall(UHYVE_UNLINK, &call);
  return call.ret;
}

static inline _Noreturn void sys_exit(i32 status) {
  struct uhyve_exit call = { status };
  hypercall(UHYVE_EXIT, &call);
  for (;;) __asm__ volatile("cli\n hlt");
}

static inline i32 network_is_up(void) {
  struct uhyve_netstat call = { 0 };
  hypercall(UHYVE_NETSTAT, &call);
  return call.status;
}

static inline i32 network_send(const void *frame, u64 len) {
  struct uhyve_netwrite call = { frame, len, 0 };
  hypercall(UHYVE_NETWRITE, &call);
  return call.ret;
}

/* The length of the frame, or -1 where none has come. */
static inline i64 network_receive(void *frame, u64 room) {
  struct uhyve_netread call = { frame, room, 0 };
  hypercall(UHYVE_NETREAD, &call);
  return call.ret == 0 ? (i64)call.len : -1;
}

static inline void uart_write(const char *text) {
  for (; *text != 0; text++) __asm__ volatile("outb %0, %1" : : "a"(*text), "d"((u16)UHYVE_UART));
}

#endif
