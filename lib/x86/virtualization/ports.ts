import { hex } from "../hex.ts";
import { LAST_PORT } from "../layout.ts";
import { anyBit, checkSize, fillBits } from "./bits.ts";

/** An I/O port, or the first and the last of a range. */
export type InterceptedPorts = number | readonly [first: number, last: number];

/** Bytes that one IN or OUT moves (Intel SDM Vol. 3C, table 27-5; AMD APM Vol. 2, 15.10.2). */
export type PortAccessSize = 1 | 2 | 4;

/**
 * The first port of a range, and how many there are.
 *
 * @throws {RangeError} When a port is not a whole number from 0 to 0xffff, or the last lies before the first.
 */
export function portRange(ports: InterceptedPorts): { first: number; count: number } {
  const [first, last] = typeof ports === "number" ? [ports, ports] : ports;
  checkPort(first);
  checkPort(last);
  if (last < first) {
    throw new RangeError(
      `Cannot intercept ports ${hex(first)} to ${
        hex(last)
      }: the last lies before the first; give the lower one first`,
    );
  }
  return { first, count: last - first + 1 };
}

/**
 * Refuses what is no I/O port.
 *
 * @throws {RangeError} When it is not a whole number from 0 to 0xffff.
 */
export function checkPort(port: number): void {
  if (Number.isInteger(port) && port >= 0 && port <= LAST_PORT) return;
  throw new RangeError(
    `Cannot intercept port ${Number.isInteger(port) ? hex(port) : port}: ports are 0 to ${
      hex(LAST_PORT)
    }; give one of them`,
  );
}

/** An IN, OUT, INS or OUTS that left the guest (Intel SDM Vol. 3C, table 27-5; AMD APM Vol. 2, 15.10.2). */
export interface IoExit {
  /** The port. */
  port: number;
  /** IN and INS read, OUT and OUTS write. */
  direction: "in" | "out";
  /** Bytes of one element: 1, 2 or 4. */
  size: number;
  /** INS or OUTS. */
  string: boolean;
  /** With a REP prefix. */
  repeated: boolean;
}

const BITS_PER_BYTE = 8;

/**
 * A map of I/O ports, a bit for each, by which a guest leaves at IN, OUT, INS and OUTS (Intel SDM Vol. 3C, 24.6.4; AMD
 * APM Vol. 2, 15.10.1). It is a view: over its own bytes, or over guest memory, whose map it then changes at once.
 * {@linkcode IoPermissionMap} is SVM's, {@linkcode VmxIoBitmaps} VMX's.
 */
export abstract class PortMap {
  readonly #parts: readonly Uint8Array[];
  readonly #bitsPerPart: number;

  /**
   * A map over these bytes, which hold the bits of the ports from 0 on, one part after the other.
   *
   * @param parts The parts by their names, for messages.
   * @param size How many bytes each part has.
   * @throws {RangeError} When one has more or fewer.
   */
  constructor(parts: Readonly<Record<string, Uint8Array>>, size: number) {
    for (const [what, bytes] of Object.entries(parts)) checkSize(what, bytes, size);
    this.#parts = Object.values(parts);
    this.#bitsPerPart = size * BITS_PER_BYTE;
  }

  /** Intercepts every port, and, where the map has bits for it, what passes port 0xffff. */
  interceptAll(): this {
    for (const part of this.#parts) part.fill(0xff);
    return this;
  }

  /** Intercepts nothing that the map has bits for. */
  passAll(): this {
    for (const part of this.#parts) part.fill(0);
    return this;
  }

  /**
   * Intercepts a port, or a range of them, the last included.
   *
   * @param ports `0x60`, or `[0x3f8, 0x3ff]`.
   * @throws {RangeError} When a port is not a whole number from 0 to 0xffff.
   */
  intercept(ports: InterceptedPorts): this {
    return this.#set(ports, true);
  }

  /**
   * Lets a port, or a range of them, through.
   *
   * @param ports `0x60`, or `[0x3f8, 0x3ff]`.
   * @throws {RangeError} When a port is not a whole number from 0 to 0xffff.
   */
  pass(ports: InterceptedPorts): this {
    return this.#set(ports, false);
  }

  /**
   * Whether an access of `size` bytes at `port` is intercepted: one of its ports is, or it passes the last bit of the
   * map.
   *
   * @param port The access's first.
   * @param size Bytes of the access: it covers as many ports. Default 1.
   * @throws {RangeError} When the port is not a whole number from 0 to 0xffff.
   */
  intercepts(port: number, size: PortAccessSize = 1): boolean {
    checkPort(port);
    if (port + size > this.#parts.length * this.#bitsPerPart) return true;
    return this.#bitsOf(port, size).some(({ part, first, count }) => anyBit(part, first, count));
  }

  #set(ports: InterceptedPorts, on: boolean): this {
    const { first: port, count: ofPorts } = portRange(ports);
    for (const { part, first, count } of this.#bitsOf(port, ofPorts)) {
      fillBits(part, first, count, on);
    }
    return this;
  }

  #bitsOf(port: number, count: number): { part: Uint8Array; first: number; count: number }[] {
    return this.#parts.map((part, index) => {
      const start = index * this.#bitsPerPart;
      const first = Math.max(port, start);
      const end = Math.min(port + count, start + this.#bitsPerPart);
      return { part, first: first - start, count: Math.max(0, end - first) };
    });
  }
}
