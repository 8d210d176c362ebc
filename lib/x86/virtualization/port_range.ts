import { hex } from "../hex.ts";
import { LAST_PORT } from "../layout.ts";

/** An I/O port, or the first and the last of a range. */
export type InterceptedPorts = number | readonly [first: number, last: number];

/** Bytes that one IN or OUT moves. */
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
