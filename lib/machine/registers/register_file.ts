import type { RegisterAccessors } from "./flag_register.ts";
import { assigning } from "./register_names.ts";
import type { RegisterStore } from "./register_store.ts";
import type { LabelReader } from "./whole_register.ts";
import { XsaveRegisters } from "./xsave_registers.ts";

/** The registers of a CPU, by the object that has them by name. */
const files = new WeakMap<object, RegisterFile>();

/**
 * An object without registers of its own, which has those of `accessors` from its prototype: there are too many to be
 * made for each CPU.
 */
export function registerObject(accessors: object, file: RegisterFile): object {
  const registers = Object.create(accessors);
  files.set(registers, file);
  return registers;
}

/** The registers of one CPU. What reads and sets one is made when it is first asked for. */
export class RegisterFile {
  /** The registers as KVM has them. */
  readonly store: RegisterStore;
  /** Puts a label's address in place of its name. */
  readonly numberOf: LabelReader;
  /** Those that lie in the XSAVE area. */
  readonly xsave: XsaveRegisters;
  readonly #made = new Map<string, RegisterAccessors>();

  /** Those that `store` has. */
  constructor(store: RegisterStore, numberOf: LabelReader) {
    this.store = store;
    this.numberOf = numberOf;
    this.xsave = new XsaveRegisters(store);
  }

  /** What reads and sets the register called `name`, made by `make` if it was not yet. */
  accessors(name: string, make: (file: RegisterFile) => RegisterAccessors): RegisterAccessors {
    const found = this.#made.get(name);
    if (found !== undefined) return found;
    const made = make(this);
    this.#made.set(name, made);
    return made;
  }
}

/**
 * Gives `accessors`, which CPUs share, a register.
 *
 * @param make What reads and sets it, in a file.
 * @param isSet Whether it is set as a whole.
 */
export function defineRegister(
  accessors: object,
  name: string,
  make: (file: RegisterFile) => RegisterAccessors,
  isSet = true,
): void {
  Object.defineProperty(accessors, name, {
    enumerable: true,
    get(this: object) {
      return files.get(this)!.accessors(name, make).get();
    },
    set: isSet
      ? assigning(function (value: unknown) {
        files.get(this)!.accessors(name, make).set(value);
      })
      : undefined,
  });
}
