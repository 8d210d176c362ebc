import { byteOf, joinBytes } from "../bytes.ts";

/** Bytes of a function's configuration space by mechanism 1; by ECAM there is more, which is empty here. */
export const CONFIG_SIZE = 256;

/** Offsets in the header of type 0 (PCI Local Bus Specification 3.0, figure 6-1). */
export const HEADER = {
  VENDOR_ID: 0x00,
  DEVICE_ID: 0x02,
  COMMAND: 0x04,
  STATUS: 0x06,
  REVISION_ID: 0x08,
  CLASS_CODE: 0x09,
  CACHE_LINE_SIZE: 0x0c,
  LATENCY_TIMER: 0x0d,
  HEADER_TYPE: 0x0e,
  BAR: 0x10,
  BAR_END: 0x28,
  SUBSYSTEM_VENDOR_ID: 0x2c,
  SUBSYSTEM_ID: 0x2e,
  CAPABILITIES: 0x34,
  INTERRUPT_LINE: 0x3c,
  INTERRUPT_PIN: 0x3d,
  /** The first byte behind the header. */
  END: 0x40,
} as const;

/** A register of the configuration space. */
export interface ConfigRegister {
  /** Where it lies. */
  readonly offset: number;
  /** How many bytes it has. */
  readonly size: 1 | 2 | 3 | 4;
  /** What it holds after reset. */
  readonly value?: number;
  /** The bits that the guest may write. Default none. */
  readonly writable?: number;
  /** The bits that the guest clears by writing one. Default none. */
  readonly writeOneToClear?: number;
}

/** The configuration space of a function: bytes, with what of them the guest may write. What is not defined is zero. */
export class ConfigSpace {
  readonly #bytes = new Uint8Array(CONFIG_SIZE);
  readonly #afterReset = new Uint8Array(CONFIG_SIZE);
  readonly #writable = new Uint8Array(CONFIG_SIZE);
  readonly #clears = new Uint8Array(CONFIG_SIZE);

  /** Defines a register. */
  define({ offset, size, value = 0, writable = 0, writeOneToClear = 0 }: ConfigRegister): void {
    for (let index = 0; index < size; index++) {
      this.#bytes[offset + index] = this.#afterReset[offset + index] = byteOf(value, index);
      this.#writable[offset + index] = byteOf(writable, index);
      this.#clears[offset + index] = byteOf(writeOneToClear, index);
    }
  }

  /** What `size` bytes hold. */
  get(offset: number, size: number): number {
    return joinBytes(size, (index) => this.#bytes[offset + index] ?? 0);
  }

  /** Sets what `size` bytes hold, whatever of them the guest may write. */
  set(offset: number, size: number, value: number): void {
    for (let index = 0; index < size; index++) this.#bytes[offset + index] = byteOf(value, index);
  }

  /** Takes a write of the guest's. */
  write(offset: number, value: number, size: number): void {
    for (let at = offset; at < offset + size; at++) {
      const byte = byteOf(value, at - offset);
      const kept = this.#bytes[at] & ~this.#writable[at] & ~(byte & this.#clears[at]);
      this.#bytes[at] = kept | byte & this.#writable[at];
    }
  }

  /** Sets all registers to what they hold after reset. */
  reset(): void {
    this.#bytes.set(this.#afterReset);
  }

  /** A copy of all bytes. */
  save(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice();
  }

  /** Takes such a copy. */
  restore(bytes: Uint8Array): void {
    this.#bytes.set(bytes);
  }
}
