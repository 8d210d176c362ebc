import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { svmExitName } from "../../../lib/x86/svm/exit_codes.ts";
import {
  type SvmIntercept,
  svmInterceptBits,
  svmInterceptNames,
  svmInterceptWords,
} from "../../../lib/x86/svm/intercepts.ts";
import { vmcb } from "../../../lib/x86/svm/vmcb.ts";

const interceptNames = [...svmInterceptBits.keys()] as SvmIntercept[];

Deno.test("intercepts lie at the manual's bits", () => {
  const bits: [SvmIntercept, word: number, bit: number][] = [
    ["cr0_read", 0, 0],
    ["cr8_write", 0, 24],
    ["dr7_read", 1, 7],
    ["dr0_write", 1, 16],
    ["exception_14", 2, 14],
    ["intr", 3, 0],
    ["vintr", 3, 4],
    ["cr0_sel_write", 3, 5],
    ["tr_write", 3, 13],
    ["cpuid", 3, 18],
    ["hlt", 3, 24],
    ["ioio_prot", 3, 27],
    ["msr_prot", 3, 28],
    ["shutdown", 3, 31],
    ["vmrun", 4, 0],
    ["rdtscp", 4, 7],
    ["xsetbv", 4, 13],
    ["efer_write_trap", 4, 15],
    ["cr8_write_trap", 4, 24],
    ["invlpgb", 5, 0],
    ["invpcid", 5, 2],
    ["tlbsync", 5, 4],
  ];
  for (const [name, word, bit] of bits) {
    const expected = [0, 0, 0, 0, 0, 0];
    expected[word] = 2 ** bit;
    assertEquals([name, svmInterceptWords([name])], [name, expected]);
  }
  assertEquals(new Set(svmInterceptBits.values()).size, svmInterceptBits.size);
});

/** Intercepts that the manual calls otherwise than the exits that they cause. */
const EXITS_OF_INTERCEPTS: Readonly<Record<string, string>> = {
  INTN: "SWINT",
  IOIO_PROT: "IOIO",
  MSR_PROT: "MSR",
  MWAIT_ARMED: "MWAIT_CONDITIONAL",
  BUS_LOCK: "BUSLOCK",
};

Deno.test("each intercept's bit is the number of the exit that it causes", () => {
  for (const [name, bit] of svmInterceptBits) {
    const exit = name.replace(/^exception_/, "excp").toUpperCase();
    assertEquals(svmExitName(bit), `VMEXIT_${EXITS_OF_INTERCEPTS[exit] ?? exit}`);
  }
});

Deno.test("intercepts by name come back from the words of a VMCB", () => {
  fc.assert(fc.property(fc.uniqueArray(fc.constantFrom(...interceptNames)), (names) => {
    const view = new DataView(new ArrayBuffer(vmcb.size));
    vmcb.write(view, 0, { control: { intercepts: svmInterceptWords(names) } });
    assertEquals(svmInterceptNames(vmcb.read(view).control.intercepts).sort(), [...names].sort());
  }));
});

Deno.test("an intercept that does not exist is refused with the nearest names", () => {
  assertThrows(
    () => svmInterceptWords(["iooi_prot" as SvmIntercept]),
    RangeError,
    'Cannot intercept "iooi_prot": there is no intercept of that name; the nearest are ioio_prot',
  );
  assertThrows(() => svmInterceptWords(["exception_32"]), RangeError, "exception_3");
});
