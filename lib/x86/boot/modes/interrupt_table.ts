import { hex } from "../../hex.ts";
import { SELECTOR } from "../../layout.ts";

/** Number of gates in an IDT. */
const GATES = 256;
const GATE_SIZE = { 16: 8, 32: 8, 64: 16 } as const;
/** Interrupt gates (IF is cleared) of 16, and of 32 or 64 bits (Intel SDM Vol. 3A, 6.11 and 6.14.1). */
const INTERRUPT_GATE = { 16: 0x6, 32: 0xe, 64: 0xe } as const;
const PRESENT = 0x80;
/** The privilege level from which INT may use a gate. */
const PRIVILEGE_SHIFT = 5;
const USER = 3;

/** Where the parts of a gate lie. */
const OFFSET_LOW = 0;
const GATE_SELECTOR = 2;
const STACK_INDEX = 4;
const GATE_TYPE = 5;
const OFFSET_MIDDLE = 6;
const OFFSET_HIGH = 8;

/** An interrupt gate. */
export interface Gate {
  /** The handler's address. */
  readonly handler: number | bigint;
  /** Whether INT may use it at CPL 3. */
  readonly user: boolean;
  /** Which of the TSS's stacks of long mode (IST) the handler has, 1 to 7; without it, none of them. */
  readonly stack?: number;
}

/**
 * The bytes of an IDT.
 *
 * @param gates Handlers by vector; those given by their addresses alone are open to CPL 3.
 * @param bits How wide the handlers' code is.
 * @throws {RangeError} When a vector is none, or a handler's address has more bits than its code.
 */
export function interruptTable(
  gates: Readonly<Record<number, number | bigint | Gate>>,
  bits: 16 | 32 | 64,
): Uint8Array<ArrayBuffer> {
  const size = GATE_SIZE[bits];
  const bytes = new Uint8Array(GATES * size);
  for (const [key, given] of Object.entries(gates)) {
    const { handler, user, stack = 0 } = typeof given === "object"
      ? given
      : { handler: given, user: true };
    const vector = gateVector(key);
    const offset = handlerOffset(vector, handler, bits);
    const gate = new DataView(bytes.buffer, vector * size, size);
    gate.setUint16(OFFSET_LOW, Number(BigInt.asUintN(16, offset)), true);
    gate.setUint16(GATE_SELECTOR, SELECTOR.code, true);
    gate.setUint8(STACK_INDEX, stack);
    const privilege = user ? USER : 0;
    gate.setUint8(GATE_TYPE, PRESENT | (privilege << PRIVILEGE_SHIFT) | INTERRUPT_GATE[bits]);
    gate.setUint16(OFFSET_MIDDLE, Number(BigInt.asUintN(16, offset >> 16n)), true);
    if (bits === 64) gate.setUint32(OFFSET_HIGH, Number(offset >> 32n), true);
  }
  return bytes;
}

/** The vector that a key of gates is. @throws {RangeError} When it is none. */
export function gateVector(key: string): number {
  const vector = Number(key);
  if (Number.isInteger(vector) && vector >= 0 && vector < GATES) return vector;
  throw new RangeError(
    `Cannot make a gate for vector ${key}: vectors are whole numbers from 0 to ${GATES - 1}`,
  );
}

function handlerOffset(vector: number, handler: number | bigint, bits: 16 | 32 | 64): bigint {
  const exact = typeof handler === "bigint" || Number.isSafeInteger(handler);
  if (exact && BigInt.asUintN(bits, BigInt(handler)) === BigInt(handler)) return BigInt(handler);
  throw new RangeError(
    `Cannot make a gate for vector ${vector} to ${
      exact ? hex(handler) : handler
    }: it is not an address of ${bits} bits, which handlers have in this mode`,
  );
}
