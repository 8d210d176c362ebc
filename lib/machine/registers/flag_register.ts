import { assignedMembers, assigning, checkNames } from "./register_names.ts";
import { type FlagTable, type FlagValue, getFlag, setFlag } from "../../x86/registers/flags.ts";
import { WholeRegister } from "./whole_register.ts";
import {
  type FlagFieldName,
  type FlagRegisterName,
  flagRegisterTables,
  type FlagsOfRegisters,
} from "../../x86/registers/flag_tables.ts";

/**
 * A register that is made of flags: its value, and each flag by name, a boolean, or a number where it has several bits.
 */
export type FlagRegister<Name extends FlagRegisterName = FlagRegisterName> =
  & WholeRegister
  & {
    [Flag in FlagsOfRegisters[Name]]: Flag extends FlagFieldName ? number : boolean;
  };

/**
 * A {@linkcode FlagRegister} called `name`, with a property for each flag of `table`; other names throw a
 * `RangeError`.
 */
function flagRegister(
  name: FlagRegisterName,
  table: FlagTable,
  read: () => bigint,
  write: (value: bigint) => void,
): WholeRegister {
  const register = new WholeRegister(read, write);
  for (const flag of Object.keys(table)) {
    Object.defineProperty(register, flag, {
      enumerable: true,
      get: () => getFlag(table, flag, read()),
      set: assigning((value: FlagValue) => write(setFlag(table, flag, read(), value))),
    });
  }
  Object.setPrototypeOf(register, checkNames(name, WholeRegister.prototype));
  return Object.preventExtensions(register);
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
  let register: WholeRegister | undefined;
  return {
    get: () => register ??= flagRegister(name, table, read, write),
    set: (value) => {
      if (value instanceof WholeRegister) return write(value.value);
      if (typeof value !== "object" || value === null) return write(value as bigint);
      let changed = read();
      for (const [flag, set] of assignedMembers(name, value)) {
        changed = setFlag(table, flag, changed, set as FlagValue);
      }
      write(changed);
    },
  };
}
