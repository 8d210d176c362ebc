import type { Address } from "../../guest/address.ts";
import { atCaller } from "../../guest/call_site.ts";
import { kvm_dtable, kvm_regs, kvm_segment, kvm_sregs } from "../../kvm/abi/structs/registers.ts";
import type { StructLayout } from "../../ffi/struct.ts";
import type { DescriptorTable, SegmentName } from "../../x86/boot/cpu_state.ts";
import { definedEntries } from "../../x86/defined_entries.ts";
import {
  type FlagRegisterName,
  type FlagsOfRegisters,
  RFLAGS_ALWAYS_SET,
} from "../../x86/registers/flag_tables.ts";
import type { FlagValues } from "../../x86/registers/flags.ts";
import {
  type GeneralRegister,
  type PartialRegister,
  readRegister,
  registerPlaces,
  writeRegister,
} from "../../x86/registers/registers.ts";
import type {
  FpuRegister,
  Lane,
  MmxRegister,
  OpmaskRegister,
  SimdRegister,
  X87StackRegister,
} from "../../x86/registers/xsave.ts";
import type { Segment } from "../../x86/registers/segment.ts";
import type { AssignableRegisters } from "./assignable_registers.ts";
import { extendedAccessors } from "./extended_registers.ts";
import { flagAccessors, type RegisterAccessors } from "./flag_register.ts";
import { defineRegister, RegisterFile, registerObject } from "./register_file.ts";
import {
  assignedMembers,
  assigning,
  checkNames,
  namesIn,
  unknownRegister,
} from "./register_names.ts";
import { registerDump } from "./register_dump.ts";
import type { RegisterStore } from "./register_store.ts";
import type { VectorRegister } from "./vector_register.ts";
import { checkIsNumber, type LabelReader, wholeNumber, WholeRegister } from "./whole_register.ts";
import type { X87Register } from "./x87_register.ts";

const SEGMENTS: readonly SegmentName[] = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"];
const TABLES = ["gdt", "idt"] as const;
const QUADWORD = 64;
const WHOLE = ["cr2", "cr3", "cr8", "apic_base"] as const;

/** Those made of flags that `struct kvm_regs` and `struct kvm_sregs` have. */
const FLAGGED: readonly FlagRegisterName[] = ["rflags", "cr0", "cr4", "efer"];

/**
 * The registers of a vCPU by name, as {@linkcode Registers} has them and tests set and expect them. A string is a label
 * of the guest, and stands for what `mov rsi, label` would load.
 */
export type RegisterValues =
  & {
    readonly [
      Name in
        | Exclude<GeneralRegister, "rflags">
        | PartialRegister
        | ("cr2" | "cr3" | "cr8" | "apic_base")
        | ("dr0" | "dr1" | "dr2" | "dr3")
    ]?: Address;
  }
  & {
    readonly [Name in FlagRegisterName]?: bigint | number | FlagValues<FlagsOfRegisters[Name]>;
  }
  & {
    readonly [Name in SegmentName]?:
      | number
      | Partial<Omit<Segment, "base"> & { readonly base: Address }>;
  }
  & { readonly [Name in "gdt" | "idt"]?: { readonly base?: Address; readonly limit?: number } }
  & { readonly [Name in Exclude<FpuRegister, FlagRegisterName>]?: bigint | number }
  & { readonly [Name in OpmaskRegister | X87StackRegister]?: bigint | number }
  & {
    readonly [Name in SimdRegister | MmxRegister]?:
      | bigint
      | number
      | { readonly [Each in Lane]?: readonly (number | bigint)[] };
  }
  & { readonly [Path in `${SimdRegister | MmxRegister}.${Lane}`]?: readonly (number | bigint)[] }
  & { readonly [Path in `${X87StackRegister}.f64`]?: number }
  & { readonly [Path in `${FlagRegisterName}.${string}`]?: boolean | number }
  & { readonly [Path in `${SegmentName | "gdt" | "idt"}.${string}`]?: Address };

/**
 * The registers of a machine's vCPU: `vm.registers`. 64-bit registers and bases are bigints, everything
 * narrower a number, flags booleans. Vectors have a `value`, which is a bigint, and lanes: `f32`, `u64`, ….
 * Registers of x87's stack have a `value` of 80 bits, and `f64`; those that are set are not empty any more.
 *
 * Registers of 64 bits are set to numbers and labels as well, flag registers whole or by some of their flags:
 * `vm.registers.rip = "again"`, `vm.registers.rflags = { cf: true }`.
 *
 * They are read when asked for, and written to the vCPU when it runs on. A name that does not exist, and a
 * value that is too wide, throw a `RangeError`; one that this CPU lacks (`zmm0` without AVX-512) a
 * `HostError`.
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
 *
 * @example Vectors
 * ```ts no-eval
 * import { asm, boot, expect } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   bits 64
 *   vaddps ymm0, ymm0, ymm1
 *   hlt
 * `, {
 *   registers: {
 *     cr4: { osfxsr: true, osxsave: true },
 *     xcr0: { x87: true, sse: true, avx: true },
 *     ymm0: { f32: [1, 2, 3, 4, 5, 6, 7, 8] },
 *     ymm1: { f32: [1, 1, 1, 1, 1, 1, 1, 1] },
 *   },
 * });
 * vm.run();
 * expect(vm).toHaveRegisters({ xmm0: { f32: [2, 3, 4, 5] }, "mxcsr.pe": false });
 * console.log(vm.registers.ymm0.value, vm.registers.ymm0.u64);
 * ```
 */
export type Registers =
  & AssignableRegisters
  & { -readonly [Name in PartialRegister]: number }
  & { readonly [Name in SegmentName]: Segment }
  & { readonly [Name in "gdt" | "idt"]: DescriptorTable }
  & { readonly [Name in SimdRegister | MmxRegister]: VectorRegister }
  & { readonly [Name in X87StackRegister]: X87Register }
  & { -readonly [Name in "ftw" | "fop" | "pkru"]: number }
  & {
    /**
     * A register, or a part of one, by its path: `"rax"`, `"al"`, `"rflags.zf"`, `"cs.base"`. Flag registers
     * and vectors are whole here (a bigint), and segments their selector; `"xmm0.f32"` are all lanes.
     *
     * @throws {RangeError} When there is no such register.
     */
    get(path: string): bigint | number | boolean | readonly (bigint | number)[];
    /**
     * Sets registers by name, as the `registers` option of `boot` does.
     *
     * @throws {RangeError} When there is no such register, or a value does not fit. None is set then.
     */
    set(values: RegisterValues): void;
    /**
     * The general, control, debug and segment registers and descriptor tables as a table of text, for a person: what a
     * monitor prints when its guest has gone wrong.
     */
    dump(): string;
  };

/** The accessors that all CPUs share. */
let shared: object | undefined;

/**
 * The registers that `store` holds, by name.
 *
 * @param symbol The value of a symbol of the guest.
 */
export function registersOf(
  store: RegisterStore,
  symbol: (name: string) => bigint,
): Registers {
  const numberOf = (value: unknown) => typeof value === "string" ? symbol(value) : value;
  const file = new RegisterFile(store, numberOf);
  const registers = registerObject(shared ??= sharedAccessors(), file) as Registers;
  const set = (values: RegisterValues) => atCaller(set, () => setAll(registers, store, values));
  const methods = {
    get: (path: string) => readPath(registers, path),
    set,
    dump: () => registerDump(registers),
  };
  for (const [name, value] of Object.entries(methods)) {
    Object.defineProperty(registers, name, { value, enumerable: true });
  }
  Object.defineProperty(registers, Symbol("copy"), { enumerable: true, get: refuseCopy });
  return Object.preventExtensions(registers);
}

/** A copy by `{ ...vm.registers }` would have none of them, since they are read when asked for. */
function refuseCopy(): never {
  throw new TypeError(
    "Cannot copy the registers: they are read one by one, when asked for. Take those that you need by name, or all as " +
      "text, by vm.registers.dump().",
  );
}

function sharedAccessors(): object {
  const accessors = Object.create(extendedAccessors());
  for (const [name, { register }] of registerPlaces) {
    if (name !== "rflags") {
      defineRegister(accessors, name, (file) => general(file, name, kvm_regs.offsetOf(register)));
    }
  }
  for (const name of WHOLE) {
    defineRegister(accessors, name, ({ store, numberOf }) => {
      const { read, write } = quadword(store, name);
      return { get: read, set: (value) => write(numberOf(value)) };
    });
  }
  for (const name of FLAGGED) {
    defineRegister(accessors, name, ({ store }) => {
      const { read, write } = quadword(store, name);
      return flagAccessors(name, read, write);
    });
  }
  for (const name of [...SEGMENTS, ...TABLES]) {
    defineRegister(accessors, name, ({ store, numberOf }) => {
      const members = structureMembers(store, name, numberOf);
      return { get: () => members, set: () => {} };
    }, false);
  }
  return accessors;
}

/** A general register, or a part of one, at an offset in `struct kvm_regs`. */
function general(
  { store, numberOf }: RegisterFile,
  name: string,
  offset: number,
): RegisterAccessors {
  const read = () => store.view("general").getBigUint64(offset, true);
  return {
    get: () => readRegister(name as GeneralRegister, read()),
    set: (given) => {
      const value = numberOf(given);
      checkIsNumber(name, value);
      const changed = writeRegister(name, read(), value);
      store.change("general").setBigUint64(offset, changed, true);
    },
  };
}

/** A 64-bit register of either structure, which is not part of another. */
function quadword(store: RegisterStore, name: string) {
  const isGeneral = name === "rflags";
  const set = isGeneral ? "general" : "special";
  const offset = isGeneral ? kvm_regs.offsetOf(name) : kvm_sregs.offsetOf(name as "cr3");
  return {
    read: () => store.view(set).getBigUint64(offset, true),
    write: (value: unknown) => {
      const integer = wholeNumber(name, value, QUADWORD);
      // Bit 1 of RFLAGS is always set: KVM sets it too, whatever it is given.
      const stored = isGeneral ? integer | RFLAGS_ALWAYS_SET : integer;
      store.change(set).setBigUint64(offset, stored, true);
    },
  };
}

/** A segment or a descriptor table: an object whose properties are the fields of its structure. */
function structureMembers(
  store: RegisterStore,
  name: SegmentName | "gdt" | "idt",
  numberOf: LabelReader,
): object {
  const members = Object.create(checkNames(name));
  const layout: StructLayout = SEGMENTS.includes(name as SegmentName) ? kvm_segment : kvm_dtable;
  const start = kvm_sregs.offsetOf(name);
  for (const { path: member, offset, size } of layout.fields) {
    if (member.startsWith("padding")) continue;
    Object.defineProperty(members, member, {
      enumerable: true,
      get: () => readInteger(store.view("special"), start + offset, size),
      set: assigning((value: bigint | number | string) => {
        kvm_sregs.write(store.change("special"), 0, { [name]: { [member]: numberOf(value) } });
      }),
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
  store.atomically(() => {
    for (const [path, value] of definedEntries("set", values)) {
      setPath(registers, path, value);
    }
  });
}

/** What a path in the registers leads to: a register, a flag, a part, or the lanes of a vector. */
type RegisterPart = ReturnType<Registers["get"]>;

/** Registers by name, as far as paths in them are followed here. */
interface NamedRegisters {
  readonly cr0: { readonly pe: boolean };
}

/** The methods of the registers: no registers themselves. */
const METHODS: ReadonlySet<string> = new Set(["get", "set"]);

/** Segments that a `mov` or a far jump loads. */
const LOADED_IN_REAL_MODE: ReadonlySet<string> = new Set(["cs", "ds", "es", "fs", "gs", "ss"]);

/** Bytes from one selector to the next in real mode. */
const PARAGRAPH = 16n;

/**
 * The register, or the part of one, at `path`. Flag registers and vectors are whole here, segments their selector.
 *
 * @throws {RangeError} When there is none, or it is a table, which has no value of its own.
 */
function readPath(registers: NamedRegisters, path: string): RegisterPart {
  const { target, name } = resolve(registers, path);
  const value = target[name];
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return value as RegisterPart;
  }
  if (value instanceof WholeRegister) return value.value;
  if (Object.hasOwn(value, "selector")) return (value as Segment).selector;
  throw new RangeError(
    `Cannot read ${path} as one value: it has ${Object.keys(value).join(" and ")}; read ${
      Object.keys(value).map((part) => `${path}.${part}`).join(" or ")
    }`,
  );
}

/**
 * Sets the register at `path`. A segment takes its parts, or a number: its selector, and in real mode, as a
 * load there does, the base that goes with it.
 *
 * @throws {RangeError} When there is none, or the value does not fit.
 */
function setPath(registers: NamedRegisters, path: string, value: unknown): void {
  const { target, name } = resolve(registers, path);
  const current = target[name];
  const isAssigned = typeof current !== "object" || current === null || Array.isArray(current) ||
    current instanceof WholeRegister;
  if (isAssigned) {
    target[name] = value;
  } else if (typeof value === "object" && value !== null) {
    Object.assign(current, Object.fromEntries(assignedMembers(path, value)));
  } else if (Object.hasOwn(current, "selector")) {
    const segment = current as Segment;
    segment.selector = value as number;
    if (LOADED_IN_REAL_MODE.has(name) && registers.cr0.pe === false) {
      segment.base = BigInt(segment.selector) * PARAGRAPH;
    }
  } else {
    throw new TypeError(
      `Cannot set ${path} as ${value}: give an object with ${Object.keys(current).join(" and ")}`,
    );
  }
}

function resolve(
  registers: NamedRegisters,
  path: string,
): { target: Record<string, unknown>; name: string } {
  const names = path.split(".");
  let target: unknown = registers;
  for (const [index, name] of names.entries()) {
    const parts = typeof target === "object" && target !== null ? namesIn(target) : [];
    const known = parts.filter((part) => target !== registers || !METHODS.has(part));
    if (!known.includes(name)) throw unknownRegister(names.slice(0, index + 1).join("."), known);
    if (index < names.length - 1) target = (target as Record<string, unknown>)[name];
  }
  return { target: target as Record<string, unknown>, name: names[names.length - 1] };
}
