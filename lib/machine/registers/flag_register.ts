import { checkNames } from "./register_names.ts";
import {
  type FlagTable,
  type FlagValue,
  type FlagValues,
  getFlag,
  setFlag,
} from "../../x86/registers/flags.ts";
import { WholeRegister } from "./whole_register.ts";
import {
  type Cr0Flag,
  cr0Flags,
  type Cr4Flag,
  cr4Flags,
  type Dr6Flag,
  dr6Flags,
  type Dr7Flag,
  dr7Flags,
  type EferFlag,
  eferFlags,
  type FcwFlag,
  fcwFlags,
  type FswFlag,
  fswFlags,
  type MxcsrFlag,
  mxcsrFlags,
  type RflagsFlag,
  rflagsFlags,
  type Xcr0Flag,
  xcr0Flags,
} from "../../x86/registers/flag_tables.ts";

/** The flags that have several bits. */
export type FlagFieldName = "iopl" | "pc" | "rc" | "top" | `${"rw" | "len"}${0 | 1 | 2 | 3}`;

/** The flags of a register as properties: booleans, and numbers for fields of several bits. */
export type FlagProperties<Name extends string> = {
  [N in Name]: N extends FlagFieldName ? number : boolean;
};

/** A register that is made of flags: its value, and each flag by name. */
export class FlagRegister extends WholeRegister {}

/**
 * A {@linkcode FlagRegister} called `name`, with a property for each flag of `table`; other names throw a
 * `RangeError`.
 */
function flagRegister<Name extends string>(
  name: string,
  table: FlagTable<Name>,
  read: () => bigint,
  write: (value: bigint) => void,
): FlagRegister & FlagProperties<Name> {
  const register = new FlagRegister(read, write);
  for (const flag of Object.keys(table)) {
    Object.defineProperty(register, flag, {
      enumerable: true,
      get: () => getFlag(table, flag, read()),
      set: (value: FlagValue) => write(setFlag(table, flag, read(), value)),
    });
  }
  Object.setPrototypeOf(register, checkNames(name, FlagRegister.prototype));
  return Object.preventExtensions(register) as FlagRegister & FlagProperties<Name>;
}

/** How a register is read and assigned. */
export interface RegisterAccessors {
  /** The register's value, or the object that has its parts. */
  get(): unknown;
  /** Assigns it whole. */
  set(value: unknown): void;
}

/** A register that is made of flags: it is assigned as a whole, or as some of its flags. */
export function flagAccessors(
  name: FlagRegisterName,
  read: () => bigint,
  write: (value: bigint | number) => void,
): RegisterAccessors {
  const table = flagRegisterTables[name];
  let register: FlagRegister | undefined;
  return {
    get: () => register ??= flagRegister<string>(name, table, read, write),
    set: (value) => {
      if (typeof value !== "object" || value === null) return write(value as bigint);
      let changed = read();
      for (const [flag, set] of Object.entries<FlagValues[string]>({ ...value })) {
        if (set !== undefined) changed = setFlag(table, flag, changed, set);
      }
      write(changed);
    },
  };
}

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
