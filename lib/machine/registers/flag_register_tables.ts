import { type Dr6Flag, dr6Flags, type Dr7Flag, dr7Flags } from "../../x86/debug_flags.ts";
import {
  type Cr0Flag,
  cr0Flags,
  type Cr4Flag,
  cr4Flags,
  type EferFlag,
  eferFlags,
  type RflagsFlag,
  rflagsFlags,
} from "../../x86/flag_tables.ts";
import type { FlagTable } from "../../x86/flags.ts";
import {
  type FcwFlag,
  fcwFlags,
  type FswFlag,
  fswFlags,
  type MxcsrFlag,
  mxcsrFlags,
} from "../../x86/fpu_flags.ts";
import { type Xcr0Flag, xcr0Flags } from "../../x86/xcr0_flags.ts";

/** The flags of each register that is made of flags. */
export interface FlagsOfRegisters {
  /** RFLAGS. */
  rflags: RflagsFlag;
  /** CR0. */
  cr0: Cr0Flag;
  /** CR4. */
  cr4: Cr4Flag;
  /** EFER. */
  efer: EferFlag;
  /** XCR0: the state that XSAVE keeps. */
  xcr0: Xcr0Flag;
  /** DR6: which breakpoint it was. */
  dr6: Dr6Flag;
  /** DR7: which breakpoints there are. */
  dr7: Dr7Flag;
  /** Control and status of SSE. */
  mxcsr: MxcsrFlag;
  /** The control word of x87. */
  fcw: FcwFlag;
  /** The status word of x87. */
  fsw: FswFlag;
}

/** Registers that are made of flags. */
export type FlagRegisterName = keyof FlagsOfRegisters;

/** The flags of those registers by name. */
export const flagRegisterTables: {
  readonly [Name in FlagRegisterName]: FlagTable<FlagsOfRegisters[Name]>;
} = {
  rflags: rflagsFlags,
  cr0: cr0Flags,
  cr4: cr4Flags,
  efer: eferFlags,
  xcr0: xcr0Flags,
  dr6: dr6Flags,
  dr7: dr7Flags,
  mxcsr: mxcsrFlags,
  fcw: fcwFlags,
  fsw: fswFlags,
};
