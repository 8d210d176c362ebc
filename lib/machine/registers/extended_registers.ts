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
import { defineRegister, type RegisterFile } from "./register_file.ts";
import { assignedMembers, checkNames } from "./register_names.ts";
import type { RegisterStore } from "./register_store.ts";
import { bytesOfInteger, integerOf } from "./vector_register.ts";
import { type LabelReader, wholeNumber } from "./whole_register.ts";

const U64 = 64;
/** The upper half of DR6 and DR7 is reserved (Intel SDM Vol. 3B, 17.2). */
const DEBUG_WIDTH = 32;
const BREAKPOINT_SIZE = 8;
const BREAKPOINTS: readonly string[] = ["dr0", "dr1", "dr2", "dr3"];
/** What of the XSAVE area is made of flags. */
const FLAGGED: readonly FlagRegisterName[] = ["mxcsr", "fcw", "fsw"];

/** What of the XSAVE area is a bigint, or a number, and is no vector. */
const PLAIN: readonly FpuRegister[] = ["ftw", "fop", "fip", "fdp", "pkru"];
const BITS = 8;

/** An object with the registers of the extensions, which refuses names that are none. */
export function extendedAccessors(): object {
  const accessors = Object.create(checkNames());
  for (const name of [...simdRegisters.keys(), ...mmxRegisters]) {
    defineRegister(accessors, name, ({ xsave }) => ({
      get: () => xsave.vector(name),
      set: (value) => {
        if (typeof value === "object" && value !== null) {
          Object.assign(xsave.vector(name), Object.fromEntries(assignedMembers(name, value)));
        } else xsave.vector(name).value = value as bigint;
      },
    }));
  }
  for (const name of x87StackRegisters.keys()) {
    defineRegister(accessors, name, ({ xsave }) => ({
      get: () => xsave.stack(name),
      set: (value) => {
        if (typeof value === "number") xsave.stack(name).f64 = value;
        else xsave.stack(name).value = value as bigint;
      },
    }));
  }
  for (const name of [...opmaskRegisters.keys(), ...PLAIN, ...FLAGGED]) {
    defineRegister(accessors, name, (file) => inXsaveArea(file, name));
  }
  defineRegister(accessors, "xcr0", ({ store }) => xcr0(store));
  for (const name of [...BREAKPOINTS, "dr6", "dr7"]) {
    defineRegister(accessors, name, ({ store, numberOf }) => debugRegister(store, name, numberOf));
  }
  return accessors;
}

/** A register of the XSAVE area that is no vector and not of the stack of x87. */
function inXsaveArea({ store, xsave }: RegisterFile, name: string): RegisterAccessors {
  const { width, places } = opmaskRegisters.get(name) ?? fpuRegisters[name as FpuRegister];
  const read = () => integerOf(xsave.read(name, places));
  const write = (value: unknown) => {
    const integer = wholeNumber(name, value, width);
    if (name === "mxcsr") checkMxcsr(store, integer);
    xsave.write(name, places, bytesOfInteger(integer, width / BITS));
  };
  return FLAGGED.some((flagged) => flagged === name)
    ? flagAccessors(name as FlagRegisterName, read, write)
    : { get: width === U64 ? read : () => Number(read()), set: write };
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
