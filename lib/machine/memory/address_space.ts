import type { Address } from "../../guest/address.ts";
import { atCaller } from "../../guest/call_site.ts";

const BYTE_BITS = 8;

/**
 * What may be written to memory: bytes, an array of byte values, or text, which is stored as UTF-8 without a
 * terminator.
 */
export type MemoryContent = Uint8Array | readonly number[] | string;

/** The buffers behind views of guest memory that were handed out. */
const LIVE = new WeakSet<ArrayBufferLike>();

/** Who hears of such views, by their buffer. */
const LISTENERS = new WeakMap<ArrayBufferLike, Set<(bytes: Uint8Array) => void>>();

/** Notes that bytes are guest memory itself, and no copy. */
export function liveBytes(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  LIVE.add(bytes.buffer);
  for (const listener of LISTENERS.get(bytes.buffer) ?? []) listener(bytes);
  return bytes;
}

/** Calls `listener` with each view of a buffer that is handed out, until what it returns is disposed. */
export function onLiveBytes(
  buffer: ArrayBufferLike,
  listener: (bytes: Uint8Array) => void,
): Disposable {
  let listeners = LISTENERS.get(buffer);
  if (listeners === undefined) LISTENERS.set(buffer, listeners = new Set());
  listeners.add(listener);
  return { [Symbol.dispose]: () => void listeners.delete(listener) };
}

/** Whether bytes are guest memory itself, which changes while the guest runs. */
export function areLive(bytes: Uint8Array): boolean {
  return LIVE.has(bytes.buffer);
}

/**
 * Guest memory seen through one kind of address: physical ({@linkcode PhysicalMemory}) or linear ({@linkcode
 * LinearMemory}). A label of the guest serves wherever an address does. All integers are little-endian, as on x86.
 *
 * Every method throws a `RangeError` that names the slots there are, or the page-table entry that is missing, when an
 * address has no memory behind it. Its stack begins at the line that called.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   mov dword [0x800], 0x12345678
 *   hlt
 * `);
 * vm.run();
 * console.log(vm.memory.u32(0x800).toString(16)); // 12345678
 * ```
 */
export abstract class AddressSpace<Own extends number | bigint = number | bigint> {
  /** Fills `target` from `address` on. */
  protected abstract load(address: Own, target: Uint8Array): void;
  /** Stores `bytes` from `address` on. */
  protected abstract store(address: Own, bytes: Uint8Array): void;

  /**
   * The address that a label has here; an address as it is.
   *
   * @throws {RangeError} When the guest defines no such label (the message has the nearest), or it is no address.
   */
  abstract addressOf(where: Address): Own;

  /** A copy of `length` bytes from `address` on. */
  read(address: Address, length: number): Uint8Array<ArrayBuffer> {
    return atCaller(this.read, () => {
      if (!Number.isSafeInteger(length) || length < 0) {
        throw new RangeError(`Cannot read ${length} bytes: it is not a count of bytes`);
      }
      const bytes = new Uint8Array(length);
      this.load(this.addressOf(address), bytes);
      return bytes;
    });
  }

  /** Stores `content` from `address` on. */
  write(address: Address, content: MemoryContent): void {
    return atCaller(this.write, () => this.store(this.addressOf(address), contentBytes(content)));
  }

  /** The byte at `address`. */
  u8(address: Address): number {
    return atCaller(this.u8, () => this.#number(address, 1));
  }

  /** The 16-bit integer at `address`. */
  u16(address: Address): number {
    return atCaller(this.u16, () => this.#number(address, 2));
  }

  /** The 32-bit integer at `address`. */
  u32(address: Address): number {
    return atCaller(this.u32, () => this.#number(address, 4));
  }

  /** The 64-bit integer at `address`. */
  u64(address: Address): bigint {
    return atCaller(
      this.u64,
      () => new DataView(this.read(address, 8).buffer).getBigUint64(0, true),
    );
  }

  /** Stores a byte. */
  setU8(address: Address, value: number): void {
    return atCaller(this.setU8, () => this.#setInteger(address, 1, value));
  }

  /** Stores a 16-bit integer. */
  setU16(address: Address, value: number): void {
    return atCaller(this.setU16, () => this.#setInteger(address, 2, value));
  }

  /** Stores a 32-bit integer. */
  setU32(address: Address, value: number): void {
    return atCaller(this.setU32, () => this.#setInteger(address, 4, value));
  }

  /** Stores a 64-bit integer. */
  setU64(address: Address, value: bigint): void {
    return atCaller(this.setU64, () => this.#setInteger(address, 8, value));
  }

  /**
   * The UTF-8 text of `length` bytes at `address`, or, where `length` is left out, the text up to the first
   * NUL.
   */
  string(address: Address, length?: number): string {
    return atCaller(this.string, () => {
      if (length !== undefined) return new TextDecoder().decode(this.read(address, length));
      const bytes: number[] = [];
      const start = this.addressOf(address);
      for (let offset = 0;; offset++) {
        const byte = this.u8(addressAfter(start, offset));
        if (byte === 0) return new TextDecoder().decode(new Uint8Array(bytes));
        bytes.push(byte);
      }
    });
  }

  #number(address: Address, size: 1 | 2 | 4): number {
    let value = 0;
    this.read(address, size).forEach((byte, index) => value += byte * 2 ** (BYTE_BITS * index));
    return value;
  }

  #setInteger(address: Address, size: number, value: number | bigint): void {
    const integer = toInteger(value);
    const bits = BYTE_BITS * size;
    if (integer === undefined || BigInt.asUintN(bits, integer) !== integer) {
      throw new RangeError(
        `Cannot store ${value} as ${bits} bits: it is not a whole number from 0 to 2^${bits} - 1`,
      );
    }
    const view = new DataView(new ArrayBuffer(8));
    view.setBigUint64(0, integer, true);
    this.store(this.addressOf(address), new Uint8Array(view.buffer, 0, size));
  }
}

/** The address `by` bytes behind `address`, of its own type. */
export function addressAfter<Own extends number | bigint>(address: Own, by: number): Own {
  const after = typeof address === "bigint" ? address + BigInt(by) : Number(address) + by;
  return after as Own;
}

/**
 * {@linkcode MemoryContent} as bytes.
 *
 * @throws {RangeError} When a number in a list is not a byte.
 * @throws {TypeError} When it is no content, or a list holds something else than numbers.
 */
export function contentBytes(content: MemoryContent): Uint8Array {
  if (typeof content === "string") {
    if (content.isWellFormed()) return new TextEncoder().encode(content);
    throw new TypeError(
      `Cannot take ${
        JSON.stringify(content)
      } as bytes: it has half of a surrogate pair, which is no character. Give the ` +
        "bytes themselves.",
    );
  }
  if (content instanceof Uint8Array) return content;
  if (!Array.isArray(content)) {
    throw new TypeError(
      `Cannot take ${
        Object.prototype.toString.call(content)
      } as bytes: give a Uint8Array, a list of byte values or text`,
    );
  }
  return Uint8Array.from(content, (byte, index) => {
    if (typeof byte !== "number") {
      throw new TypeError(
        `Cannot store ${
          typeof byte === "string" ? JSON.stringify(byte) : String(byte)
        } as a byte: element ${index} is ` +
          `a ${typeof byte}; give a number`,
      );
    }
    if (!Number.isInteger(byte) || byte < 0 || byte > 0xff) {
      throw new RangeError(`Cannot store ${byte} as a byte: element ${index} is not from 0 to 255`);
    }
    return byte;
  });
}

function toInteger(value: number | bigint): bigint | undefined {
  if (typeof value === "bigint") return value;
  return Number.isSafeInteger(value) ? BigInt(value) : undefined;
}
