/**
 * The window: memory that this process and an emulated machine share. It begins with what the two say to each other;
 * all behind it is memory of guests, and the copies of what KVM shares with a process. Offsets are in bytes from its
 * start.
 *
 * The agent in the machine executes calls that the process writes down: see `agent.ts`.
 */
export const WINDOW = {
  /** The number of the latest request, counted by the process. */
  request: 0x00,
  /** The number of the latest request that was carried out, written by the agent. */
  done: 0x40,
  /** Not 0 while the agent waits for the bell, written by the agent. */
  asleep: 0x80,
  /** How many calls the request has. */
  calls: 0xc0,
  /** Not 0 while the process waits for a byte by {@linkcode DONE_PORT}, written by it. */
  waiting: 0x100,
  /** The process's own notes, by {@linkcode NOTES}: how its next isolate finds the machine. */
  notes: 0x800,
  /** The calls themselves. */
  callList: 0x1000,
  /** Where the bytes of arguments lie. */
  data: 0x1_0000,
  /** The values of timers that are still to be set: they are sent with a later request than they are written with. */
  timers: 0xf_8000,
  /** Where memory begins that is given out in pages. */
  pages: 0x10_0000,
} as const;

/** How much memory it is in the machine: 2 GiB, of which the host gives what is touched. */
export const WINDOW_MEMORY = 0x8000_0000;

/** How much of that is the window: the firmware has its tables at the end. In whole pages of 2 MiB. */
export const WINDOW_SIZE = WINDOW_MEMORY - 0x20_0000;

/** Where the window begins in the machine's physical memory, behind all that its kernel knows of. */
export const WINDOW_PHYSICAL = 0x1000_0000;

/** Where the agent has it in its own address space. */
export const WINDOW_IN_AGENT = 0x10_0000_0000;

/** A call: a number and six arguments as 64-bit words, and the result. */
export const CALL = { size: 64, number: 0, argument: 8, result: 56 } as const;

/** How many calls a request has at most. */
export const MOST_CALLS = (WINDOW.data - WINDOW.callList) / CALL.size;

/** How many bytes of arguments a request has at most. */
export const DATA_SIZE = WINDOW.timers - WINDOW.data;

/** The system calls of x86-64 Linux that the agent makes, for this process and for itself (`asm/unistd_64.h`). */
export const SYSTEM_CALL = {
  read: 0,
  write: 1,
  open: 2,
  close: 3,
  lseek: 8,
  mmap: 9,
  munmap: 11,
  rt_sigaction: 13,
  rt_sigreturn: 15,
  ioctl: 16,
  pread64: 17,
  madvise: 28,
  dup2: 33,
  nanosleep: 35,
  clone: 56,
  fork: 57,
  exit: 60,
  wait4: 61,
  mount: 165,
  iopl: 172,
  gettid: 186,
  timer_create: 222,
  timer_settime: 223,
  timer_delete: 226,
  eventfd2: 290,
  pipe2: 293,
  finit_module: 313,
  memfd_create: 319,
  execveat: 322,
} as const;

/** Calls of the agent's own, numbered behind the kernel's. */
export const OWN_CALL = {
  /**
   * Copies (to, from, length) by words of 8 bytes. To and from the same place it makes the processor see what is there.
   */
  copy: 0x1000,
  /** Fills (at, length) with zeros. */
  zero: 0x1001,
  /** `KVM_RUN` of (descriptor, `kvm_run`, its copy). */
  run: 0x1002,
  /** Takes over the entries of a dirty ring that are to be reset (ring, its copy, length). */
  harvest: 0x1003,
  /** Runs a static program to its end (its file, the file for its output, its argument vector): its wait status. */
  execute: 0x1004,
  /** Closes a descriptor, by a thread of its own: the end of a VM is mostly waiting. */
  close: 0x1005,
} as const;

/**
 * The port that the agent writes to when a request is done: QEMU's debug console (`isa-debugcon`); not where SeaBIOS
 * has its.
 */
export const DONE_PORT = 0xe9;

/** The ports of the machine's serial controller, in the order of their numbers, from 1 on. */
export const PORTS = {
  /** Its bytes wake the agent. */
  bell: { number: 1, device: "/dev/vport0p1" },
  /**
   * Each of its messages signals an eventfd: the descriptor and the count, of 8 bytes each. Any thread of the process
   * writes them.
   */
  signal: { number: 2, device: "/dev/vport0p2" },
} as const;

/** Bytes of a message of {@linkcode PORTS.signal}. */
export const SIGNAL_SIZE = 16;

/** Who holds a machine, where that is no thread. */
export const HOLDER = { nobody: 0, dead: -1 } as const;

/** Where the process notes what its next isolate needs, in {@linkcode WINDOW.notes}; 64-bit numbers. */
export const NOTES = {
  /** The thread that uses it, or {@linkcode HOLDER}. */
  holder: 0x00,
  /** Where the window is mapped. */
  address: 0x08,
  /** The supervisor's process id. */
  supervisor: 0x10,
  /** The descriptor whose end ends the machine. */
  life: 0x18,
  /** The descriptor by which the agent is woken. */
  bell: 0x20,
  /** The descriptor by which eventfds are signalled, by any thread. */
  signal: 0x50,
  /** The descriptor by which it answers. */
  done: 0x28,
  /** The descriptor of its console's log. */
  console: 0x30,
  /** The descriptor of QEMU's complaints. */
  complaints: 0x38,
  /** The descriptor of the window itself. */
  window: 0x48,
} as const;
