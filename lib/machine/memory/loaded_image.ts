import type { Image } from "../../guest/image.ts";
import { loadAddressOf } from "../../guest/image_parts.ts";
import { hex } from "../../x86/hex.ts";
import type { LinearMemory } from "./linear_memory.ts";
import type { BackedMemory } from "./physical_memory.ts";

/** A piece of an image, and where it lies. */
interface LoadedRange {
  /** The linear address that the guest's code has for it. */
  readonly linear: bigint;
  /** The guest physical address. */
  readonly physical: number;
  /** Bytes. */
  readonly size: number;
}

/** A guest in a machine's memory: where its labels are, whatever page tables it makes later. */
export class LoadedImage {
  readonly #image: Image;
  readonly #ranges: LoadedRange[] = [];

  /** An image that is still to be loaded. */
  constructor(image: Image) {
    this.#image = image;
  }

  /**
   * Writes the image into memory.
   *
   * @param at The physical address of its first byte; without it the page tables of `linear` put it where they map it.
   * @throws {RangeError} When it does not fit the machine's memory.
   */
  load(memory: BackedMemory, linear: LinearMemory, at: number | undefined): void {
    for (const segment of this.#image.segments) {
      const { bytes, size } = segment;
      const address = loadAddressOf(segment);
      try {
        checkSize(memory, size);
        const content = new Uint8Array(size);
        content.set(bytes);
        const ranges = at === undefined
          ? linear.ranges(address, size)
          : [{ start: 0, physical: at + this.#image.offsetOf(segment), length: size }];
        for (const { start, physical, length } of ranges) {
          memory.write(physical, content.subarray(start, start + length));
          this.#ranges.push({ linear: segment.address + BigInt(start), physical, size: length });
        }
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        const place = at === undefined
          ? `linear ${hex(address)}`
          : `physical ${hex(at + this.#image.offsetOf(segment))}`;
        throw new RangeError(
          `Cannot load ${size} bytes of the guest at ${place}: they do not fit the machine's memory. Give it more with ` +
            `the \`memory\` option, or load the guest elsewhere. ${error.message}`,
        );
      }
    }
  }

  /**
   * The physical address where a label was loaded, or the value of a constant.
   *
   * @throws {RangeError} When the guest defines no such name, or it is at no address of physical memory.
   */
  physicalOf(label: string): number {
    const value = this.#image.symbol(label);
    if (!this.#image.isConstant(label)) {
      // A label may stand behind the last byte.
      const range = [0, 1]
        .map((behind) => this.#find(value - BigInt(behind)))
        .find((found) => found !== undefined);
      if (range !== undefined) return range.physical + Number(value - range.linear);
    }
    if (value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
    throw new RangeError(
      `Cannot find ${label} in physical memory: it is at linear ${
        hex(value)
      }, where nothing was loaded; ` +
        "vm.linear takes it where the guest maps it",
    );
  }

  /** The physical address where what has a linear address in the image was loaded; undefined where nothing has it. */
  physicalAt(linear: bigint): number | undefined {
    const range = this.#find(linear);
    return range && range.physical + Number(linear - range.linear);
  }

  /** The byte that was loaded at a physical address; undefined where none was. */
  byteAt(physical: number): number | undefined {
    const range = this.#ranges.find((range) =>
      physical >= range.physical && physical < range.physical + range.size
    );
    if (range === undefined) return undefined;
    const linear = range.linear + BigInt(physical - range.physical);
    const segment = this.#image.segmentAt(linear)!;
    return segment.bytes[Number(linear - segment.address)];
  }

  #find(address: bigint): LoadedRange | undefined {
    return this.#ranges.find(({ linear, size }) =>
      address >= linear && address < linear + BigInt(size)
    );
  }
}

/** A damaged file may ask for any size: the host is to be asked for no more than the machine has. */
function checkSize({ slots }: BackedMemory, size: number): void {
  const total = slots.reduce((sum, slot) => sum + slot.size, 0);
  if (size > total) throw new RangeError(`The machine has ${total} bytes.`);
}
