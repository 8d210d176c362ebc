import type { ConfigRegister, ConfigSpace } from "./config_space.ts";

/** The capability ID of MSI. */
const MSI_ID = 0x05;

/** Offsets within the capability with 64 bits and masking (PCI Local Bus Specification 3.0, 6.8.1). */
const OFFSET = {
  CONTROL: 2,
  ADDRESS: 4,
  ADDRESS_HIGH: 8,
  DATA: 12,
  MASK: 16,
  PENDING: 20,
} as const;

/** How many bytes it has. */
export const MSI_SIZE = 24;

const CONTROL = {
  ENABLE: 0x0001,
  CAPABLE_SHIFT: 1,
  ENABLED_SHIFT: 4,
  ENABLED: 0x0070,
  ADDRESS_64: 0x0080,
  MASKING: 0x0100,
} as const;

/** The MSI capability of a function: up to 32 messages, whose last bits are the vector. */
export class Msi {
  readonly #config: ConfigSpace;
  readonly #offset: number;
  readonly #send: (address: bigint, data: number) => void;
  readonly #vectors: number;

  /**
   * A capability at `offset`.
   *
   * @param vectors 1, 2, 4, 8, 16 or 32.
   * @param send Writes a message.
   */
  constructor(
    config: ConfigSpace,
    offset: number,
    next: number,
    vectors: number,
    send: (address: bigint, data: number) => void,
  ) {
    this.#config = config;
    this.#offset = offset;
    this.#send = send;
    this.#vectors = vectors;
    const all = vectors === 32 ? 0xffff_ffff : 2 ** vectors - 1;
    const capable = Math.log2(vectors) << CONTROL.CAPABLE_SHIFT;
    const registers: ConfigRegister[] = [
      { offset, size: 2, value: MSI_ID | next << 8 },
      {
        offset: offset + OFFSET.CONTROL,
        size: 2,
        value: capable | CONTROL.ADDRESS_64 | CONTROL.MASKING,
        writable: CONTROL.ENABLE | CONTROL.ENABLED,
      },
      { offset: offset + OFFSET.ADDRESS, size: 4, writable: 0xffff_fffc },
      { offset: offset + OFFSET.ADDRESS_HIGH, size: 4, writable: 0xffff_ffff },
      { offset: offset + OFFSET.DATA, size: 2, writable: 0xffff },
      { offset: offset + OFFSET.MASK, size: 4, writable: all },
      { offset: offset + OFFSET.PENDING, size: 4 },
    ];
    for (const register of registers) config.define(register);
  }

  /** Whether the function interrupts by it. */
  get isEnabled(): boolean {
    return (this.#get(OFFSET.CONTROL, 2) & CONTROL.ENABLE) !== 0;
  }

  /** Sends the message of a vector, or notes it where that is masked. */
  signal(vector: number): void {
    const enabled = 1 << ((this.#get(OFFSET.CONTROL, 2) & CONTROL.ENABLED) >>
      CONTROL.ENABLED_SHIFT);
    // A function that was given fewer messages than it asked for shares them.
    const count = Math.min(enabled, this.#vectors);
    const which = vector % count;
    if ((this.#get(OFFSET.MASK, 4) >>> which & 1) !== 0) {
      const pending = (this.#get(OFFSET.PENDING, 4) | 1 << which) >>> 0;
      this.#config.set(this.#offset + OFFSET.PENDING, 4, pending);
      return;
    }
    const data = this.#get(OFFSET.DATA, 2) & ~(count - 1) | which;
    const high = BigInt(this.#get(OFFSET.ADDRESS_HIGH, 4));
    this.#send(high << 32n | BigInt(this.#get(OFFSET.ADDRESS, 4)), data);
  }

  /** Sends what was pending and is masked no more. To be called after a write to the configuration space. */
  written(): void {
    if (!this.isEnabled) return;
    const pending = this.#get(OFFSET.PENDING, 4);
    const due = (pending & ~this.#get(OFFSET.MASK, 4)) >>> 0;
    if (due === 0) return;
    this.#config.set(this.#offset + OFFSET.PENDING, 4, (pending & ~due) >>> 0);
    for (let vector = 0; vector < this.#vectors; vector++) {
      if ((due >>> vector & 1) !== 0) this.signal(vector);
    }
  }

  #get(offset: number, size: number): number {
    return this.#config.get(this.#offset + offset, size);
  }
}
