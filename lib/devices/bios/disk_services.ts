import { BIOS } from "../../x86/layout.ts";
import type { DeviceMemory } from "../device.ts";
import { type Disk, SECTOR_SIZE } from "../disk.ts";
import type { BiosCall } from "./call.ts";

/** Statuses of INT 13h (Phoenix, "System BIOS for IBM PCs", 10). */
export const DISK_STATUS = {
  OK: 0x00,
  BAD_COMMAND: 0x01,
  WRITE_PROTECTED: 0x03,
  SECTOR_NOT_FOUND: 0x04,
  DMA_BOUNDARY: 0x09,
  BAD_SECTOR: 0x10,
  TIMEOUT: 0x80,
} as const;

/** How a disk is counted by cylinder, head and sector. */
export interface DiskGeometry {
  /** Cylinders. */
  readonly cylinders: number;
  /** Heads. */
  readonly heads: number;
  /** Sectors a track. */
  readonly sectors: number;
  /** The drive's type, of a floppy disk: BL of AH=08h. */
  readonly type?: number;
}

/** The first number of a fixed disk. */
export const FIXED_DISK = 0x80;

const KIB = 1024;

/** Floppy disks by their size in KiB. */
const FLOPPIES: Readonly<Record<number, DiskGeometry>> = {
  360: { cylinders: 40, heads: 2, sectors: 9, type: 1 },
  720: { cylinders: 80, heads: 2, sectors: 9, type: 3 },
  1200: { cylinders: 80, heads: 2, sectors: 15, type: 2 },
  1440: { cylinders: 80, heads: 2, sectors: 18, type: 4 },
  2880: { cylinders: 80, heads: 2, sectors: 36, type: 5 },
};

const OF_FLOPPY = FLOPPIES[1440];
const MOST_CYLINDERS = 1024;
const SECTORS = 63;
const FEW_HEADS = 16;
const MANY_HEADS = 255;

/** The fixed disk's: as a BIOS with logical block translation assists them. */
export function geometryOf(disk: Disk, drive: number): DiskGeometry {
  if (drive < FIXED_DISK) return FLOPPIES[disk.bytes.length / KIB] ?? OF_FLOPPY;
  const isSmall = disk.sectors <= MOST_CYLINDERS * FEW_HEADS * SECTORS;
  const heads = isSmall ? FEW_HEADS : MANY_HEADS;
  const cylinders = Math.floor(disk.sectors / (heads * SECTORS));
  return {
    cylinders: Math.max(1, Math.min(MOST_CYLINDERS, cylinders)),
    heads,
    sectors: SECTORS,
  };
}

/** The most sectors that a call transfers. */
const MOST_SECTORS = 128;

/** The signature of the extensions, as it is asked and answered. */
const EXTENSIONS = { asked: 0x55aa, answered: 0xaa55, version: 0x21, packets: 0x1 } as const;

/** The packet of the extensions. */
const PACKET = { size: 16, COUNT: 2, OFFSET: 4, SEGMENT: 6, LBA: 8 } as const;
/** The result of AH=48h. */
const PARAMETERS = { size: 26, CYLINDERS: 4, HEADS: 8, SECTORS: 12, TOTAL: 16, BYTES: 24 } as const;

const PARAGRAPH = 16;

/** INT 13h on the disks of a machine. */
export class DiskServices {
  readonly #disks: ReadonlyMap<number, Disk>;
  readonly #hasExtensions: boolean;
  readonly #memory: DeviceMemory;
  /** That of the latest call, for AH=01h. */
  status: number = DISK_STATUS.OK;

  /** Those of one machine, by drive. */
  constructor(disks: ReadonlyMap<number, Disk>, hasExtensions: boolean, memory: DeviceMemory) {
    this.#disks = disks;
    this.#hasExtensions = hasExtensions;
    this.#memory = memory;
  }

  /** Answers a call. */
  answer(call: BiosCall): void {
    const status = this.#answer(call);
    if (status === undefined) return;
    if (call.ah !== 0x01) this.status = status;
    call.result(status);
  }

  /** The status; undefined where registers and flags are set already. */
  #answer(call: BiosCall): number | undefined {
    const drive = call.low("dx");
    const disk = this.#disks.get(drive);
    switch (call.ah) {
      case 0x00:
        return disk === undefined ? DISK_STATUS.BAD_COMMAND : DISK_STATUS.OK;
      case 0x01:
        return this.status;
      case 0x02:
      case 0x03:
      case 0x04:
        return this.#byCylinder(call, disk, drive);
      case 0x08:
        return this.#parameters(call, disk, drive);
      case 0x15:
        return this.#type(call, disk, drive);
    }
    if (disk === undefined || !this.#hasExtensions || drive < FIXED_DISK) {
      return DISK_STATUS.BAD_COMMAND;
    }
    switch (call.ah) {
      case 0x41:
        if (call.get("bx") !== EXTENSIONS.asked) return DISK_STATUS.BAD_COMMAND;
        call.set("bx", EXTENSIONS.answered);
        call.set("cx", EXTENSIONS.packets);
        call.carry = false;
        call.setHigh("ax", EXTENSIONS.version);
        return undefined;
      case 0x42:
      case 0x43:
      case 0x44:
        return this.#byPacket(call, disk);
      case 0x48:
        return this.#extendedParameters(call, disk, drive);
      default:
        return DISK_STATUS.BAD_COMMAND;
    }
  }

  #byCylinder(call: BiosCall, disk: Disk | undefined, drive: number): number {
    const count = call.low("ax");
    call.setLow("ax", 0);
    if (disk === undefined) {
      return drive < FIXED_DISK ? DISK_STATUS.TIMEOUT : DISK_STATUS.BAD_COMMAND;
    }
    const { cylinders, heads, sectors } = geometryOf(disk, drive);
    const sector = call.low("cx") & 0x3f;
    const cylinder = call.high("cx") | (call.low("cx") & 0xc0) << 2;
    const head = call.high("dx");
    const isThere = sector >= 1 && sector <= sectors && head < heads && cylinder < cylinders;
    if (count < 1 || count > MOST_SECTORS) return DISK_STATUS.BAD_COMMAND;
    if (!isThere) return DISK_STATUS.SECTOR_NOT_FOUND;
    const lba = (cylinder * heads + head) * sectors + sector - 1;
    const address = call.address("es", call.get("bx"));
    const isPastSegment = call.get("bx") + count * SECTOR_SIZE > 0x1_0000;
    if (isPastSegment && call.ah !== 0x04) return DISK_STATUS.DMA_BOUNDARY;
    const status = this.#transfer(call.ah, disk, lba, count, address);
    if (status === DISK_STATUS.OK) call.setLow("ax", count);
    return status;
  }

  #byPacket(call: BiosCall, disk: Disk): number {
    const place = call.address("ds", call.get("si"));
    const packet = new DataView(this.#memory.read(place, PACKET.size).buffer);
    if (packet.getUint8(0) < PACKET.size) return DISK_STATUS.BAD_COMMAND;
    const count = packet.getUint16(PACKET.COUNT, true);
    const address = packet.getUint16(PACKET.SEGMENT, true) * PARAGRAPH +
      packet.getUint16(PACKET.OFFSET, true);
    const lba = Number(packet.getBigUint64(PACKET.LBA, true));
    if (count > MOST_SECTORS) return DISK_STATUS.BAD_COMMAND;
    const status = this.#transfer(call.ah - 0x40, disk, lba, count, address);
    if (status !== DISK_STATUS.OK) this.#memory.write(place + PACKET.COUNT, Uint8Array.of(0, 0));
    return status;
  }

  /** Reads (2), writes (3) or verifies (4). */
  #transfer(command: number, disk: Disk, lba: number, count: number, address: number): number {
    if (!disk.has(lba, count)) return DISK_STATUS.SECTOR_NOT_FOUND;
    if (disk.firstBad(lba, count) !== undefined) return DISK_STATUS.BAD_SECTOR;
    if (command === 0x02) this.#memory.write(address, disk.read(lba, count));
    if (command === 0x03) {
      if (disk.readonly) return DISK_STATUS.WRITE_PROTECTED;
      disk.write(lba, this.#memory.read(address, count * SECTOR_SIZE));
    }
    return DISK_STATUS.OK;
  }

  #parameters(call: BiosCall, disk: Disk | undefined, drive: number): number {
    const isFloppy = drive < FIXED_DISK;
    const drives = [...this.#disks.keys()].filter((each) => each < FIXED_DISK === isFloppy).length;
    call.set("dx", drives);
    if (disk === undefined) {
      call.set("cx", 0);
      return isFloppy ? DISK_STATUS.OK : DISK_STATUS.BAD_COMMAND;
    }
    const { cylinders, heads, sectors, type } = geometryOf(disk, drive);
    const last = cylinders - 1;
    call.set("cx", (last & 0xff) << 8 | last >> 2 & 0xc0 | sectors);
    call.setHigh("dx", heads - 1);
    call.setLow("ax", 0);
    if (type !== undefined) {
      call.set("bx", type);
      call.set("di", BIOS.diskParameters);
      call.setEs(BIOS.segment);
    }
    return DISK_STATUS.OK;
  }

  #type(call: BiosCall, disk: Disk | undefined, drive: number): undefined {
    call.carry = false;
    if (disk === undefined) return void call.setHigh("ax", 0);
    call.setHigh("ax", drive < FIXED_DISK ? 1 : 3);
    if (drive < FIXED_DISK) return;
    call.set("cx", disk.sectors >>> 16);
    call.set("dx", disk.sectors & 0xffff);
  }

  #extendedParameters(call: BiosCall, disk: Disk, drive: number): number {
    const place = call.address("ds", call.get("si"));
    const { buffer } = this.#memory.read(place, 2);
    if (new DataView(buffer).getUint16(0, true) < PARAMETERS.size) return DISK_STATUS.BAD_COMMAND;
    const { cylinders, heads, sectors } = geometryOf(disk, drive);
    const result = new DataView(new ArrayBuffer(PARAMETERS.size));
    result.setUint16(0, PARAMETERS.size, true);
    result.setUint32(PARAMETERS.CYLINDERS, cylinders, true);
    result.setUint32(PARAMETERS.HEADS, heads, true);
    result.setUint32(PARAMETERS.SECTORS, sectors, true);
    result.setBigUint64(PARAMETERS.TOTAL, BigInt(disk.sectors), true);
    result.setUint16(PARAMETERS.BYTES, SECTOR_SIZE, true);
    this.#memory.write(place, new Uint8Array(result.buffer));
    return DISK_STATUS.OK;
  }
}
