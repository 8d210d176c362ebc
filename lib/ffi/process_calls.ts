import { SystemError } from "./errors.ts";

/**
 * Numbers of Linux's and glibc's headers, by the expressions that they are in C: a test compares them. On x86-64 and
 * AArch64 they are the same.
 */
export const PROCESS_ABI = {
  AF_UNIX: 1,
  "SOCK_STREAM | SOCK_CLOEXEC": 0x8_0001,
  SOL_SOCKET: 1,
  SO_RCVTIMEO: 20,
  MSG_NOSIGNAL: 0x4000,
  SIGKILL: 9,
  /** A copy of a descriptor with the lowest free number from one on, which no child inherits. */
  F_DUPFD_CLOEXEC: 1030,
  /** A session of its own, which Ctrl-C at the terminal does not reach. */
  POSIX_SPAWN_SETSID: 0x80,
  "sizeof(posix_spawn_file_actions_t)": 80,
  "sizeof(posix_spawnattr_t)": 336,
  "sizeof(struct timeval)": 16,
  "offsetof(struct dirent, d_name)": 19,
  "sizeof(struct stat)": 144,
  "offsetof(struct stat, st_size)": 48,
  "offsetof(struct stat, st_mtim.tv_sec)": 88,
} as const;

/** The longest path (`PATH_MAX` of `linux/limits.h`). */
const PATH_MAX = 4096;

const SYMBOLS = {
  __errno_location: { parameters: [], result: "pointer" },
  getenv: { parameters: ["buffer"], result: "pointer" },
  ftruncate: { parameters: ["i32", "i64"], result: "i32" },
  stat: { parameters: ["buffer", "buffer"], result: "i32" },
  readlink: { parameters: ["buffer", "buffer", "usize"], result: "isize" },
  opendir: { parameters: ["buffer"], result: "pointer" },
  readdir: { parameters: ["pointer"], result: "pointer" },
  closedir: { parameters: ["pointer"], result: "i32" },
  socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  memcmp: { parameters: ["buffer", "buffer", "usize"], result: "i32" },
  tgkill: { parameters: ["i32", "i32", "i32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  kill: { parameters: ["i32", "i32"], result: "i32" },
  waitpid: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  posix_spawn: {
    parameters: ["buffer", "buffer", "buffer", "buffer", "buffer", "buffer"],
    result: "i32",
  },
  posix_spawn_file_actions_init: { parameters: ["buffer"], result: "i32" },
  posix_spawn_file_actions_adddup2: { parameters: ["buffer", "i32", "i32"], result: "i32" },
  posix_spawn_file_actions_destroy: { parameters: ["buffer"], result: "i32" },
  posix_spawnattr_init: { parameters: ["buffer"], result: "i32" },
  posix_spawnattr_setflags: { parameters: ["buffer", "i16"], result: "i32" },
  posix_spawnattr_destroy: { parameters: ["buffer"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** What {@linkcode ProcessCalls.spawn} starts. */
export interface SpawnOptions {
  /** The program's path and its arguments, the first of which is its name. */
  readonly program: string;
  readonly args: readonly string[];
  /** `NAME=value`, all that it gets. */
  readonly env: readonly string[];
  /** The descriptors that it gets, by the numbers that they have there: their index. */
  readonly descriptors: readonly number[];
}

/**
 * The calls of the C library by which an emulated machine is started and spoken with: no permission but `ffi` is
 * needed, nothing is asynchronous, and no resource of Deno's stays open.
 */
export interface ProcessCalls {
  /** The reason of the call that failed last. */
  errno(): number;
  /** `getenv(3)`. */
  getenv(name: string): string | undefined;
  /** `ftruncate(2)`. */
  ftruncate(fd: number, length: number): number;
  /** The names in a folder; empty where it cannot be read. */
  namesIn(folder: string): string[];
  /** A file's size and time of modification, as one word; undefined where there is no file. */
  modified(path: string): string | undefined;
  /** `readlink(2)`; undefined where that is no link. */
  readlink(path: string): string | undefined;
  /**
   * Two connected sockets.
   *
   * @throws {SystemError} When descriptors are used up.
   */
  socketpair(): [number, number];
  /** Limits how long {@linkcode ProcessCalls.recv} waits, in milliseconds. */
  setReceiveTimeout(fd: number, milliseconds: number): void;
  /** `send(2)`, without a signal where nobody hears it. */
  send(fd: number, bytes: Uint8Array<ArrayBuffer>): number;
  /** `recv(2)`. */
  recv(fd: number, bytes: Uint8Array<ArrayBuffer>): number;
  /** Whether two pieces of memory of the same length are equal. */
  equal(one: Uint8Array<ArrayBuffer>, other: Uint8Array<ArrayBuffer>): boolean;
  /** Whether a thread of this process is still there. */
  threadIsAlive(thread: number): boolean;
  /**
   * Starts a program in a session of its own.
   *
   * @returns Its process id.
   * @throws {SystemError} When it cannot be started.
   */
  spawn(options: SpawnOptions): number;
  /** Ends a child with SIGKILL. */
  kill(pid: number): void;
  /** Waits for the end of a child, and returns its wait status. */
  wait(pid: number): number;
}

let opened: ProcessCalls | undefined;

/** The calls; the library is opened once and stays open, as {@linkcode libc} has it. */
export function processCalls(): ProcessCalls {
  return opened ??= bind();
}

function bind(): ProcessCalls {
  const c = Deno.dlopen("libc.so.6", SYMBOLS).symbols;
  const errnoView = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(c.__errno_location()!, 4));
  return {
    errno: () => errnoView[0],
    getenv(name) {
      const value = c.getenv(cString(name));
      return value === null ? undefined : Deno.UnsafePointerView.getCString(value);
    },
    ftruncate: (fd, length) => c.ftruncate(fd, BigInt(length)),
    namesIn(folder) {
      const directory = c.opendir(cString(folder));
      if (directory === null) return [];
      const names: string[] = [];
      for (let entry = c.readdir(directory); entry !== null; entry = c.readdir(directory)) {
        names.push(
          Deno.UnsafePointerView.getCString(entry, PROCESS_ABI["offsetof(struct dirent, d_name)"]),
        );
      }
      c.closedir(directory);
      return names;
    },
    modified(path) {
      const status = new DataView(new ArrayBuffer(PROCESS_ABI["sizeof(struct stat)"]));
      if (c.stat(cString(path), new Uint8Array(status.buffer)) !== 0) return undefined;
      const [size, seconds] = [
        PROCESS_ABI["offsetof(struct stat, st_size)"],
        PROCESS_ABI["offsetof(struct stat, st_mtim.tv_sec)"],
      ].map((at) => status.getBigInt64(at, true));
      return `${size} bytes of ${seconds}`;
    },
    readlink(path) {
      const target = new Uint8Array(PATH_MAX);
      const length = Number(c.readlink(cString(path), target, BigInt(target.length)));
      return length < 0 ? undefined : new TextDecoder().decode(target.subarray(0, length));
    },
    socketpair() {
      const pair = new Int32Array(2);
      if (
        c.socketpair(
          PROCESS_ABI.AF_UNIX,
          PROCESS_ABI["SOCK_STREAM | SOCK_CLOEXEC"],
          0,
          new Uint8Array(pair.buffer),
        ) !== 0
      ) {
        throw new SystemError("socketpair", errnoView[0], "the emulated machine was not started");
      }
      return [pair[0], pair[1]];
    },
    setReceiveTimeout(fd, milliseconds) {
      const timeval = new BigInt64Array([
        BigInt(Math.floor(milliseconds / 1000)),
        BigInt(milliseconds % 1000 * 1000),
      ]);
      c.setsockopt(
        fd,
        PROCESS_ABI.SOL_SOCKET,
        PROCESS_ABI.SO_RCVTIMEO,
        new Uint8Array(timeval.buffer),
        timeval.byteLength,
      );
    },
    send: (fd, bytes) => Number(c.send(fd, bytes, BigInt(bytes.length), PROCESS_ABI.MSG_NOSIGNAL)),
    recv: (fd, bytes) => Number(c.recv(fd, bytes, BigInt(bytes.length), 0)),
    equal: (one, other) => c.memcmp(one, other, BigInt(one.length)) === 0,
    threadIsAlive: (thread) => c.tgkill(Deno.pid, thread, 0) === 0,
    spawn({ program, args, env, descriptors }) {
      // The strings must outlive the call that has their addresses.
      const words = [...args, ...env].map(cString);
      const addresses = (strings: Uint8Array<ArrayBuffer>[]) =>
        new Uint8Array(
          new BigUint64Array([
            ...strings.map((word) => Deno.UnsafePointer.value(Deno.UnsafePointer.of(word))),
            0n,
          ]).buffer,
        );
      // From above all the numbers that they are to have, so that none is overwritten before it is copied.
      const copies: number[] = [];
      for (const fd of descriptors) {
        const copy = c.fcntl(fd, PROCESS_ABI.F_DUPFD_CLOEXEC, descriptors.length);
        if (copy >= 0) {
          copies.push(copy);
          continue;
        }
        const errno = errnoView[0];
        for (const made of copies) c.close(made);
        throw new SystemError("fcntl", errno, `${program} was not started`);
      }
      const actions = new Uint8Array(PROCESS_ABI["sizeof(posix_spawn_file_actions_t)"]);
      const attributes = new Uint8Array(PROCESS_ABI["sizeof(posix_spawnattr_t)"]);
      c.posix_spawn_file_actions_init(actions);
      c.posix_spawnattr_init(attributes);
      c.posix_spawnattr_setflags(attributes, PROCESS_ABI.POSIX_SPAWN_SETSID);
      copies.forEach((fd, index) => c.posix_spawn_file_actions_adddup2(actions, fd, index));
      const pid = new Int32Array(1);
      const failure = c.posix_spawn(
        new Uint8Array(pid.buffer),
        cString(program),
        actions,
        attributes,
        addresses(words.slice(0, args.length)),
        addresses(words.slice(args.length)),
      );
      for (const fd of copies) c.close(fd);
      c.posix_spawn_file_actions_destroy(actions);
      c.posix_spawnattr_destroy(attributes);
      if (failure !== 0) {
        throw new SystemError("posix_spawn", failure, `${program} was not started`);
      }
      return pid[0];
    },
    kill: (pid) => void c.kill(pid, PROCESS_ABI.SIGKILL),
    wait(pid) {
      const status = new Int32Array(1);
      c.waitpid(pid, new Uint8Array(status.buffer), 0);
      return status[0];
    },
  };
}

/** Text as C has it. @throws {TypeError} When it contains a NUL. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  if (text.includes("\0")) {
    throw new TypeError(`Cannot pass ${JSON.stringify(text)} to libc: it contains a NUL`);
  }
  return new TextEncoder().encode(text + "\0");
}
