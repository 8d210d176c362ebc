import { noneOfThatName } from "../nearest_names.ts";
import type { IoExit } from "../virtualization/ports.ts";

/** Exit codes that are no row of registers or vectors (AMD APM Vol. 2, Appendix C). */
const NAMED = {
  INTR: 0x60,
  NMI: 0x61,
  SMI: 0x62,
  INIT: 0x63,
  VINTR: 0x64,
  CR0_SEL_WRITE: 0x65,
  IDTR_READ: 0x66,
  GDTR_READ: 0x67,
  LDTR_READ: 0x68,
  TR_READ: 0x69,
  IDTR_WRITE: 0x6a,
  GDTR_WRITE: 0x6b,
  LDTR_WRITE: 0x6c,
  TR_WRITE: 0x6d,
  RDTSC: 0x6e,
  RDPMC: 0x6f,
  PUSHF: 0x70,
  POPF: 0x71,
  CPUID: 0x72,
  RSM: 0x73,
  IRET: 0x74,
  SWINT: 0x75,
  INVD: 0x76,
  PAUSE: 0x77,
  HLT: 0x78,
  INVLPG: 0x79,
  INVLPGA: 0x7a,
  IOIO: 0x7b,
  MSR: 0x7c,
  TASK_SWITCH: 0x7d,
  FERR_FREEZE: 0x7e,
  SHUTDOWN: 0x7f,
  VMRUN: 0x80,
  VMMCALL: 0x81,
  VMLOAD: 0x82,
  VMSAVE: 0x83,
  STGI: 0x84,
  CLGI: 0x85,
  SKINIT: 0x86,
  RDTSCP: 0x87,
  ICEBP: 0x88,
  WBINVD: 0x89,
  MONITOR: 0x8a,
  MWAIT: 0x8b,
  MWAIT_CONDITIONAL: 0x8c,
  XSETBV: 0x8d,
  RDPRU: 0x8e,
  EFER_WRITE_TRAP: 0x8f,
  INVLPGB: 0xa0,
  INVLPGB_ILLEGAL: 0xa1,
  INVPCID: 0xa2,
  MCOMMIT: 0xa3,
  TLBSYNC: 0xa4,
  BUSLOCK: 0xa5,
  IDLE_HLT: 0xa6,
  NPF: 0x400,
  AVIC_INCOMPLETE_IPI: 0x401,
  AVIC_NOACCEL: 0x402,
  VMGEXIT: 0x403,
} as const;

const REGISTERS = 16;
const EXCEPTIONS = 32;
const CODE_BITS = 32;

/** VMRUN's answer to a VMCB that it refuses: −1 in all bits, or in the low 32 (KVM's, for its own guests). */
const INVALID = 0xffff_ffffn;

/** Every exit code by the manual's name, such as `VMEXIT_IOIO` (AMD APM Vol. 2, Appendix C). */
export const svmExitCodes: ReadonlyMap<string, bigint> = new Map([
  ...row("CR", "_READ", 0x00, REGISTERS),
  ...row("CR", "_WRITE", 0x10, REGISTERS),
  ...row("DR", "_READ", 0x20, REGISTERS),
  ...row("DR", "_WRITE", 0x30, REGISTERS),
  ...row("EXCP", "", 0x40, EXCEPTIONS),
  ...Object.entries(NAMED).map(([name, code]): [string, bigint] => [name, BigInt(code)]),
  ...row("CR", "_WRITE_TRAP", 0x90, REGISTERS),
  ["INVALID", INVALID] as const,
].map(([name, code]) => [`VMEXIT_${name}`, code]));

const names: ReadonlyMap<bigint, string> = new Map(
  [...svmExitCodes].map(([name, code]) => [code, name]),
);

/**
 * The name of an exit code: of the VMCB's `exitcode`. Only its low 32 bits are looked at, because not all
 * that offer SVM write more of the code that means −1 (AMD APM Vol. 2, Appendix C).
 *
 * @param exitcode The VMCB's 64 bits, or the low 32 of them.
 * @returns `"VMEXIT_…"`, or undefined where the manual has none.
 * @example
 * ```ts
 * import { svmExitName } from "@vmexit/vmexit/svm";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(svmExitName(0x7bn), "VMEXIT_IOIO");
 * assertEquals(svmExitName(0x4e), "VMEXIT_EXCP14");
 * assertEquals(svmExitName(0xffff_ffff_ffff_ffffn), "VMEXIT_INVALID");
 * ```
 */
export function svmExitName(exitcode: number | bigint): string | undefined {
  return names.get(BigInt.asUintN(CODE_BITS, BigInt(exitcode)));
}

/**
 * The exit code of a name; that of `VMEXIT_INVALID` has 32 bits (AMD APM Vol. 2, Appendix C).
 *
 * @param name The manual's, with `VMEXIT_`.
 * @throws {RangeError} When there is none of that name.
 */
export function svmExitCode(name: string): bigint {
  const code = svmExitCodes.get(name);
  if (code !== undefined) return code;
  throw new RangeError(
    `Cannot find the exit code "${name}": ${noneOfThatName(name, svmExitCodes.keys())}`,
  );
}

function row(prefix: string, suffix: string, first: number, count: number): [string, bigint][] {
  return Array.from(
    { length: count },
    (_, index) => [`${prefix}${index}${suffix}`, BigInt(first + index)],
  );
}

const TYPE_IN = 1;
const STRING = 1 << 2;
const REPEATED = 1 << 3;
const SIZE_SHIFT = 4;
const SIZE_MASK = 7;
const PORT_SHIFT = 16;

/**
 * What `exitinfo1` says of a `VMEXIT_IOIO` (AMD APM Vol. 2, figure 15-2); `exitinfo2` is the address of the
 * instruction behind it.
 *
 * @param exitinfo1 The VMCB's field of that name.
 * @example
 * ```ts
 * import { svmIoExit } from "@vmexit/vmexit/svm";
 * import { assertEquals } from "@std/assert";
 *
 * const { port, direction, size } = svmIoExit(0x3f8_0010n);
 * assertEquals([port, direction, size], [0x3f8, "out", 1]);
 * ```
 */
export function svmIoExit(exitinfo1: bigint): IoExit {
  const info = Number(BigInt.asUintN(32, exitinfo1));
  return {
    port: info >>> PORT_SHIFT,
    direction: info & TYPE_IN ? "in" : "out",
    // Of the three bits one is set, and it weighs what it means: 1, 2 or 4 bytes.
    size: info >>> SIZE_SHIFT & SIZE_MASK,
    string: (info & STRING) !== 0,
    repeated: (info & REPEATED) !== 0,
  };
}
