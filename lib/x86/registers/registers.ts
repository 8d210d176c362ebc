import { hex } from "../hex.ts";
import { noneOfThatName } from "../nearest_names.ts";

/** The 64-bit registers of `struct kvm_regs` (Intel SDM Vol. 1, 3.4.1.1, 3.4.3 and 3.5). */
export type GeneralRegister =
  | ("rax" | "rbx" | "rcx" | "rdx" | "rsi" | "rdi" | "rsp" | "rbp")
  | ("r8" | "r9" | "r10" | "r11" | "r12" | "r13" | "r14" | "r15" | "rip" | "rflags");

/** The names of parts of those registers: 32, 16 and 8 bits wide (Intel SDM Vol. 1, 3.4.1). */
export type PartialRegister =
  | ("eax" | "ebx" | "ecx" | "edx" | "esi" | "edi" | "esp" | "ebp" | "eip" | "eflags")
  | ("ax" | "bx" | "cx" | "dx" | "si" | "di" | "sp" | "bp" | "ip" | "flags")
  | ("al" | "bl" | "cl" | "dl" | "ah" | "bh" | "ch" | "dh" | "sil" | "dil" | "spl" | "bpl")
  | ("r8d" | "r9d" | "r10d" | "r11d" | "r12d" | "r13d" | "r14d" | "r15d")
  | ("r8w" | "r9w" | "r10w" | "r11w" | "r12w" | "r13w" | "r14w" | "r15w")
  | ("r8b" | "r9b" | "r10b" | "r11b" | "r12b" | "r13b" | "r14b" | "r15b");

/** Every name under which a general register, rip or rflags, whole or in part, is known (Intel SDM Vol. 1, 3.4.1). */
export type RegisterName = GeneralRegister | PartialRegister;

/** `bigint` for the 64-bit names, `number` for all others. */
export type RegisterValue<Name extends RegisterName> = Name extends GeneralRegister ? bigint
  : number;

/** Where a name's bits lie (Intel SDM Vol. 1, 3.4.1). */
export interface RegisterPlace {
  /** The 64-bit register that holds them. */
  readonly register: GeneralRegister;
  /** Number of the lowest bit: 8 for ah, bh, ch and dh, else 0. */
  readonly shift: 0 | 8;
  /** Number of bits. */
  readonly width: 8 | 16 | 32 | 64;
}

/** Every register name with its place (Intel SDM Vol. 1, 3.4.1; AMD APM Vol. 1, 3.1). */
export const registerPlaces: ReadonlyMap<string, RegisterPlace> = new Map(
  [...namedPlaces()],
);

function* namedPlaces(): Generator<[RegisterName, RegisterPlace]> {
  for (const letter of ["a", "b", "c", "d"] as const) {
    const register = `r${letter}x` as const;
    yield* wide(register, `e${letter}x`, `${letter}x`);
    yield [`${letter}l`, { register, shift: 0, width: 8 }];
    yield [`${letter}h`, { register, shift: 8, width: 8 }];
  }
  for (const pointer of ["si", "di", "sp", "bp"] as const) {
    yield* wide(`r${pointer}`, `e${pointer}`, pointer);
    yield [`${pointer}l`, { register: `r${pointer}`, shift: 0, width: 8 }];
  }
  for (const register of ["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"] as const) {
    yield* wide(register, `${register}d`, `${register}w`);
    yield [`${register}b`, { register, shift: 0, width: 8 }];
  }
  yield* wide("rip", "eip", "ip");
  yield* wide("rflags", "eflags", "flags");
}

function* wide(
  register: GeneralRegister,
  name32: PartialRegister,
  name16: PartialRegister,
): Generator<[RegisterName, RegisterPlace]> {
  yield [register, { register, shift: 0, width: 64 }];
  yield [name32, { register, shift: 0, width: 32 }];
  yield [name16, { register, shift: 0, width: 16 }];
}

/**
 * Whether `name` is one of {@linkcode registerPlaces}.
 *
 * @param name Lower case: `"al"`, `"r8d"`, `"rip"`.
 */
export function isRegisterName(name: string): name is RegisterName {
  return registerPlaces.has(name);
}

/**
 * Where the bits of the register `name` lie.
 *
 * @param name Lower case: `"al"`, `"r8d"`, `"rip"`.
 * @throws {RangeError} When there is no such register; the message has the nearest names.
 */
export function registerPlace(name: string): RegisterPlace {
  const place = registerPlaces.get(name);
  if (place !== undefined) return place;
  throw new RangeError(
    `Cannot find a register "${name}": ${noneOfThatName(name, registerPlaces.keys())}`,
  );
}

/**
 * The part called `name` of the 64-bit register that holds it.
 *
 * @param name The part, e.g. `ah`.
 * @param full The value of the whole register, e.g. of rax.
 * @throws {RangeError} When there is no such register.
 * @example
 * ```ts
 * import { readRegister } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(readRegister("ah", 0x1234n), 0x12);
 * assertEquals(readRegister("rax", 0x1234n), 0x1234n);
 * ```
 */
export function readRegister<Name extends RegisterName>(
  name: Name,
  full: bigint,
): RegisterValue<Name> {
  const { shift, width } = registerPlace(name);
  const value = BigInt.asUintN(width, full >> BigInt(shift));
  return (width === 64 ? value : Number(value)) as RegisterValue<Name>;
}

/**
 * The 64-bit register after `value` was written to its part `name`, as the CPU does it in 64-bit mode: a
 * write of 8 or 16 bits keeps the others, a write of 32 bits clears the upper 32 (Intel SDM Vol. 1,
 * 3.4.1.1). Outside 64-bit mode those upper bits cannot be seen, so one rule serves every mode.
 *
 * @param name The part, e.g. `al`.
 * @param full The value of the whole register before.
 * @param value The part's new value: a whole number that is not negative.
 * @throws {RangeError} When there is no such register, or the value does not fit it.
 * @example
 * ```ts
 * import { writeRegister } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(writeRegister("al", 0x1234n, 0xff), 0x12ffn);
 * assertEquals(writeRegister("eax", 0xffff_ffff_ffff_ffffn, 1), 1n);
 * ```
 */
export function writeRegister(name: string, full: bigint, value: number | bigint): bigint {
  const { shift, width } = registerPlace(name);
  const part = toUnsigned(name, width, value);
  if (width >= 32) return part;
  const mask = ((1n << BigInt(width)) - 1n) << BigInt(shift);
  return (full & ~mask) | (part << BigInt(shift));
}

function toUnsigned(name: string, width: number, value: number | bigint): bigint {
  if (typeof value === "number" && !Number.isSafeInteger(value)) {
    throw new RangeError(
      `Cannot set ${name} as ${value}: a number holds whole values up to 2^53 - 1 exactly; give a bigint`,
    );
  }
  const integer = BigInt(value);
  if (integer < 0n) {
    throw new RangeError(
      `Cannot set ${name} as ${hex(value)}: the value is negative; give its two's complement, ${
        hex(BigInt.asUintN(width, integer))
      }`,
    );
  }
  if (BigInt.asUintN(width, integer) !== integer) {
    throw new RangeError(
      `Cannot set ${name} as ${hex(value)}: the value is wider than ${width} bits; the widest is ${
        hex((1n << BigInt(width)) - 1n)
      }`,
    );
  }
  return integer;
}
