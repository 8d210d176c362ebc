import { byteOf, joinBytes, ones } from "./bytes.ts";
import type { Bus } from "./bus.ts";
import type { PortHandler } from "./handlers.ts";

/** What is read where nobody answers. */
const OPEN_BUS = ones(1);

/** The registers of an 8-bit device, by their offset from its first port. */
export interface ByteRegisters {
  /** What to call it in tables of exits and on failure pages. */
  readonly name: string;
  /** Answers an `in` of a byte. */
  read(offset: number): number;
  /** Takes the byte of an `out`. */
  write(offset: number, value: number): void;
}

/**
 * Makes a handler of an 8-bit device's ports. A wider access is split by the bus into one for each port, the lowest
 * first; behind the device's last port nobody answers.
 */
export function bytePorts(first: number, count: number, registers: ByteRegisters): PortHandler {
  return {
    name: registers.name,
    read: (port, size) =>
      joinBytes(size, (index) => {
        const offset = port - first + index;
        return offset < count ? registers.read(offset) : OPEN_BUS;
      }),
    write(port, value, size) {
      for (let index = 0; index < size; index++) {
        const offset = port - first + index;
        if (offset < count) registers.write(offset, byteOf(value, index));
      }
    },
  };
}

/** Claims the ports of an 8-bit device. */
export function claimBytePorts(
  ports: Bus<PortHandler>,
  first: number,
  count: number,
  registers: ByteRegisters,
): void {
  ports.on([first, first + count - 1], bytePorts(first, count, registers));
}
