/**
 * The registers and commands of ATA disks (ATA/ATAPI-6, T13/1410D), by its sections.
 *
 * @module
 */

/** Registers of the command block, as offsets from its first port (ATA/ATAPI-6, 7). */
export const REGISTER = {
  DATA: 0,
  /** For writes: features. */
  ERROR: 1,
  SECTOR_COUNT: 2,
  LBA_LOW: 3,
  LBA_MID: 4,
  LBA_HIGH: 5,
  DEVICE: 6,
  /** For writes: command. */
  STATUS: 7,
} as const;

/** How many ports it has. */
export const COMMAND_BLOCK_PORTS = 8;

/** Bits of the status register (7.15). */
export const STATUS = { ERR: 0x01, DRQ: 0x08, SEEK_COMPLETE: 0x10, DRDY: 0x40, BSY: 0x80 } as const;
/** The status of a device that waits for a command. */
export const READY = STATUS.DRDY | STATUS.SEEK_COMPLETE;

/** Bits of the error register (7.9). */
export const ERROR = { ABRT: 0x04, IDNF: 0x10, UNC: 0x40 } as const;
/** The error register after a reset and EXECUTE DEVICE DIAGNOSTIC: device 0 passed, device 1 passed or is absent. */
export const DIAGNOSTIC_PASSED = 0x01;

/** Bits of the device control register (7.8). */
export const CONTROL = { N_IEN: 0x02, SRST: 0x04, HOB: 0x80 } as const;

/** Bits of the device register (7.7), and those that are obsolete and read as one. */
export const DEVICE = { HEAD: 0x0f, DEV: 0x10, LBA: 0x40, OBSOLETE: 0xa0 } as const;

/** Command codes (8). */
export const COMMAND = {
  RECALIBRATE: 0x10,
  READ_SECTORS: 0x20,
  READ_SECTORS_WITHOUT_RETRY: 0x21,
  READ_SECTORS_EXT: 0x24,
  READ_MULTIPLE_EXT: 0x29,
  WRITE_SECTORS: 0x30,
  WRITE_SECTORS_WITHOUT_RETRY: 0x31,
  WRITE_SECTORS_EXT: 0x34,
  WRITE_MULTIPLE_EXT: 0x39,
  READ_VERIFY: 0x40,
  READ_VERIFY_WITHOUT_RETRY: 0x41,
  READ_VERIFY_EXT: 0x42,
  SEEK: 0x70,
  EXECUTE_DEVICE_DIAGNOSTIC: 0x90,
  INITIALIZE_DEVICE_PARAMETERS: 0x91,
  READ_MULTIPLE: 0xc4,
  WRITE_MULTIPLE: 0xc5,
  SET_MULTIPLE_MODE: 0xc6,
  STANDBY_IMMEDIATE: 0xe0,
  IDLE_IMMEDIATE: 0xe1,
  STANDBY: 0xe2,
  IDLE: 0xe3,
  CHECK_POWER_MODE: 0xe5,
  FLUSH_CACHE: 0xe7,
  FLUSH_CACHE_EXT: 0xea,
  IDENTIFY_DEVICE: 0xec,
  SET_FEATURES: 0xef,
} as const;

/** Subcommands of SET FEATURES (table 44). */
export const FEATURE = {
  ENABLE_WRITE_CACHE: 0x02,
  SET_TRANSFER_MODE: 0x03,
  DISABLE_LOOK_AHEAD: 0x55,
  KEEP_SETTINGS: 0x66,
  DISABLE_WRITE_CACHE: 0x82,
  ENABLE_LOOK_AHEAD: 0xaa,
  REVERT_SETTINGS: 0xcc,
} as const;

/** Transfer modes that SET FEATURES takes: PIO default, without IORDY, and flow control modes 0 to 4 (table 45). */
export const PIO_MODES: readonly number[] = [0x00, 0x01, 0x08, 0x09, 0x0a, 0x0b, 0x0c];

/** What CHECK POWER MODE answers. */
export const POWER_MODE_ACTIVE = 0xff;

/** The most sectors of a block of READ MULTIPLE and WRITE MULTIPLE. */
export const MAXIMUM_MULTIPLE = 16;

/** What a command transfers. */
export interface TransferKind {
  readonly isWrite: boolean;
  /** Whether its LBA has 48 bits, and its count 16. */
  readonly isExtended: boolean;
  /** Whether DRQ is asserted once for a block of sectors, of SET MULTIPLE MODE, and not for each. */
  readonly isMultiple: boolean;
}

const READ = { isWrite: false, isExtended: false, isMultiple: false };
const WRITE = { ...READ, isWrite: true };

/** The commands that transfer sectors. */
export const TRANSFERS: Readonly<Record<number, TransferKind | undefined>> = {
  [COMMAND.READ_SECTORS]: READ,
  [COMMAND.READ_SECTORS_WITHOUT_RETRY]: READ,
  [COMMAND.READ_SECTORS_EXT]: { ...READ, isExtended: true },
  [COMMAND.READ_MULTIPLE]: { ...READ, isMultiple: true },
  [COMMAND.READ_MULTIPLE_EXT]: { ...READ, isExtended: true, isMultiple: true },
  [COMMAND.WRITE_SECTORS]: WRITE,
  [COMMAND.WRITE_SECTORS_WITHOUT_RETRY]: WRITE,
  [COMMAND.WRITE_SECTORS_EXT]: { ...WRITE, isExtended: true },
  [COMMAND.WRITE_MULTIPLE]: { ...WRITE, isMultiple: true },
  [COMMAND.WRITE_MULTIPLE_EXT]: { ...WRITE, isExtended: true, isMultiple: true },
};
