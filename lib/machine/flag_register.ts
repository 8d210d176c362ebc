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

/** A {@linkcode FlagRegister} with a property for each flag of `table`. */
export function flagRegister<Name extends string>(
  table: FlagTable<Name>,
  read: () => bigint,
  write: (value: bigint) => void,
): FlagRegister & FlagProperties<Name> {
  const register = new FlagRegister(read, write);
  for (const name of Object.keys(table)) {
    Object.defineProperty(register, name, {
      enumerable: true,
      get: () => getFlag(table, name, read()),
      set: (flag: FlagValue) => write(setFlag(table, name, read(), flag)),
    });
  }
  return register as FlagRegister & FlagProperties<Name>;
}
