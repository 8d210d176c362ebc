import { nearestNames } from "../nearest_names.ts";

const CONTROL_REGISTERS = 16;
const DEBUG_REGISTERS = 16;
const EXCEPTIONS = 32;
const WORD_BITS = 32;
const WORDS = 6;

/** The intercepts of words 3 to 5 of a VMCB, from bit 96 on without a hole (AMD APM Vol. 2, table B-1). */
export const SVM_INTERCEPTS_BY_WORD = [
  // Word 3, offset 0x00c.
  "intr",
  "nmi",
  "smi",
  "init",
  "vintr",
  "cr0_sel_write",
  "idtr_read",
  "gdtr_read",
  "ldtr_read",
  "tr_read",
  "idtr_write",
  "gdtr_write",
  "ldtr_write",
  "tr_write",
  "rdtsc",
  "rdpmc",
  "pushf",
  "popf",
  "cpuid",
  "rsm",
  "iret",
  "intn",
  "invd",
  "pause",
  "hlt",
  "invlpg",
  "invlpga",
  "ioio_prot",
  "msr_prot",
  "task_switch",
  "ferr_freeze",
  "shutdown",
  // Word 4, offset 0x010.
  "vmrun",
  "vmmcall",
  "vmload",
  "vmsave",
  "stgi",
  "clgi",
  "skinit",
  "rdtscp",
  "icebp",
  "wbinvd",
  "monitor",
  "mwait",
  "mwait_armed",
  "xsetbv",
  "rdpru",
  "efer_write_trap",
  "cr0_write_trap",
  "cr1_write_trap",
  "cr2_write_trap",
  "cr3_write_trap",
  "cr4_write_trap",
  "cr5_write_trap",
  "cr6_write_trap",
  "cr7_write_trap",
  "cr8_write_trap",
  "cr9_write_trap",
  "cr10_write_trap",
  "cr11_write_trap",
  "cr12_write_trap",
  "cr13_write_trap",
  "cr14_write_trap",
  "cr15_write_trap",
  // Word 5, offset 0x014.
  "invlpgb",
  "invlpgb_illegal",
  "invpcid",
  "mcommit",
  "tlbsync",
  "bus_lock",
  "idle_hlt",
] as const;

/** A register's number, 0 to 15 (AMD APM Vol. 2, 15.8.1). */
export type RegisterNumber = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15;

/** An intercept by name: `"cr0_write"`, `"exception_14"`, `"ioio_prot"` (AMD APM Vol. 2, Appendix B). */
export type SvmIntercept =
  | `cr${RegisterNumber}_${"read" | "write"}`
  | `dr${RegisterNumber}_${"read" | "write"}`
  | `exception_${number}`
  | (typeof SVM_INTERCEPTS_BY_WORD)[number];

/**
 * Every intercept's bit, counted from the VMCB's first (AMD APM Vol. 2, table B-1): reads and writes of
 * control registers (bits 0 to 31) and of debug registers (32 to 63), exceptions by vector (64 to 95), and
 * instructions and events by the manual's names.
 */
export const svmInterceptBits: ReadonlyMap<string, number> = new Map([
  ...registers("cr", CONTROL_REGISTERS, 0),
  ...registers("dr", DEBUG_REGISTERS, WORD_BITS),
  ...Array.from(
    { length: EXCEPTIONS },
    (_, vector): [string, number] => [`exception_${vector}`, 2 * WORD_BITS + vector],
  ),
  ...SVM_INTERCEPTS_BY_WORD.map((name, index): [string, number] => [name, 3 * WORD_BITS + index]),
]);

/**
 * The six words of intercepts, from names: the VMCB's `intercepts`. VMRUN refuses a VMCB without `vmrun` (AMD APM
 * Vol. 2, 15.9 and Appendix B).
 *
 * @param names The intercepts' names, in any order.
 * @throws {RangeError} When there is no intercept of a name.
 * @example
 * ```ts
 * import { svmInterceptWords } from "@vmexit/vmexit/svm";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(svmInterceptWords(["exception_14", "ioio_prot", "vmrun"]), [0, 0, 0x4000, 1 << 27, 1, 0]);
 * ```
 */
export function svmInterceptWords(names: Iterable<SvmIntercept>): number[] {
  const words = new Array<number>(WORDS).fill(0);
  for (const name of names) {
    const bit = svmInterceptBits.get(name);
    if (bit === undefined) {
      throw new RangeError(
        `Cannot intercept "${name}": there is no intercept of that name; the nearest are ${
          nearestNames(name, svmInterceptBits.keys()).join(", ")
        }`,
      );
    }
    const word = Math.floor(bit / WORD_BITS);
    words[word] = (words[word] | 1 << bit % WORD_BITS) >>> 0;
  }
  return words;
}

/**
 * The names of the intercepts that are set in a VMCB's words; reserved bits are left out (AMD APM Vol. 2, Appendix
 * B).
 *
 * @param words The VMCB's `intercepts`, six words of 32 bits.
 */
export function svmInterceptNames(words: readonly number[]): SvmIntercept[] {
  return [...svmInterceptBits]
    .filter(([, bit]) => words[Math.floor(bit / WORD_BITS)] >>> bit % WORD_BITS & 1)
    .map(([name]) => name as SvmIntercept);
}

function registers(prefix: string, count: number, first: number): [string, number][] {
  return ["read", "write"].flatMap((access, half) =>
    Array.from(
      { length: count },
      (_, index): [string, number] => [
        `${prefix}${index}_${access}`,
        first + half * count + index,
      ],
    )
  );
}
