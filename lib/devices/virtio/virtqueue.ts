import type { DeviceMemory } from "../device.ts";
import { dmaRead, dmaWrite } from "../dma.ts";

/** A descriptor (virtio 1.2, 2.7.5): address, length, flags, next. */
const DESCRIPTOR = { SIZE: 16, LENGTH: 8, FLAGS: 12, NEXT: 14 } as const;
const FLAG = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;

/** The rings (2.7.6, 2.7.8): flags, index, then the entries; behind them the other side's event index. */
const RING = { INDEX: 2, ENTRIES: 4, AVAILABLE_ENTRY: 2, USED_ENTRY: 8 } as const;
const NO_INTERRUPT = 1;

const INDEX_MASK = 0xffff;

/** The largest queue of the split format (2.7). */
const MAXIMUM_SIZE = 32768;

/** The longest chain in bytes (2.7.5.3.1): more would be a loop. */
const MAXIMUM_BYTES = 2 ** 32;

/** Where the parts of a queue lie, and how many descriptors it has. */
export interface VirtqueueLayout {
  /** How many descriptors: a power of two, up to 32768. */
  readonly size: number;
  /** The descriptor table. */
  readonly descriptors: bigint;
  /** The available ring ("driver area"). */
  readonly available: bigint;
  /** The used ring ("device area"). */
  readonly used: bigint;
}

/**
 * The layout of legacy devices (2.7.2): the three parts behind each other, the used ring aligned.
 *
 * @param align A power of two: 4096 by PCI.
 */
export function legacyLayout(address: bigint, size: number, align: number): VirtqueueLayout {
  const available = address + BigInt(DESCRIPTOR.SIZE * size);
  const end = available + BigInt(RING.ENTRIES + RING.AVAILABLE_ENTRY * (size + 1));
  const mask = BigInt(align) - 1n;
  return { size, descriptors: address, available, used: (end + mask) & ~mask };
}

/** What the driver has negotiated for its queues. */
export interface VirtqueueFeatures {
  /** VIRTIO_F_INDIRECT_DESC. */
  readonly indirect: boolean;
  /** VIRTIO_F_EVENT_IDX. */
  readonly eventIndex: boolean;
}

/** What the driver has done to a queue is against the specification: the device needs a reset. */
export class VirtqueueError extends Error {
  /** See the class. */
  override readonly name = "VirtqueueError";
}

/** A piece of guest memory. */
interface Segment {
  readonly address: bigint;
  readonly length: number;
}

/** A buffer that the driver has made available: what the device reads, and behind that what it writes. */
export class VirtqueueBuffer {
  /** The index of its first descriptor, by which it is given back. */
  readonly head: number;
  readonly #memory: DeviceMemory;
  readonly #readable: readonly Segment[];
  readonly #writable: readonly Segment[];

  /** A buffer of these pieces. */
  constructor(
    memory: DeviceMemory,
    head: number,
    readable: readonly Segment[],
    writable: readonly Segment[],
  ) {
    this.#memory = memory;
    this.head = head;
    this.#readable = readable;
    this.#writable = writable;
  }

  /** How many bytes there are to read. */
  get readableLength(): number {
    return this.#readable.reduce((sum, { length }) => sum + length, 0);
  }

  /** How many bytes there is room for. */
  get writableLength(): number {
    return this.#writable.reduce((sum, { length }) => sum + length, 0);
  }

  /**
   * Copies bytes that the driver has put in: up to `length`, fewer where it ends.
   *
   * @throws {VirtqueueError} When there is no memory.
   */
  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    const parts = partsOf(this.#readable, offset, length);
    const pieces = parts.map(({ address, length }) => {
      return dmaRead(this.#memory, address, length) ?? refuse(address, length);
    });
    const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    pieces.reduce((at, piece) => (bytes.set(piece, at), at + piece.length), 0);
    return bytes;
  }

  /**
   * Writes bytes for the driver: as many as there is room for.
   *
   * @throws {VirtqueueError} When there is no memory.
   */
  write(offset: number, bytes: Uint8Array): void {
    let done = 0;
    for (const { address, length } of partsOf(this.#writable, offset, bytes.length)) {
      const isWritten = dmaWrite(this.#memory, address, bytes.subarray(done, done + length));
      if (!isWritten) refuse(address, length);
      done += length;
    }
  }
}

function partsOf(segments: readonly Segment[], offset: number, length: number): Segment[] {
  const parts: Segment[] = [];
  let start = 0;
  for (const segment of segments) {
    const first = Math.max(offset, start);
    const end = Math.min(offset + length, start + segment.length);
    if (first < end) {
      parts.push({ address: segment.address + BigInt(first - start), length: end - first });
    }
    start += segment.length;
  }
  return parts;
}

function refuse(address: bigint, length: number): never {
  throw new VirtqueueError(`no memory is at ${hexOf(address)}, of ${length} bytes`);
}

function hexOf(address: bigint): string {
  return `0x${address.toString(16)}`;
}

/**
 * The device's side of a virtqueue in the split format (virtio 1.2, 2.7), over guest memory: indirect descriptors, both
 * kinds of event suppression, and the layout of legacy devices. What the specification forbids the driver it refuses.
 *
 * Left out: the packed format, in-order use.
 */
export class Virtqueue {
  readonly #memory: DeviceMemory;
  readonly #layout: VirtqueueLayout;
  readonly #features: VirtqueueFeatures;
  /** How many buffers were taken and given back, modulo 2^16; and given back when the driver was last notified. */
  #taken = 0;
  #given = 0;
  #notified = 0;

  /**
   * A queue from which nothing was taken.
   *
   * @throws {VirtqueueError} When its size is none.
   */
  constructor(memory: DeviceMemory, layout: VirtqueueLayout, features: VirtqueueFeatures) {
    const { size } = layout;
    if (size < 1 || size > MAXIMUM_SIZE || (size & (size - 1)) !== 0) {
      throw new VirtqueueError(`a queue has a power of two of descriptors, and not ${size}`);
    }
    this.#memory = memory;
    this.#layout = layout;
    this.#features = features;
  }

  /**
   * The next buffer that the driver has made available, if there is one.
   *
   * @throws {VirtqueueError} When the driver has done what it must not.
   */
  take(): VirtqueueBuffer | undefined {
    const { available, used, size } = this.#layout;
    const index = this.#number(available + BigInt(RING.INDEX), 2);
    if (index === this.#taken) return undefined;
    if (((index - this.#taken) & INDEX_MASK) > size) {
      throw new VirtqueueError(
        `the index of the available ring is ${index}, more than ${size} beyond ${this.#taken}`,
      );
    }
    const entry = RING.ENTRIES + RING.AVAILABLE_ENTRY * (this.#taken % size);
    const head = this.#number(available + BigInt(entry), 2);
    this.#taken = (this.#taken + 1) & INDEX_MASK;
    if (this.#features.eventIndex) {
      // The driver is to notify of the next one, whichever that is.
      this.#store(used + BigInt(RING.ENTRIES + RING.USED_ENTRY * size), 2, this.#taken);
    }
    return this.#walk(head);
  }

  /**
   * Gives a buffer back to the driver.
   *
   * @param written How many bytes were written to it, from its beginning on.
   * @throws {VirtqueueError} When there is no memory.
   */
  give({ head }: VirtqueueBuffer, written: number): void {
    const { used, size } = this.#layout;
    const entry = used + BigInt(RING.ENTRIES + RING.USED_ENTRY * (this.#given % size));
    this.#store(entry, 4, head);
    this.#store(entry + 4n, 4, written);
    this.#given = (this.#given + 1) & INDEX_MASK;
    this.#store(used + BigInt(RING.INDEX), 2, this.#given);
  }

  /**
   * Whether the driver wants to be interrupted for what was given back since this was asked last.
   *
   * @throws {VirtqueueError} When there is no memory.
   */
  wantsInterrupt(): boolean {
    const { available, size } = this.#layout;
    const count = (this.#given - this.#notified) & INDEX_MASK;
    this.#notified = this.#given;
    if (count === 0) return false;
    if (!this.#features.eventIndex) return (this.#number(available, 2) & NO_INTERRUPT) === 0;
    const event = available + BigInt(RING.ENTRIES + RING.AVAILABLE_ENTRY * size);
    return ((this.#given - this.#number(event, 2) - 1) & INDEX_MASK) < count;
  }

  /** Its state. */
  save(): readonly [taken: number, given: number, notified: number] {
    return [this.#taken, this.#given, this.#notified];
  }

  /** Takes such a state. */
  restore([taken, given, notified]: ReturnType<Virtqueue["save"]>): void {
    this.#taken = taken;
    this.#given = given;
    this.#notified = notified;
  }

  #walk(head: number): VirtqueueBuffer {
    const { size } = this.#layout;
    const readable: Segment[] = [];
    const writable: Segment[] = [];
    let table = { address: this.#layout.descriptors, count: size, isIndirect: false };
    let bytes = 0;
    let index = head;
    for (let length = 0;; length++) {
      if (index >= table.count) {
        throw new VirtqueueError(`descriptor ${index} is none of ${table.count}`);
      }
      if (length === size) {
        throw new VirtqueueError(`the chain from descriptor ${head} on is longer than the queue`);
      }
      const { address, flags, next, ...segment } = this.#descriptor(table.address, index);
      if ((flags & FLAG.INDIRECT) !== 0) {
        table = this.#indirect(index, flags, address, segment.length, table.isIndirect);
        index = 0;
        // It stands for what is in it.
        length--;
        continue;
      }
      bytes += segment.length;
      if (bytes > MAXIMUM_BYTES) {
        throw new VirtqueueError(`the chain from descriptor ${head} on has more than 4 GiB`);
      }
      if ((flags & FLAG.WRITE) !== 0) writable.push({ address, length: segment.length });
      else if (writable.length === 0) readable.push({ address, length: segment.length });
      else {
        throw new VirtqueueError(`descriptor ${index} is to be read, behind one to be written`);
      }
      if ((flags & FLAG.NEXT) === 0) break;
      index = next;
    }
    return new VirtqueueBuffer(this.#memory, head, readable, writable);
  }

  #descriptor(table: bigint, index: number) {
    const view = this.#view(table + BigInt(DESCRIPTOR.SIZE * index), DESCRIPTOR.SIZE);
    return {
      address: view.getBigUint64(0, true),
      length: view.getUint32(DESCRIPTOR.LENGTH, true),
      flags: view.getUint16(DESCRIPTOR.FLAGS, true),
      next: view.getUint16(DESCRIPTOR.NEXT, true),
    };
  }

  #indirect(index: number, flags: number, address: bigint, length: number, isNested: boolean) {
    const why = !this.#features.indirect
      ? "VIRTIO_F_INDIRECT_DESC was not negotiated"
      : isNested
      ? "it is in an indirect table itself"
      : (flags & FLAG.NEXT) !== 0
      ? "it has a next one, too"
      : length === 0 || length % DESCRIPTOR.SIZE !== 0
      ? `its table has ${length} bytes`
      : undefined;
    if (why !== undefined) {
      throw new VirtqueueError(`descriptor ${index} cannot be indirect: ${why}`);
    }
    return { address, count: length / DESCRIPTOR.SIZE, isIndirect: true };
  }

  #view(address: bigint, length: number): DataView<ArrayBuffer> {
    const bytes = dmaRead(this.#memory, address, length) ?? refuse(address, length);
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  #number(address: bigint, size: 2): number {
    return this.#view(address, size).getUint16(0, true);
  }

  #store(address: bigint, size: 2 | 4, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    if (!dmaWrite(this.#memory, address, bytes.subarray(0, size))) refuse(address, size);
  }
}
