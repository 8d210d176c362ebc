import { type DeviceMemory, legacyLayout, type VirtqueueLayout } from "@vmexit/vmexit/devices";

/** A descriptor as a driver writes it. */
export interface Descriptor {
  readonly address: number | bigint;
  readonly length: number;
  readonly flags?: number;
  readonly next?: number;
}

export const NEXT = 1;
export const WRITE = 2;
export const INDIRECT = 4;

/** Memory of `size` bytes at 0, and nothing elsewhere. */
export function memoryOf(size: number): DeviceMemory & { readonly view: DataView } {
  const bytes = new Uint8Array(size);
  const check = (gpa: number, length: number) => {
    if (gpa + length > size) throw new RangeError(`no memory is at ${gpa}`);
  };
  return {
    view: new DataView(bytes.buffer),
    read: (gpa, length) => (check(gpa, length), bytes.slice(gpa, gpa + length)),
    write: (gpa, content) => (check(gpa, content.length), bytes.set(content, gpa)),
  };
}

/** The driver's side of a queue: it makes buffers available, and sees what was used. */
export class DriverQueue {
  readonly layout: VirtqueueLayout;
  readonly #memory: DeviceMemory;
  #available = 0;

  /** A queue in the legacy layout at an address. */
  constructor(memory: DeviceMemory, address: number, size: number) {
    this.#memory = memory;
    this.layout = legacyLayout(BigInt(address), size, 4096);
  }

  /** Writes a descriptor, of the queue's table or of another. */
  describe(
    index: number,
    { address, length, flags = 0, next = 0 }: Descriptor,
    table: number = Number(this.layout.descriptors),
  ): void {
    const view = new DataView(new ArrayBuffer(16));
    view.setBigUint64(0, BigInt(address), true);
    view.setUint32(8, length, true);
    view.setUint16(12, flags, true);
    view.setUint16(14, next, true);
    this.#memory.write(table + index * 16, new Uint8Array(view.buffer));
  }

  /** Writes a chain of descriptors from `first` on, and makes it available. */
  add(descriptors: readonly Descriptor[], first = 0): void {
    descriptors.forEach((each, at) => {
      const isLast = at === descriptors.length - 1;
      const flags = (each.flags ?? 0) | (isLast ? 0 : NEXT);
      this.describe(first + at, { ...each, flags, next: first + at + 1 });
    });
    this.makeAvailable(first);
  }

  /** Puts a descriptor's index into the available ring. */
  makeAvailable(head: number): void {
    const { available, size } = this.layout;
    this.#store(Number(available) + 4 + 2 * (this.#available % size), head);
    this.index = this.#available + 1;
  }

  /** The index of the available ring. */
  set index(value: number) {
    this.#available = value & 0xffff;
    this.#store(Number(this.layout.available) + 2, this.#available);
  }

  /** The flags of the available ring. */
  set flags(value: number) {
    this.#store(Number(this.layout.available), value);
  }

  /** Behind which used buffer the driver wants an interrupt. */
  set usedEvent(value: number) {
    const { available, size } = this.layout;
    this.#store(Number(available) + 4 + 2 * size, value);
  }

  /** Behind which available buffer the device wants a notification. */
  get availableEvent(): number {
    const { used, size } = this.layout;
    return this.#load(Number(used) + 4 + 8 * size);
  }

  /** The index of the used ring. */
  get usedIndex(): number {
    return this.#load(Number(this.layout.used) + 2);
  }

  /** An entry of the used ring. */
  used(index: number): [id: number, length: number] {
    const { used, size } = this.layout;
    const bytes = this.#memory.read(Number(used) + 4 + 8 * (index % size), 8);
    const view = new DataView(bytes.buffer);
    return [view.getUint32(0, true), view.getUint32(4, true)];
  }

  #load(address: number): number {
    return new DataView(this.#memory.read(address, 2).buffer).getUint16(0, true);
  }

  #store(address: number, value: number): void {
    this.#memory.write(address, Uint8Array.of(value & 0xff, value >> 8 & 0xff));
  }
}
