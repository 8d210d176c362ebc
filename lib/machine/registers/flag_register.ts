import { refuseUnknownNames } from "./refuse_unknown_names.ts";
import { type FlagTable, type FlagValue, getFlag, setFlag } from "../../x86/flags.ts";
import { WholeRegister } from "./whole_register.ts";

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
export function flagRegister<Name extends string>(
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
  Object.setPrototypeOf(register, refuseUnknownNames(name, FlagRegister.prototype));
  return Object.preventExtensions(register) as FlagRegister & FlagProperties<Name>;
}
