import { HostError } from "../../ffi/errors.ts";
import { kvm_debugregs } from "../../kvm/abi/structs/registers.ts";
import { flagMask, flagNames } from "../../x86/registers/flags.ts";
import { hex } from "../../x86/hex.ts";
import { type FlagRegisterName, xcr0Flags } from "../../x86/registers/flag_tables.ts";
import {
  type FpuRegister,
  fpuRegisters,
  mmxRegisters,
  opmaskRegisters,
  simdRegisters,
  x87StackRegisters,
} from "../../x86/registers/xsave.ts";
import { flagAccessors, type RegisterAccessors } from "./flag_register.ts";
import { assignedMembers, assigning, checkNames } from "./register_names.ts";
import type { RegisterStore } from "./register_store.ts";
import { bytesOfInteger, integerOf } from "./vector_register.ts";
import { type LabelReader, wholeNumber } from "./whole_register.ts";
import { XsaveRegisters } from "./xsave_registers.ts";

const U64 = 64;
/** The upper half of DR6 and DR7 is reserved (Intel SDM Vol. 3B, 17.2). */
const DEBUG_WIDTH = 32;
const BREAKPOINT_SIZE = 8;
const BREAKPOINTS: readonly string[] = ["dr0", "dr1", "dr2", "dr3"];
const FLAGGED: readonly FlagRegisterName[] = ["xcr0", "dr6", "dr7", "mxcsr", "fcw", "fsw"];

/** What of the XSAVE area is a bigint, or a number, and is no vector. */
const PLAIN: readonly FpuRegister[] = ["ftw", "fop", "fip", "fdp", "pkru"];
const BITS = 8;

/** What a machine has of these registers, by the object that has them by name. */
const files = new WeakMap<object, ExtendedFile>();

/** The accessors that the registers of all machines share: there are too many to be made for each. */
let shared: object | undefined;

/**
 * An object without registers of its own that has those of the extensions from its prototype,
 * and refuses names that are none.
 */
export function extendedRegisters(store: RegisterStore, numberOf: LabelReader): object {
  const registers = Object.create(shared ??= sharedAccessors());
  files.set(registers, new ExtendedFile(store, numberOf));
  return registers;
}

/** The registers of one machine. */
class ExtendedFile {
  readonly xsave: XsaveRegisters;
  readonly #store: RegisterStore;
  readonly #numberOf: LabelReader;
  readonly #plain = new Map<string, RegisterAccessors>();

  constructor(store: RegisterStore, numberOf: LabelReader) {
    this.#store = store;
    this.#numberOf = numberOf;
    this.xsave = new XsaveRegisters(store);
  }

  /** A register that is no vector and not of the stack of x87. */
  plain(name: string): RegisterAccessors {
    const found = this.#plain.get(name);
    if (found !== undefined) return found;
    const made = this.#make(name);
    this.#plain.set(name, made);
    return made;
  }

  #make(name: string): RegisterAccessors {
    const store = this.#store;
    if (name === "xcr0") return xcr0(store);
    if (name.startsWith("dr")) return debugRegister(store, name, this.#numberOf);
    const { width, places } = opmaskRegisters.get(name) ?? fpuRegisters[name as FpuRegister];
    const read = () => integerOf(this.xsave.read(name, places));
    const write = (value: unknown) => {
      const integer = wholeNumber(name, value, width);
      if (name === "mxcsr") checkMxcsr(store, integer);
      this.xsave.write(name, places, bytesOfInteger(integer, width / BITS));
    };
    if (name === "mxcsr" || name === "fcw" || name === "fsw") {
      return flagAccessors(name, read, write);
    }
    return { get: width === U64 ? read : () => Number(read()), set: write };
  }
}

function sharedAccessors(): object {
  const accessors = Object.create(checkNames());
  const define = (
    name: string,
    get: (file: ExtendedFile) => unknown,
    set: (file: ExtendedFile, value: unknown) => void,
  ) =>
    Object.defineProperty(accessors, name, {
      enumerable: true,
      get(this: object) {
        return get(files.get(this)!);
      },
      set: assigning(function (value: unknown) {
        set(files.get(this)!, value);
      }),
    });
  for (const name of [...simdRegisters.keys(), ...mmxRegisters]) {
    define(name, ({ xsave }) => xsave.vector(name), ({ xsave }, value) => {
      if (typeof value === "object" && value !== null) {
        Object.assign(xsave.vector(name), Object.fromEntries(assignedMembers(name, value)));
      } else xsave.vector(name).value = value as bigint;
    });
  }
  for (const name of x87StackRegisters.keys()) {
    define(name, ({ xsave }) => xsave.stack(name), ({ xsave }, value) => {
      if (typeof value === "number") xsave.stack(name).f64 = value;
      else xsave.stack(name).value = value as bigint;
    });
  }
  for (const name of [...opmaskRegisters.keys(), ...PLAIN, ...FLAGGED, ...BREAKPOINTS]) {
    define(name, (file) => file.plain(name).get(), (file, value) => file.plain(name).set(value));
  }
  return accessors;
}

/** A CPU that is given one of its reserved bits faults (Intel SDM Vol. 1, 11.6.6), and KVM refuses it. */
function checkMxcsr(store: RegisterStore, value: bigint): void {
  const reserved = value & ~BigInt(store.xsave().mxcsrMask);
  if (reserved === 0n) return;
  throw new RangeError(
    `Cannot set mxcsr as ${hex(value)}: bits ${
      hex(reserved)
    } are reserved on this CPU (MXCSR_MASK)`,
  );
}

function xcr0(store: RegisterStore): RegisterAccessors {
  const read = () => store.view("xcr0").getBigUint64(0, true);
  return flagAccessors("xcr0", read, (value) => {
    const integer = wholeNumber("xcr0", value, U64);
    const missing = integer & ~store.xsaveLayout.supported;
    if (missing !== 0n) throw missingInXcr0(integer, missing);
    store.change("xcr0").setBigUint64(0, integer, true);
  });
}

function missingInXcr0(value: bigint, missing: bigint): Error {
  const unknown = missing & ~flagMask(xcr0Flags);
  const cannot = `Cannot set xcr0 as ${hex(value)}:`;
  if (unknown !== 0n) return new RangeError(`${cannot} bits ${hex(unknown)} are reserved`);
  return new HostError(
    `${cannot} this machine's CPU has no ${flagNames(xcr0Flags, missing).join(", ")} ` +
      "(CPUID leaf 0xD, EDX:EAX). Leave them out, or run on a host that has them.",
  );
}

function debugRegister(
  store: RegisterStore,
  name: string,
  numberOf: LabelReader,
): RegisterAccessors {
  const isFlagged = name === "dr6" || name === "dr7";
  const offset = isFlagged ? kvm_debugregs.offsetOf(name) : kvm_debugregs.offsetOf("db") +
    BREAKPOINTS.indexOf(name) * BREAKPOINT_SIZE;
  const read = () => store.view("debug").getBigUint64(offset, true);
  const write = (value: unknown) => {
    const integer = wholeNumber(name, numberOf(value), isFlagged ? DEBUG_WIDTH : U64);
    store.change("debug").setBigUint64(offset, integer, true);
  };
  return isFlagged ? flagAccessors(name, read, write) : { get: read, set: write };
}
