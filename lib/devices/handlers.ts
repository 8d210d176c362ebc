/** Answers a guest's accesses to a range of I/O ports. */
export interface PortHandler {
  /** What to call it in tables of exits and in failure pages: `"COM1"`. */
  readonly name?: string;
  /**
   * Answers an `in`, once for each element of a string instruction.
   *
   * @param size How many bytes the guest asked for. The value returned must fit them.
   */
  read?(port: number, size: 1 | 2 | 4): number;
  /** Takes the value of an `out`, once for each element of a string instruction. */
  write?(port: number, value: number, size: 1 | 2 | 4): void;
}

/** Answers a guest's accesses to physical addresses that no memory slot backs. */
export interface MmioHandler {
  /** What to call it in tables of exits and in failure pages: `"IOAPIC"`. */
  readonly name?: string;
  /**
   * Answers a read.
   *
   * @param size 1 to 8 bytes: an access that crosses pages arrives in parts. The value returned must fit
   * them.
   */
  read?(address: number, size: number): number | bigint;
  /** Takes a write. The value is a number for up to 4 bytes, and a bigint above. */
  write?(address: number, value: number | bigint, size: number): void;
}
