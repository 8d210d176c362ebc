/** Encodings of AML (ACPI specification 6.5, table 20.1). */
const OP = {
  ZERO: [0x00],
  ONE: [0x01],
  BYTE: [0x0a],
  WORD: [0x0b],
  DWORD: [0x0c],
  NAME: [0x08],
  SCOPE: [0x10],
  BUFFER: [0x11],
  PACKAGE: [0x12],
  DEVICE: [0x5b, 0x82],
} as const;

const BYTE_BITS = 8;

/** The longest body whose length takes one byte. */
const SHORT_LENGTH = 0x3f;

/** A piece of AML. */
export type Aml = readonly number[];

/** A number as bytes, the lowest first. */
export function littleEndian(value: number, size: number): number[] {
  return Array.from(
    { length: size },
    (_, index) => Math.floor(value / 2 ** (BYTE_BITS * index)) % 0x100,
  );
}

/** An integer in its shortest form. */
export function integer(value: number): Aml {
  if (value === 0) return OP.ZERO;
  if (value === 1) return OP.ONE;
  if (value <= 0xff) return [...OP.BYTE, value];
  if (value <= 0xffff) return [...OP.WORD, ...littleEndian(value, 2)];
  return [...OP.DWORD, ...littleEndian(value, 4)];
}

/** A name of four characters; `\` stands before one of the root. */
function segment(name: string): number[] {
  return [...name].map((character) => character.charCodeAt(0));
}

/** A length, which counts its own bytes, with what it is of. */
function sized(body: Aml): Aml {
  const own = body.length + 1 <= SHORT_LENGTH ? 1 : body.length + 2 < 0x1000 ? 2 : 3;
  const length = body.length + own;
  if (own === 1) return [length, ...body];
  const rest = littleEndian(length >> 4, own - 1);
  return [(own - 1) << 6 | length & 0xf, ...rest, ...body];
}

/** `Name (name, value)`. */
export function name(name: string, value: Aml): Aml {
  return [...OP.NAME, ...segment(name), ...value];
}

/** `Package () { elements }`. */
export function amlPackage(elements: readonly Aml[]): Aml {
  return [...OP.PACKAGE, ...sized([elements.length, ...elements.flat()])];
}

/** `Buffer () { bytes }`. */
export function buffer(bytes: readonly number[]): Aml {
  return [...OP.BUFFER, ...sized([...integer(bytes.length), ...bytes])];
}

/** `Scope (name) { body }`. */
export function scope(name: string, body: readonly Aml[]): Aml {
  return [...OP.SCOPE, ...sized([...segment(name), ...body.flat()])];
}

/** `Device (name) { body }`. */
export function device(name: string, body: readonly Aml[]): Aml {
  return [...OP.DEVICE, ...sized([...segment(name), ...body.flat()])];
}
