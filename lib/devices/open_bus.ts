import { BYTE_BITS, ones } from "./bytes.ts";
import type { MmioHandler, PortHandler } from "./handlers.ts";

/** The widest access whose value is a number. */
const NUMBER_SIZE = 4;

const name = "open bus";
const write = (): void => {};

/** I/O ports where no device answers: reads give all ones, since the data lines are pulled up; writes are lost. */
export const openBusPorts: PortHandler = {
  name,
  read: (_port, size) => ones(size),
  write,
};

/** Physical addresses where no device answers, likewise. */
export const openBusMmio: MmioHandler = {
  name,
  read: (_address, size) =>
    size <= NUMBER_SIZE ? ones(size) : BigInt.asUintN(BYTE_BITS * size, -1n),
  write,
};
