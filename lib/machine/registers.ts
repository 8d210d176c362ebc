import { kvm_regs } from "../kvm/abi/structs/regs.ts";
import type { StructLayout } from "../ffi/struct.ts";
import { kvm_dtable, kvm_segment, kvm_sregs } from "../kvm/abi/structs/sregs.ts";
import type { DescriptorTable, SegmentName } from "../x86/cpu_state.ts";
import {
  type Cr0Flag,
  cr0Flags,
  type Cr4Flag,
  cr4Flags,
  type EferFlag,
  eferFlags,
  RFLAGS_ALWAYS_SET,
  type RflagsFlag,
  rflagsFlags,
} from "../x86/flag_tables.ts";
import { type FlagTable, type FlagValues, setFlag } from "../x86/flags.ts";
import {
  type GeneralRegister,
  type PartialRegister,
  readRegister,
  registerPlaces,
  writeRegister,
} from "../x86/registers.ts";
import type { Segment } from "../x86/segment.ts";
import { type FlagProperties, type FlagRegister, flagRegister } from "./flag_register.ts";
import { refuseUnknownNames } from "./refuse_unknown_names.ts";
import { readPath, setPath } from "./register_path.ts";
import type { RegisterStore } from "./register_store.ts";

const SEGMENTS: readonly SegmentName[] = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"];
const TABLES: readonly TableRegisterName[] = ["gdt", "idt"];
const WHOLE: readonly ControlRegisterName[] = ["cr2", "cr3", "cr8", "apic_base"];

const FLAGGED: Readonly<Record<FlagRegisterName, FlagTable>> = {
  rflags: rflagsFlags,
  cr0: cr0Flags,
  cr4: cr4Flags,
  efer: eferFlags,
};

/** Registers that are made of flags. */
export type FlagRegisterName = "rflags" | "cr0" | "cr4" | "efer";

/** Registers that are read as whole values. */
export type ControlRegisterName = "cr2" | "cr3" | "cr8" | "apic_base";

/** The registers that hold a descriptor table. */
export type TableRegisterName = "gdt" | "idt";

/** The registers of a vCPU by name, as {@linkcode Registers} has them and tests set and expect them. */
export type RegisterValues =
  & { readonly [Name in Exclude<GeneralRegister, "rflags">]?: bigint | number }
  & { readonly [Name in PartialRegister]?: number }
  & { readonly [Name in ControlRegisterName]?: bigint | number }
  & {
    readonly rflags?: bigint | number | FlagValues<RflagsFlag>;
    readonly cr0?: bigint | number | FlagValues<Cr0Flag>;
    readonly cr4?: bigint | number | FlagValues<Cr4Flag>;
    readonly efer?: bigint | number | FlagValues<EferFlag>;
  }
  & { readonly [Name in SegmentName]?: number | Partial<Segment> }
  & { readonly [Name in TableRegisterName]?: Partial<DescriptorTable> }
  & { readonly [Path in `${FlagRegisterName}.${string}`]?: boolean | number }
  & { readonly [Path in `${SegmentName | TableRegisterName}.${string}`]?: bigint | number };

/**
 * The registers of a machine's vCPU: `vm.registers`. 64-bit registers and bases are bigints, everything
 * narrower a number, flags booleans.
 *
 * They are read when asked for, and written to the vCPU when it runs on. A name that does not exist, and a
 * value that is too wide, throw a `RangeError`.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   add al, bl
 *   hlt
 * `, { registers: { al: 250, bl: 6 } });
 * vm.run();
 * console.log(vm.registers.al, vm.registers.rflags.zf, vm.registers.cs.base); // 0 true 0n
 * ```
 */
export type Registers =
  & { -readonly [Name in Exclude<GeneralRegister, "rflags">]: bigint }
  & { -readonly [Name in PartialRegister]: number }
  & { -readonly [Name in ControlRegisterName]: bigint }
  & { readonly [Name in SegmentName]: Segment }
  & { readonly [Name in TableRegisterName]: DescriptorTable }
  & {
    readonly rflags: FlagRegister & FlagProperties<RflagsFlag>;
    readonly cr0: FlagRegister & FlagProperties<Cr0Flag>;
    readonly cr4: FlagRegister & FlagProperties<Cr4Flag>;
    readonly efer: FlagRegister & FlagProperties<EferFlag>;
  }
  & RegisterAccess;

/** Registers by a name that is known only when the test runs. */
export interface RegisterAccess {
  /**
   * A register, or a part of one, by its path: `"rax"`, `"al"`, `"rflags.zf"`, `"cs.base"`. Flag registers
   * are whole here (a bigint), and segments their selector.
   *
   * @throws {RangeError} When there is no such register.
   */
  get(path: string): bigint | number | boolean;
  /**
   * Sets registers by name, as the `registers` option of `boot` does.
   *
   * @throws {RangeError} When there is no such register, or a value does not fit. None is set then.
   */
  set(values: RegisterValues): void;
}

/** The registers that `store` holds, by name. */
export function registersOf(store: RegisterStore): Registers {
  const registers = Object.create(refuseUnknownNames());
  const define = (name: string, get: () => unknown, set?: (value: never) => void) =>
    Object.defineProperty(registers, name, { enumerable: true, get, set });

  for (const [name, { register }] of registerPlaces) {
    if (name === "rflags") continue;
    const offset = kvm_regs.offsetOf(register);
    define(
      name,
      () => readRegister(name as GeneralRegister, store.view("general").getBigUint64(offset, true)),
      (value: bigint | number) => {
        checkIsInteger(name, value);
        const full = store.view("general").getBigUint64(offset, true);
        const changed = writeRegister(name, full, value);
        store.change("general").setBigUint64(offset, changed, true);
      },
    );
  }
  for (const name of WHOLE) {
    const { read, write } = quadword(store, name);
    define(name, read, write);
  }
  for (const [name, table] of Object.entries(FLAGGED)) {
    const { read, write } = quadword(store, name);
    const register = flagRegister(name, table, read, write);
    define(name, () => register, (value: bigint | number | FlagValues) => {
      if (typeof value !== "object") return write(value);
      let changed = read();
      for (const [flag, set] of Object.entries(value)) {
        if (set !== undefined) changed = setFlag(table, flag, changed, set);
      }
      write(changed);
    });
  }
  for (const name of [...SEGMENTS, ...TABLES]) {
    const members = structureMembers(store, name);
    define(name, () => members);
  }
  define("get", () => (path: string) => readPath(registers, path));
  define("set", () => (values: RegisterValues) => setAll(registers, store, values));
  return Object.preventExtensions(registers);
}

/** A 64-bit register of either structure, which is not part of another. */
function quadword(store: RegisterStore, name: string) {
  const isGeneral = name === "rflags";
  const set = isGeneral ? "general" : "special";
  const offset = isGeneral ? kvm_regs.offsetOf(name) : kvm_sregs.offsetOf(name as "cr3");
  return {
    read: () => store.view(set).getBigUint64(offset, true),
    write: (value: bigint | number) => {
      checkIsInteger(name, value);
      const integer = typeof value === "number" && !Number.isSafeInteger(value)
        ? -1n
        : BigInt(value);
      if (BigInt.asUintN(64, integer) !== integer) {
        throw new RangeError(
          `Cannot set ${name} as ${value}: it is not a whole number from 0 to 2^64 - 1`,
        );
      }
      // Bit 1 of RFLAGS is always set: KVM sets it too, whatever it is given.
      const stored = isGeneral ? integer | RFLAGS_ALWAYS_SET : integer;
      store.change(set).setBigUint64(offset, stored, true);
    },
  };
}

/** What TypeScript refuses, `BigInt` would take: `true` as 1, `""` as 0. */
function checkIsInteger(name: string, value: unknown): void {
  if (typeof value === "bigint" || typeof value === "number") return;
  throw new TypeError(`Cannot set ${name} as ${value}: give a number or a bigint`);
}

/** A segment or a descriptor table: an object whose properties are the fields of its structure. */
function structureMembers(store: RegisterStore, name: SegmentName | TableRegisterName): object {
  const members = Object.create(refuseUnknownNames(name));
  const layout: StructLayout = SEGMENTS.includes(name as SegmentName) ? kvm_segment : kvm_dtable;
  const start = kvm_sregs.offsetOf(name);
  for (const { path: member, offset, size } of layout.fields) {
    if (member.startsWith("padding")) continue;
    Object.defineProperty(members, member, {
      enumerable: true,
      get: () => readInteger(store.view("special"), start + offset, size),
      set: (value: bigint | number) => {
        kvm_sregs.write(store.change("special"), 0, { [name]: { [member]: value } });
      },
    });
  }
  return Object.preventExtensions(members);
}

function readInteger(view: DataView, offset: number, size: number): bigint | number {
  switch (size) {
    case 1:
      return view.getUint8(offset);
    case 2:
      return view.getUint16(offset, true);
    case 4:
      return view.getUint32(offset, true);
    default:
      return view.getBigUint64(offset, true);
  }
}

function setAll(registers: Registers, store: RegisterStore, values: RegisterValues): void {
  const undo = (["general", "special"] as const).map((set) => ({
    set,
    bytes: new Uint8Array(store.view(set).buffer).slice(),
  }));
  try {
    for (const [path, value] of Object.entries(values)) {
      if (value !== undefined) setPath(registers, path, value);
    }
  } catch (error) {
    for (const { set, bytes } of undo) new Uint8Array(store.change(set).buffer).set(bytes);
    throw error;
  }
}
