import { extendedToNumber, numberToExtended } from "../../x86/registers/extended_precision.ts";
import { assigning, checkNames } from "./register_names.ts";
import { WholeRegister } from "./whole_register.ts";

/** A register of the stack of x87: its 80 bits, and the number that they are. */
export interface X87Register extends WholeRegister {
  /** The double that is nearest to it. What is assigned is exact. */
  f64: number;
}

/** An {@linkcode X87Register} called `name`. */
export function x87Register(
  name: string,
  read: () => bigint,
  write: (value: bigint) => void,
): X87Register {
  const register = new WholeRegister(read, write);
  Object.defineProperty(register, "f64", {
    enumerable: true,
    get: () => extendedToNumber(read()),
    set: assigning((value: unknown) => {
      if (typeof value !== "number") {
        throw new TypeError(`Cannot set ${name}.f64 as ${value}: give a number`);
      }
      write(numberToExtended(value));
    }),
  });
  Object.setPrototypeOf(register, checkNames(name, WholeRegister.prototype));
  return Object.preventExtensions(register) as X87Register;
}
