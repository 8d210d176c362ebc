import { byteOf, joinBytes } from "../bytes.ts";
import type { ConfigSpace } from "./config_space.ts";

/** The capability ID of MSI-X. */
const MSIX_ID = 0x11;

/** Offsets within the capability (PCI Local Bus Specification 3.0, 6.8.2). */
const OFFSET = { CONTROL: 2, TABLE: 4, PENDING: 8 } as const;

/** How many bytes it has. */
export const MSIX_SIZE = 12;

const CONTROL = { FUNCTION_MASK: 0x4000, ENABLE: 0x8000 } as const;

/** An entry of the table: address, upper address, data, vector control. */
const ENTRY = { SIZE: 16, DATA: 8, CONTROL: 12 } as const;
const MASKED = 0x01;
const MAXIMUM_VECTORS = 2048;
const PAGE = 4096;

/** The MSI-X capability of a function, with its table at the start of a BAR of its own, and the pending bits behind. */
export class Msix {
  /** Size of its BAR. */
  readonly size: number;
  readonly #config: ConfigSpace;
  readonly #offset: number;
  readonly #send: (address: bigint, data: number) => void;
  readonly #table: Uint8Array<ArrayBuffer>;
  readonly #pending: Uint8Array<ArrayBuffer>;
  readonly #pendingOffset: number;

  /**
   * A capability at `offset`.
   *
   * @param vectors 1 to 2048.
   * @param bar The number of its BAR.
   * @param send Writes a message.
   * @throws {RangeError} When there cannot be so many vectors.
   */
  constructor(
    config: ConfigSpace,
    offset: number,
    next: number,
    { vectors, bar }: { readonly vectors: number; readonly bar: number },
    send: (address: bigint, data: number) => void,
  ) {
    if (!Number.isSafeInteger(vectors) || vectors < 1 || vectors > MAXIMUM_VECTORS) {
      throw new RangeError(
        `Cannot make MSI-X of ${vectors} vectors: there are 1 to ${MAXIMUM_VECTORS}`,
      );
    }
    this.#config = config;
    this.#offset = offset;
    this.#send = send;
    this.#table = new Uint8Array(vectors * ENTRY.SIZE);
    // Pending bits are read by quadwords.
    this.#pending = new Uint8Array(Math.ceil(vectors / 64) * 8);
    this.size = Math.max(PAGE, 2 ** Math.ceil(Math.log2(2 * this.#table.length)));
    this.#pendingOffset = this.size / 2;
    config.define({ offset, size: 2, value: MSIX_ID | next << 8 });
    config.define({
      offset: offset + OFFSET.CONTROL,
      size: 2,
      value: vectors - 1,
      writable: CONTROL.FUNCTION_MASK | CONTROL.ENABLE,
    });
    config.define({ offset: offset + OFFSET.TABLE, size: 4, value: bar });
    config.define({ offset: offset + OFFSET.PENDING, size: 4, value: this.#pendingOffset | bar });
    this.reset();
  }

  /** Whether the function interrupts by it. */
  get isEnabled(): boolean {
    return (this.#control & CONTROL.ENABLE) !== 0;
  }

  /** How many vectors there are. */
  get vectors(): number {
    return this.#table.length / ENTRY.SIZE;
  }

  get #control(): number {
    return this.#config.get(this.#offset + OFFSET.CONTROL, 2);
  }

  /** All vectors masked. */
  reset(): void {
    this.#table.fill(0);
    for (let at = ENTRY.CONTROL; at < this.#table.length; at += ENTRY.SIZE) {
      this.#table[at] = MASKED;
    }
    this.#pending.fill(0);
  }

  /** Sends the message of a vector, or notes it where that is masked. A vector that there is not sends nothing. */
  signal(vector: number): void {
    if (vector >= this.vectors) return;
    const entry = new DataView(this.#table.buffer, vector * ENTRY.SIZE, ENTRY.SIZE);
    const isMasked = (entry.getUint8(ENTRY.CONTROL) & MASKED) !== 0;
    if (isMasked || (this.#control & CONTROL.FUNCTION_MASK) !== 0) {
      this.#pending[vector >> 3] |= 1 << (vector & 7);
      return;
    }
    this.#send(entry.getBigUint64(0, true) & ~3n, entry.getUint32(ENTRY.DATA, true));
  }

  /** Sends what was pending and is masked no more. To be called after a write to the configuration space. */
  written(): void {
    if (!this.isEnabled || this.#pending.every((byte) => byte === 0)) return;
    for (let vector = 0; vector < this.vectors; vector++) {
      const bit = 1 << (vector & 7);
      if ((this.#pending[vector >> 3] & bit) === 0) continue;
      this.#pending[vector >> 3] &= ~bit;
      this.signal(vector);
    }
  }

  /** Answers a read of its BAR. */
  read(offset: number, size: number): number | bigint {
    const byteAt = (index: number) => {
      const at = offset + index;
      return this.#table[at] ?? this.#pending[at - this.#pendingOffset] ?? 0;
    };
    if (size <= 4) return joinBytes(size, byteAt);
    const high = BigInt(joinBytes(size - 4, (index) => byteAt(4 + index)));
    return high << 32n | BigInt(joinBytes(4, byteAt));
  }

  /** Takes a write to its BAR. Pending bits are read-only. */
  write(offset: number, value: number | bigint, size: number): void {
    const bits = BigInt(value);
    for (let index = 0; index < size && offset + index < this.#table.length; index++) {
      const half = Number(bits >> BigInt(index < 4 ? 0 : 32) & 0xffff_ffffn);
      this.#table[offset + index] = byteOf(half, index & 3);
    }
    this.written();
  }

  /** Its state. */
  save(): { table: Uint8Array<ArrayBuffer>; pending: Uint8Array<ArrayBuffer> } {
    return { table: this.#table.slice(), pending: this.#pending.slice() };
  }

  /** Takes such a state. */
  restore({ table, pending }: { readonly table: Uint8Array; readonly pending: Uint8Array }): void {
    this.#table.set(table);
    this.#pending.set(pending);
  }
}
