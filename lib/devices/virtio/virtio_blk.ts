import { type Disk, SECTOR_SIZE } from "../disk.ts";
import { VirtioDevice } from "./virtio_device.ts";
import { type Virtqueue, type VirtqueueBuffer, VirtqueueError } from "./virtqueue.ts";

/** Features (virtio 1.2, 5.2.3). */
const FEATURE = {
  SEG_MAX: 1n << 2n,
  GEOMETRY: 1n << 4n,
  RO: 1n << 5n,
  BLK_SIZE: 1n << 6n,
  FLUSH: 1n << 9n,
} as const;

/** The configuration (5.2.4). */
const CONFIGURATION = {
  CAPACITY: 0,
  SEG_MAX: 12,
  CYLINDERS: 16,
  HEADS: 18,
  SECTORS: 19,
  BLK_SIZE: 20,
  SIZE: 24,
} as const;

/** Requests (5.2.6): a header of type, reserved and sector, then data, then the status. */
const REQUEST = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8 } as const;
const HEADER = { SECTOR: 8, SIZE: 16 } as const;
const STATUS = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;
const ID_SIZE = 20;

const QUEUE_SIZE = 128;
const HEADS = 16;
const SECTORS = 63;
const MAXIMUM_CYLINDERS = 0xffff;

/**
 * A virtio block device (virtio 1.2, 5.2) with a {@linkcode Disk}: reads, writes, flushes and its ID. What the disk does
 * not have, or refuses, is an I/O error.
 *
 * Left out: discard, write zeroes, secure erase, several queues, zoned disks.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { Disk, PciBus, VirtioBlk, VirtioPci } from "@vmexit/vmexit/devices";
 *
 * const disk = new Disk(new TextEncoder().encode("hello"));
 * const bus = new PciBus([new VirtioPci(new VirtioBlk(disk))]);
 * using vm = boot(asm.file("./driver.asm"), { devices: [bus] });
 * vm.run();
 * console.log(disk.written);
 * ```
 */
export class VirtioBlk extends VirtioDevice {
  /** See {@linkcode VirtioDevice.name}. */
  override readonly name = "virtio-blk";
  /** See {@linkcode VirtioDevice.deviceType}. */
  override readonly deviceType = 2;
  /** Mass storage, of no other kind. */
  override readonly classCode = 0x01_8000;
  /** The disk. */
  readonly disk: Disk;
  readonly #id: string;

  /**
   * A device with this disk.
   *
   * @param options `id`: what it answers to VIRTIO_BLK_T_GET_ID, up to 20 characters of ASCII. Default `"vmexit"`.
   */
  constructor(disk: Disk, options: { readonly id?: string } = {}) {
    super([QUEUE_SIZE]);
    this.disk = disk;
    this.#id = options.id ?? "vmexit";
  }

  /** See {@linkcode VirtioDevice.deviceFeatures}. */
  protected override get deviceFeatures(): bigint {
    const { SEG_MAX, GEOMETRY, RO, BLK_SIZE, FLUSH } = FEATURE;
    return SEG_MAX | GEOMETRY | BLK_SIZE | FLUSH | (this.disk.readonly ? RO : 0n);
  }

  /** See {@linkcode VirtioDevice.configuration}. */
  override get configuration(): Uint8Array<ArrayBuffer> {
    const view = new DataView(new ArrayBuffer(CONFIGURATION.SIZE));
    const { sectors } = this.disk;
    const cylinders = Math.min(Math.floor(sectors / (HEADS * SECTORS)), MAXIMUM_CYLINDERS);
    view.setBigUint64(CONFIGURATION.CAPACITY, BigInt(sectors), true);
    // A chain has the header and the status, too.
    view.setUint32(CONFIGURATION.SEG_MAX, QUEUE_SIZE - 2, true);
    view.setUint16(CONFIGURATION.CYLINDERS, cylinders, true);
    view.setUint8(CONFIGURATION.HEADS, HEADS);
    view.setUint8(CONFIGURATION.SECTORS, SECTORS);
    view.setUint32(CONFIGURATION.BLK_SIZE, SECTOR_SIZE, true);
    return new Uint8Array(view.buffer);
  }

  /** See {@linkcode VirtioDevice.process}. */
  protected override process(_queue: number, ring: Virtqueue): void {
    for (let buffer = ring.take(); buffer !== undefined; buffer = ring.take()) {
      const { readableLength, writableLength } = buffer;
      if (readableLength < HEADER.SIZE || writableLength < 1) {
        throw new VirtqueueError(
          `a request has a header of ${HEADER.SIZE} bytes and a status, and not ${readableLength} and ${writableLength} bytes`,
        );
      }
      const status = this.#request(buffer);
      buffer.write(writableLength - 1, Uint8Array.of(status));
      ring.give(buffer, writableLength);
    }
  }

  #request(buffer: VirtqueueBuffer): number {
    const header = new DataView(buffer.read(0, HEADER.SIZE).buffer);
    const sector = Number(header.getBigUint64(HEADER.SECTOR, true));
    switch (header.getUint32(0, true)) {
      case REQUEST.IN: {
        const count = (buffer.writableLength - 1) / SECTOR_SIZE;
        if (!this.#isOnDisk(sector, count)) return STATUS.IOERR;
        buffer.write(0, this.disk.read(sector, count));
        return STATUS.OK;
      }
      case REQUEST.OUT: {
        const count = (buffer.readableLength - HEADER.SIZE) / SECTOR_SIZE;
        if (!this.#isOnDisk(sector, count) || this.disk.readonly) return STATUS.IOERR;
        this.disk.write(sector, buffer.read(HEADER.SIZE, count * SECTOR_SIZE));
        return STATUS.OK;
      }
      case REQUEST.FLUSH:
        return STATUS.OK;
      case REQUEST.GET_ID: {
        const id = new Uint8Array(ID_SIZE);
        id.set(new TextEncoder().encode(this.#id).subarray(0, ID_SIZE));
        buffer.write(0, id.subarray(0, buffer.writableLength - 1));
        return STATUS.OK;
      }
      default:
        return STATUS.UNSUPP;
    }
  }

  #isOnDisk(sector: number, count: number): boolean {
    return Number.isInteger(count) && this.disk.has(sector, count) &&
      this.disk.firstBad(sector, count) === undefined;
  }

  /** See {@linkcode VirtioDevice.save}. */
  override save(): unknown {
    return { device: super.save(), disk: this.disk.save() };
  }

  /** See {@linkcode VirtioDevice.restore}. */
  override restore(saved: unknown): void {
    const { device, disk } = saved as { device: unknown; disk: unknown };
    super.restore(device);
    this.disk.restore(disk);
  }
}
