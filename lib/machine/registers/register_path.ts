import type { Segment } from "../../x86/segment.ts";
import { namesIn, unknownRegister } from "./refuse_unknown_names.ts";
import { WholeRegister } from "./whole_register.ts";

/** What a path in the registers leads to: a register, a flag, a part, or the lanes of a vector. */
export type RegisterPart = bigint | number | boolean | readonly (bigint | number)[];

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
export function readPath(registers: NamedRegisters, path: string): RegisterPart {
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
export function setPath(registers: NamedRegisters, path: string, value: unknown): void {
  const { target, name } = resolve(registers, path);
  const current = target[name];
  const isAssigned = typeof current !== "object" || current === null || Array.isArray(current) ||
    current instanceof WholeRegister;
  if (isAssigned) {
    target[name] = value;
  } else if (typeof value === "object" && value !== null) {
    Object.assign(current, value);
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
