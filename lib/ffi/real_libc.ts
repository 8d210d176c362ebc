import { touchedPages } from "./page_map.ts";
import { bufferPages } from "./pages.ts";
import { HostError } from "./errors.ts";
import type { Libc } from "./libc.ts";
import { cString, processCalls } from "./process_calls.ts";

const LIBRARY = "libc.so.6";
const INT_SIZE = 4;

/** `M_MMAP_THRESHOLD` of glibc's `malloc.h`: from which size on an allocation is a mapping of its own. */
const M_MMAP_THRESHOLD = -3;

/** What that threshold is before glibc raises it by itself. */
const MMAP_THRESHOLD = 128 * 1024;

const SYMBOLS = {
  __errno_location: { parameters: [], result: "pointer" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  pread: { parameters: ["i32", "buffer", "usize", "i64"], result: "isize" },
  lseek: { parameters: ["i32", "i64", "i32"], result: "i64" },
  memfd_create: { parameters: ["buffer", "u32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  // Request and argument are unsigned longs, but all of KVM's fit 32 bits; `u32` keeps Deno's fast path,
  // which a `u64` would leave, and the upper half of the register is zero either way.
  ioctl: { parameters: ["i32", "u32", "u32"], result: "i32" },
  ioctlBuffer: { name: "ioctl", parameters: ["i32", "u32", "buffer"], result: "i32" },
  mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "usize" },
  munmap: { parameters: ["pointer", "usize"], result: "i32" },
  madvise: { parameters: ["pointer", "usize", "i32"], result: "i32" },
  dlsym: { parameters: ["pointer", "buffer"], result: "pointer" },
  gettid: { parameters: [], result: "i32" },
  sigaction: { parameters: ["i32", "buffer", "pointer"], result: "i32" },
  timer_create: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  timer_settime: { parameters: ["usize", "i32", "buffer", "pointer"], result: "i32" },
  timer_delete: { parameters: ["usize"], result: "i32" },
  sysconf: { parameters: ["i32"], result: "i64" },
  mallopt: { parameters: ["i32", "i32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

let opened: Libc | undefined;

// In the middle of a test, Deno's sanitizer would take the library for a leak of the test's. Outside of `deno test`,
// and where
// FFI is not permitted, this does nothing; where it fails, whoever needs the library hears why.
Deno.test?.beforeAll?.(() => {
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") return;
  try {
    libc();
    processCalls();
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
  }
});

/**
 * The C library of this process. It is opened on the first call, never at import, and stays open: its
 * functions must outlive every machine, and unloading libc would free nothing.
 *
 * @throws {Deno.errors.NotCapable} When `ffi` is not permitted. Deno resolves `--allow-ffi=PATH` against the
 * working directory, so the permission to give is `--allow-ffi` without a path, or `"ffi": true`.
 * @throws {HostError} On anything but Linux with glibc 2.34 or newer.
 *
 * @example
 * ```ts no-eval
 * import { libc } from "@vmexit/vmexit/kvm";
 *
 * console.log(libc().gettid());
 * ```
 */
export function libc(): Libc {
  return opened ??= bind();
}

function bind(): Libc {
  if (Deno.build.os !== "linux") {
    throw new HostError(
      `Cannot use KVM on ${Deno.build.os}/${Deno.build.arch}: vmexit runs guests on Linux only. ` +
        "Run the tests in a Linux virtual machine, a container or CI.",
    );
  }
  let library: Deno.DynamicLibrary<typeof SYMBOLS>;
  try {
    library = Deno.dlopen(LIBRARY, SYMBOLS);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) {
      throw new Deno.errors.NotCapable(
        `Cannot call libc: FFI is not permitted. Run with --allow-ffi (without a path), or put "ffi": true ` +
          "among the permissions in deno.json.",
        { cause: error },
      );
    }
    throw new HostError(
      `Cannot call libc: ${LIBRARY} of glibc 2.34 or newer is needed ` +
        `(${error instanceof Error ? error.message : error})`,
      { cause: error },
    );
  }
  const c = library.symbols;
  // Guest memory is in ordinary buffers. glibc raises the threshold when one is freed, and takes the next
  // from its heap: there each is zeroed by hand, and what is freed stays with the process. Setting the
  // threshold keeps it where it is (mallopt(3)).
  c.mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
  const errnoView = new Int32Array(
    Deno.UnsafePointerView.getArrayBuffer(c.__errno_location()!, INT_SIZE),
  );

  const addressOf = (bytes: Uint8Array<ArrayBuffer>) =>
    Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes));
  const calls: Libc = {
    errno: () => errnoView[0],
    open: (path, flags) => c.open(cString(path), flags),
    close: (fd) => c.close(fd),
    read: (fd, buffer) => Number(c.read(fd, buffer, BigInt(buffer.byteLength))),
    write: (fd, bytes) => Number(c.write(fd, bytes, BigInt(bytes.byteLength))),
    pread: (fd, buffer, offset) =>
      Number(c.pread(fd, buffer, BigInt(buffer.byteLength), BigInt(offset))),
    lseek: (fd, offset, whence) => Number(c.lseek(fd, BigInt(offset), whence)),
    memfd_create: (name, flags) => c.memfd_create(cString(name), flags),
    eventfd: (initialValue, flags) => c.eventfd(initialValue, flags),
    ioctl: (fd, request, argument) => c.ioctl(fd, request, argument),
    ioctlBuffer: (fd, request, buffer) => c.ioctlBuffer(fd, request, buffer),
    mmap: (length, protection, flags, fd, offset) =>
      BigInt(c.mmap(null, BigInt(length), protection, flags, fd, BigInt(offset))),
    munmap: (address, length) => c.munmap(Deno.UnsafePointer.create(address), BigInt(length)),
    madvise: (address, length, advice) =>
      c.madvise(Deno.UnsafePointer.create(address), BigInt(length), advice),
    memory: (address, length) =>
      Deno.UnsafePointerView.getArrayBuffer(Deno.UnsafePointer.create(address)!, length),
    addressOf,
    allocatePages: (size, alignment, offset) =>
      bufferPages(
        size,
        alignment,
        offset,
        addressOf,
        (address, length) => touchedPages(calls, address, length),
      ),
    functionAddress: (name) => Deno.UnsafePointer.value(c.dlsym(null, cString(name))),
    gettid: () => c.gettid(),
    sigaction: (signal, action) => c.sigaction(signal, action, null),
    timer_create: (clock, event, timerId) => c.timer_create(clock, event, timerId),
    timer_settime: (timerId, value) => c.timer_settime(timerId, 0, value, null),
    timer_delete: (timerId) => c.timer_delete(timerId),
    sysconf: (name) => Number(c.sysconf(name)),
  };
  return calls;
}
