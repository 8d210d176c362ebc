import { refuseUnknownNames } from "./refuse_unknown_names.ts";
import { type FlagTable, type FlagValue, getFlag, setFlag } from "../x86/flags.ts";

/** The flags of a register as properties: booleans, and numbers for fields of several bits. */
export type FlagProperties<Name extends string> = {
  [N in Name]: N extends "iopl" ? number : boolean;
};

/** A register that is made of flags: its value, and each flag by name. */
export class FlagRegister {
  readonly #read: () => bigint;
  readonly #write: (value: bigint) => void;

  /** Use {@linkcode flagRegister}. */
  constructor(read: () => bigint, write: (value: bigint) => void) {
    this.#read = read;
    this.#write = write;
  }

  /** The whole register. */
  get value(): bigint {
    return this.#read();
  }

  set value(value: bigint) {
    this.#write(value);
  }

  /** The whole register, so that it compares and computes like a bigint. */
  valueOf(): bigint {
    return this.#read();
  }
}

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
