import { assertEquals, assertThrows } from "@std/assert";
import {
  svmExitCode,
  svmExitCodes,
  svmExitName,
  svmIoExit,
} from "../../../lib/x86/svm/exit_codes.ts";
import { macros } from "../exit_macros.ts";

Deno.test("exit codes have the manual's names, both ways", () => {
  for (
    const [code, name] of [
      [0x00, "VMEXIT_CR0_READ"],
      [0x1f, "VMEXIT_CR15_WRITE"],
      [0x27, "VMEXIT_DR7_READ"],
      [0x30, "VMEXIT_DR0_WRITE"],
      [0x4e, "VMEXIT_EXCP14"],
      [0x60, "VMEXIT_INTR"],
      [0x78, "VMEXIT_HLT"],
      [0x7b, "VMEXIT_IOIO"],
      [0x7c, "VMEXIT_MSR"],
      [0x7f, "VMEXIT_SHUTDOWN"],
      [0x80, "VMEXIT_VMRUN"],
      [0x8f, "VMEXIT_EFER_WRITE_TRAP"],
      [0x98, "VMEXIT_CR8_WRITE_TRAP"],
      [0x400, "VMEXIT_NPF"],
      [0x403, "VMEXIT_VMGEXIT"],
    ] as const
  ) {
    assertEquals([svmExitName(code), svmExitCode(name)], [name, BigInt(code)]);
  }
  assertEquals(svmExitName(-1), "VMEXIT_INVALID");
  assertEquals(svmExitName(0xffff_ffffn), "VMEXIT_INVALID");
  assertEquals(svmExitName(0x404), undefined);
  assertEquals(new Set(svmExitCodes.values()).size, svmExitCodes.size);
  assertThrows(() => svmExitCode("VMEXIT_IOOI"), RangeError, "the nearest are VMEXIT_IOIO");
});

Deno.test("EXITINFO1 of VMEXIT_IOIO has the manual's bits", () => {
  assertEquals(svmIoExit(0x3f8_0011n), {
    port: 0x3f8,
    direction: "in",
    size: 1,
    string: false,
    repeated: false,
  });
  assertEquals(svmIoExit(0xffff_024cn), {
    port: 0xffff,
    direction: "out",
    size: 4,
    string: true,
    repeated: true,
  });
  assertEquals(svmIoExit(0x60_0021n).size, 2);
  const stringOnly = svmIoExit(0x60_0014n);
  assertEquals([stringOnly.string, stringOnly.repeated], [true, false]);
});

/** Exit codes that `<asm/svm.h>` calls otherwise than the manual does. */
const SVM_NAMES: Readonly<Record<string, string>> = {
  EXCP_BASE: "EXCP0",
  LAST_EXCP: "EXCP31",
  MWAIT_COND: "MWAIT_CONDITIONAL",
  AVIC_UNACCELERATED_ACCESS: "AVIC_NOACCEL",
  ERR: "INVALID",
};
/** No exit code of the manual's: one for software, and the table of all. */
const NO_SVM_EXIT: ReadonlySet<string> = new Set(["SW", "REASONS"]);

Deno.test("every exit code of <asm/svm.h> has the manual's name at the same number", async () => {
  const codes = (await macros("asm/svm.h", "SVM_EXIT_")).filter(([name]) => !NO_SVM_EXIT.has(name));
  assertEquals(codes.length > 90, true);
  for (const [kernel, value] of codes) {
    const turned = kernel.replace(/^(READ|WRITE)_([CD]R\d+)$/, "$2_$1");
    const name = `VMEXIT_${SVM_NAMES[kernel] ?? turned}`;
    assertEquals([kernel, svmExitName(value)], [kernel, name]);
    assertEquals(svmExitCode(name), BigInt.asUintN(32, BigInt(value)));
  }
});
