/** Bytes of a sector of a {@linkcode Disk}. */
export const SECTOR_SIZE = 512;

interface State {
  readonly written: readonly number[];
  /** Of these sectors, one behind the other. */
  readonly content: Uint8Array;
  readonly badSectors: readonly number[];
}

/**
 * A disk in the test's memory, for whatever controller is on the board. What the guest writes stays there: no file is
 * touched.
 *
 * @example
 * ```ts
 * import { Disk } from "@vmexit/vmexit/devices";
 * import { assertEquals } from "@std/assert";
 *
 * const disk = new Disk(new TextEncoder().encode("label"));
 * assertEquals(disk.sectors, 1);
 * disk.write(0, new Uint8Array(512));
 * assertEquals(disk.written, [0]);
 * assertEquals(disk.bytes[0], 0);
 * ```
 */
export class Disk {
  /** What is on it, at present. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** How many sectors of 512 bytes it has. */
  readonly sectors: number;
  /** Whether it refuses writes. */
  readonly readonly: boolean;
  /** Sectors that can be neither read nor written: a controller reports them as its specification says. */
  readonly badSectors: Set<number> = new Set();
  /** What was in the sectors that were written since, in the order in which they first were. */
  #originals = new Map<number, Uint8Array>();

  /**
   * A disk.
   *
   * @param content Its bytes, which are copied; a last sector that is not whole is filled with zeros. Or its size in
   *   bytes, for one of zeros.
   * @throws {RangeError} When it would be empty, or the size is no whole number.
   */
  constructor(content: Uint8Array | number, options: { readonly readonly?: boolean } = {}) {
    const size = typeof content === "number" ? content : content.length;
    if (!Number.isSafeInteger(size) || size <= 0) {
      throw new RangeError(
        `Cannot make a disk of ${size} bytes: it has a whole number of them, and one at least`,
      );
    }
    this.sectors = Math.ceil(size / SECTOR_SIZE);
    this.bytes = new Uint8Array(this.sectors * SECTOR_SIZE);
    if (typeof content !== "number") this.bytes.set(content);
    this.readonly = options.readonly ?? false;
  }

  /** The sectors that were written, by LBA: each once, in the order in which they first were. */
  get written(): number[] {
    return [...this.#originals.keys()];
  }

  /** Whether all of `count` sectors from `lba` on are on the disk. */
  has(lba: number, count: number): boolean {
    return lba >= 0 && count >= 0 && lba + count <= this.sectors;
  }

  /** The first of `count` sectors from `lba` on that cannot be read or written, if one cannot. */
  firstBad(lba: number, count: number): number | undefined {
    if (this.badSectors.size === 0) return undefined;
    for (let each = lba; each < lba + count; each++) {
      if (this.badSectors.has(each)) return each;
    }
    return undefined;
  }

  /**
   * A copy of `count` sectors from `lba` on.
   *
   * @throws {RangeError} When they are not all on the disk.
   */
  read(lba: number, count: number): Uint8Array<ArrayBuffer> {
    this.#check("read", lba, count);
    return this.bytes.slice(lba * SECTOR_SIZE, (lba + count) * SECTOR_SIZE);
  }

  /**
   * Writes whole sectors from `lba` on.
   *
   * @throws {RangeError} When they are not all on the disk, are not whole, or it refuses writes.
   */
  write(lba: number, bytes: Uint8Array): void {
    const count = bytes.length / SECTOR_SIZE;
    this.#check("write", lba, count);
    if (this.readonly) throw new RangeError("Cannot write to the disk: it was made `readonly`");
    for (let each = lba; each < lba + count; each++) this.#keepOriginal(each);
    this.bytes.set(bytes, lba * SECTOR_SIZE);
  }

  /**
   * What distinguishes it from the disk that it was made as, for a snapshot: the sectors that the guest has written. Bytes
   * that the test has changed in {@linkcode Disk.bytes} are no part of it.
   */
  save(): unknown {
    const { written } = this;
    const content = new Uint8Array(written.length * SECTOR_SIZE);
    for (const [index, lba] of written.entries()) {
      content.set(this.read(lba, 1), index * SECTOR_SIZE);
    }
    return { written, content, badSectors: [...this.badSectors] } satisfies State;
  }

  /** Takes a state that {@linkcode Disk.save} gave: this disk's, or that of another one with the same content. */
  restore(state: unknown): void {
    const { written, content, badSectors } = state as State;
    for (const [lba, original] of this.#originals) this.bytes.set(original, lba * SECTOR_SIZE);
    this.#originals = new Map();
    for (const [index, lba] of written.entries()) {
      this.#keepOriginal(lba);
      const start = index * SECTOR_SIZE;
      this.bytes.set(content.subarray(start, start + SECTOR_SIZE), lba * SECTOR_SIZE);
    }
    this.badSectors.clear();
    for (const lba of badSectors) this.badSectors.add(lba);
  }

  #keepOriginal(lba: number): void {
    if (!this.#originals.has(lba)) this.#originals.set(lba, this.read(lba, 1));
  }

  #check(verb: string, lba: number, count: number): void {
    if (Number.isSafeInteger(lba) && Number.isSafeInteger(count) && this.has(lba, count)) return;
    throw new RangeError(
      `Cannot ${verb} ${count} sectors from ${lba} on: the disk has sectors 0 to ${
        this.sectors - 1
      }, whole ones`,
    );
  }
}
