import { MFD, O, SC, SEEK } from "../../../lib/ffi/files.ts";
import { HUGE_PAGE_SIZE, MADV, MAP, PROT } from "../../../lib/ffi/mman.ts";
import { PROCESS_ABI } from "../../../lib/ffi/process_calls.ts";
import { SOCKET_ABI } from "../../../lib/ffi/socket.ts";
import { IOCTLS } from "../../../lib/kvm/abi/ioctls.ts";
import { SYSTEM_CALL } from "../../../lib/kvm/remote/window.ts";
import { assert, assertEquals } from "@std/assert";
import { compileAndRun } from "../oracle/c_compiler.ts";

/** What C says of expressions. */
async function ask(expressions: readonly string[]): Promise<number[]> {
  const source = [
    "#define _GNU_SOURCE",
    ...["fcntl.h", "poll.h", "signal.h", "spawn.h", "stddef.h", "stdio.h", "dirent.h"],
    ...["errno.h", "netinet/in.h", "netinet/tcp.h"],
    ...["sys/mman.h", "sys/socket.h", "sys/stat.h", "sys/syscall.h", "sys/time.h", "unistd.h"],
  ].map((line) => line.startsWith("#") ? line : `#include <${line}>`);
  const prints = expressions.map((each) => `printf("%ld\\n", (long)(${each}));`);
  const result = await compileAndRun(
    `${source.join("\n")}\nint main(void) {\n${prints.join("\n")}\n}\n`,
  );
  assert("output" in result, "the program does not compile");
  return result.output.trim().split("\n").map(Number);
}

Deno.test("the numbers of system calls agree with <sys/syscall.h>", async () => {
  const names = Object.keys(SYSTEM_CALL);
  assertEquals(await ask(names.map((name) => `SYS_${name}`)), Object.values(SYSTEM_CALL));
});

Deno.test("what processes are started and spoken with by agrees with the C library's headers", async () => {
  assertEquals(await ask(Object.keys(PROCESS_ABI)), Object.values(PROCESS_ABI));
  assertEquals(await ask(Object.keys(SOCKET_ABI)), Object.values(SOCKET_ABI));
  const others = {
    O_RDWR: O.RDWR,
    O_CLOEXEC: O.CLOEXEC,
    SEEK_END: SEEK.END,
    SEEK_DATA: SEEK.DATA,
    SEEK_HOLE: SEEK.HOLE,
    MFD_CLOEXEC: MFD.CLOEXEC,
    _SC_PHYS_PAGES: SC.PHYS_PAGES,
    PROT_READ: PROT.READ,
    PROT_WRITE: PROT.WRITE,
    MAP_SHARED: MAP.SHARED,
    MADV_REMOVE: MADV.REMOVE,
    MADV_HUGEPAGE: MADV.HUGEPAGE,
  };
  assertEquals(await ask(Object.keys(others)), Object.values(others));
  assertEquals(HUGE_PAGE_SIZE, 2 ** 21);
});

Deno.test("an ioctl whose argument has a descriptor or an address of this process says so", () => {
  const reference = /(^|[.\]])(userspace_addr|dirty_bitmap|bitmap|blob_addr_\d+|resamplefd|fd)$/;
  const silent = Object.values(IOCTLS).filter(({ struct, references }) =>
    references === undefined && struct?.fields.some(({ path }) => reference.test(path))
  );
  assertEquals(silent.map(({ name }) => name), []);
});
