import { assertEquals, assertThrows } from "@std/assert";
import { HostError, SystemError } from "../../lib/ffi/errors.ts";
import type { Libc } from "../../lib/ffi/libc.ts";
import { openHandles } from "../../lib/ffi/handles.ts";
import { type NasmInput, runNasm } from "../../lib/guest/nasm.ts";
import { type ToolHost, toolHost, type ToolResult } from "../../lib/guest/tool.ts";

const INPUT: NasmInput = { text: "nop\n", origin: 0n, bits: 16, folders: [] };

/** A host on which NASM answers so, whatever it is asked. */
function hostWhere(
  run: (command: string, args: readonly string[]) => Partial<ToolResult>,
): ToolHost {
  return {
    libc: toolHost.libc,
    run: (command, args) => ({ command, code: 0, stdout: "", stderr: "", ...run(command, args) }),
  };
}

const notFound = () => {
  throw new Deno.errors.NotFound();
};

/** Runs with an environment variable set, or unset, and sets it back. */
function withEnvironment(name: string, value: string | undefined, work: () => void): void {
  const before = Deno.env.get(name);
  const set = (to?: string) => to === undefined ? Deno.env.delete(name) : Deno.env.set(name, to);
  set(value);
  try {
    work();
  } finally {
    set(before);
  }
}

Deno.test("a missing NASM says how to get it", () => {
  for (const words of ["apt-get install nasm", "dnf install nasm", "setup", "VMEXIT_NASM"]) {
    assertThrows(() => runNasm(INPUT, hostWhere(notFound)), HostError, words);
  }
});

Deno.test("NASM is sought on the PATH, then in vmexit's cache", () => {
  const tried: string[] = [];
  const host = hostWhere((command) => {
    tried.push(command);
    return notFound();
  });
  withEnvironment("VMEXIT_NASM", undefined, () => {
    withEnvironment("XDG_CACHE_HOME", "/cache", () => {
      assertThrows(() => runNasm(INPUT, host), HostError);
    });
  });
  assertEquals(tried, ["nasm", "/cache/vmexit/nasm/usr/bin/nasm"]);
});

Deno.test("a NASM that VMEXIT_NASM names is the only one that counts", () => {
  const tried: string[] = [];
  const host = hostWhere((command) => {
    tried.push(command);
    return notFound();
  });
  withEnvironment("VMEXIT_NASM", "/opt/nasm", () => {
    assertThrows(() => runNasm(INPUT, host), HostError);
  });
  assertEquals(tried, ["/opt/nasm"]);
});

const TROUBLES: [what: string, version: string, answer: Partial<ToolResult>, message: string][] = [
  [
    "too old",
    "NASM version 2.13.02 compiled on Jan  1 2018",
    { code: 1, stderr: "nasm: error: unrecognised option `-l'" },
    "is NASM 2.13, and 2.14 or newer is needed. Install it",
  ],
  ["another program", "hello", { code: 0 }, 'is not NASM (asked for its version it says "hello")'],
  [
    "new enough but ends without a word",
    "NASM version 3.01 compiled on Jan  1 2026",
    { code: 139, stderr: "" },
    "ended with code 139 and said: nothing",
  ],
  [
    "out of memory",
    "NASM version 2.16.01",
    { code: 1, stderr: "nasm: fatal: out of memory!" },
    "ended with code 1 and said: nasm: fatal: out of memory!",
  ],
];
for (const [what, version, answer, message] of TROUBLES) {
  Deno.test(`a NASM that is ${what} is told apart from a wrong source`, () => {
    const host = hostWhere((_, args) => args[0] === "-v" ? { stdout: version } : answer);
    assertThrows(() => runNasm(INPUT, host), HostError, message);
  });
}

Deno.test("a folder that is not there does not count as a missing NASM", () => {
  const record = runNasm({ ...INPUT, folders: ["/nowhere"] }, toolHost);
  assertEquals([...record.bytes], [0x90]);
});

/** The C library with some calls replaced. */
const faulty = (calls: Partial<Libc>): ToolHost => ({
  ...toolHost,
  libc: () => ({ ...toolHost.libc(), ...calls }),
});

Deno.test("no file in memory is left open, whatever fails", () => {
  const before = openHandles().fds;
  runNasm(INPUT, toolHost);
  assertEquals(openHandles().fds, before);

  const EMFILE = 24;
  const ENOSPC = 28;
  const failing: [host: ToolHost, message: string][] = [
    [faulty({ memfd_create: () => -1, errno: () => EMFILE }), "memfd_create failed with EMFILE"],
    [faulty({ write: () => -1, errno: () => ENOSPC }), "write failed with ENOSPC"],
    [faulty({ write: () => 1 }), "write failed with ENOSPC"],
    [faulty({ pread: () => 0 }), "pread failed"],
  ];
  for (const [host, message] of failing) {
    assertThrows(() => runNasm(INPUT, host), SystemError, message);
    assertEquals(openHandles().fds, before);
  }
  assertThrows(() => runNasm(INPUT, hostWhere(notFound)), HostError);
  assertEquals(openHandles().fds, before);
});

Deno.test("NASM runs once for a source, twice for one with an org, and once more for its files", () => {
  const count = (text: string) => {
    let runs = 0;
    runNasm({ ...INPUT, text }, {
      ...toolHost,
      run(...call) {
        runs++;
        return toolHost.run(...call);
      },
    });
    return runs;
  };
  assertEquals(count("nop\n"), 1);
  assertEquals(count("org 5\nnop\n"), 2);
  assertEquals(count("incbin '/dev/null'\nnop\n"), 2);
});
