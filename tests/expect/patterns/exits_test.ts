import { assert, assertEquals, assertThrows } from "@std/assert";
import { exit } from "@vmexit/vmexit";
import type { ExitReason } from "@vmexit/vmexit/kvm";
import { EXIT_CASES } from "../../kvm/exits/exit_cases.ts";

Deno.test("a reason that does not exist is refused, with those that have similar names", () => {
  assertThrows(
    () => exit("HALT" as ExitReason),
    RangeError,
    'Cannot expect an exit "HALT": there is none of that name; the nearest are HLT, IO',
  );
});

Deno.test("a field that such exits do not have is a mistake, which a function would take for undefined", () => {
  const misspelt = { prot: (port: unknown) => port !== 0x80 };
  assertThrows(
    () => exit("IO", misspelt as never),
    TypeError,
    "Cannot expect IO with prot: such exits have no field of that name; the nearest are port",
  );
  assertThrows(() => exit("HLT", { port: 1 } as never), TypeError, "Cannot expect HLT with port");
  for (const { reason, payload } of EXIT_CASES) {
    // A name that the kernel's number does not have is undefined there.
    const named = Object.entries(payload).filter(([, value]) => value !== undefined);
    if (named.length > 0) exit(reason as "HLT", Object.fromEntries(named) as never);
  }
  exit("UNKNOWN_TO_VMEXIT", { payload: (bytes) => bytes.length > 0 });
});

Deno.test("exits whose guest waits for more than data can be answered, and no others", () => {
  const call = exit("HYPERCALL", { nrName: "MAP_GPA_RANGE" });
  assertEquals(call.returns({ ret: 0 }).text, "HYPERCALL (nrName MAP_GPA_RANGE)");
  assertThrows(() => call.returns({ result: 0 } as never), TypeError, "result");
  for (const reason of ["HLT", "IO", "MMIO"] as const) assert(!("returns" in exit(reason)));
});
