import { cr0Flags, RFLAGS_ALWAYS_SET } from "../../registers/flag_tables.ts";
import { flagsToValue } from "../../registers/flags.ts";
import { RESET_VECTOR } from "../../layout.ts";
import { SEGMENT_TYPE } from "../../registers/segment.ts";
import type { CpuState, FpuState, GeneralRegisters, SpecialRegisters } from "../cpu_state.ts";
import type { MsrValues } from "../../msrs/msr_number.ts";
import { segment16, specialRegisters } from "./common.ts";

const SEGMENT_LIMIT = 0xffff;

/** The registers of a processor after RESET# (Intel SDM Vol. 3A, 9.1.1 and table 9-1; AMD APM Vol. 2, 14.1.3). */
export interface ResetState {
  /** General registers, RIP and RFLAGS; those left out are zero. */
  registers: Partial<GeneralRegisters>;
  /** Segments, descriptor tables and control registers. */
  specialRegisters: SpecialRegisters;
  /** Model-specific registers that a guest may have set. */
  msrs: MsrValues;
  /** DR6 and DR7; the others are zero. */
  debugRegisters: { dr6: bigint; dr7: bigint };
  /** Control of x87 and SSE; their registers are zero. */
  fpu: FpuState;
  /** XCR0: x87 alone, of a processor that has XSAVE. */
  xcr0: bigint;
}

/** PAT after RESET#: WB, WT, UC-, UC, twice (Intel SDM Vol. 3A, 12.12.4). */
const PAT = 0x0007_0406_0007_0406n;

/**
 * The registers of a processor after RESET#: real mode at F000:FFF0, where CS has the base 0xffff0000, so that the
 * first instruction lies 16 bytes below 4 GiB (Intel SDM Vol. 3A, 10.1.1 and table 10-1; AMD APM Vol. 2, 14.1.3).
 *
 * @param signature The processor's family, model and stepping as EAX of CPUID leaf 1 has them, which RDX shows.
 * @example
 * ```ts
 * import { resetState } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { registers, specialRegisters } = resetState();
 * assertEquals(specialRegisters.cs.base + registers.rip!, 0xffff_fff0n);
 * ```
 */
export function resetState(signature: number = 0): ResetState {
  const data = () =>
    segment16({
      base: 0n,
      limit: SEGMENT_LIMIT,
      selector: 0,
      type: SEGMENT_TYPE.readWriteDataAccessed,
    });
  const system = (type: number) => ({ ...data(), type, s: 0 });
  return {
    registers: {
      rip: BigInt(RESET_VECTOR.ip),
      rflags: RFLAGS_ALWAYS_SET,
      rdx: BigInt(signature),
    },
    specialRegisters: specialRegisters({
      cs: segment16({
        base: BigInt(RESET_VECTOR.codeBase),
        limit: SEGMENT_LIMIT,
        selector: RESET_VECTOR.selector,
        type: SEGMENT_TYPE.executeReadCodeAccessed,
      }),
      ds: data(),
      es: data(),
      fs: data(),
      gs: data(),
      ss: data(),
      tr: system(SEGMENT_TYPE.busyTss),
      ldt: system(SEGMENT_TYPE.localDescriptorTable),
      gdt: { base: 0n, limit: SEGMENT_LIMIT },
      idt: { base: 0n, limit: SEGMENT_LIMIT },
    }, { cr0: flagsToValue(cr0Flags, { cd: true, nw: true, et: true }) }),
    msrs: {
      SYSENTER_CS: 0,
      SYSENTER_ESP: 0,
      SYSENTER_EIP: 0,
      STAR: 0,
      LSTAR: 0,
      CSTAR: 0,
      FMASK: 0,
      KERNEL_GS_BASE: 0,
      PAT,
      MTRR_DEF_TYPE: 0,
    },
    debugRegisters: { dr6: 0xffff_0ff0n, dr7: 0x400n },
    fpu: { fcw: 0x0040, mxcsr: 0x1f80 },
    xcr0: 1n,
  };
}

/**
 * {@linkcode resetState} as a machine's first state, for firmware at the reset vector. RDX gets the processor's signature
 * when that is known.
 */
export function resetEntry(): CpuState {
  const { registers, specialRegisters, msrs } = resetState();
  return { mode: "real", registers, specialRegisters, msrs, writes: [], hasSignature: true };
}
