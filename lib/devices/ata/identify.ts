/** Words of the data of IDENTIFY DEVICE (ATA/ATAPI-6, table 26). */
const WORD = {
  GENERAL_CONFIGURATION: 0,
  CYLINDERS: 1,
  HEADS: 3,
  SECTORS: 6,
  SERIAL_NUMBER: 10,
  FIRMWARE_REVISION: 23,
  MODEL_NUMBER: 27,
  MAXIMUM_MULTIPLE: 47,
  CAPABILITIES: 49,
  CAPABILITIES_2: 50,
  PIO_TIMING: 51,
  FIELD_VALIDITY: 53,
  CURRENT_CYLINDERS: 54,
  CURRENT_HEADS: 55,
  CURRENT_SECTORS: 56,
  CURRENT_CAPACITY: 57,
  MULTIPLE: 59,
  SECTORS_28: 60,
  PIO_MODES: 64,
  PIO_CYCLE_TIME: 67,
  PIO_CYCLE_TIME_IORDY: 68,
  MAJOR_VERSION: 80,
  COMMAND_SETS: 82,
  COMMAND_SETS_2: 83,
  COMMAND_SETS_EXTENSION: 84,
  ENABLED: 85,
  ENABLED_2: 86,
  DEFAULTS: 87,
  SECTORS_48: 100,
  INTEGRITY: 255,
} as const;

const NOT_REMOVABLE = 0x0040;
const MULTIPLE_FIXED = 0x8000;
const MULTIPLE_IS_VALID = 0x0100;
const CAPABILITY_LBA = 0x0200;
const VALID = 0x4000;
const PIO_MODE_2 = 0x0200;
/** Words 54 to 58, and 64 to 70. */
const FIELDS_VALID = 0x0003;
const PIO_MODES_3_AND_4 = 0x0003;
const PIO_MODE_4_NANOSECONDS = 120;
/** ATA-1 to ATA/ATAPI-6. */
const VERSIONS = 0x007e;
const COMMANDS = { WRITE_CACHE: 0x0020, LOOK_AHEAD: 0x0040 } as const;
const COMMANDS_2 = { ADDRESS_48: 0x0400, FLUSH_CACHE: 0x1000, FLUSH_CACHE_EXT: 0x2000 } as const;
const ALL_COMMANDS_2 = COMMANDS_2.ADDRESS_48 | COMMANDS_2.FLUSH_CACHE | COMMANDS_2.FLUSH_CACHE_EXT;
const INTEGRITY_SIGNATURE = 0xa5;

const SIZE = 512;
/** The most that CHS reaches, and LBA of 28 bits. */
const MAXIMUM_CYLINDERS = 16383;
const MAXIMUM_28 = 0xfff_ffff;

/** How a disk is addressed by cylinder, head and sector. */
export interface Geometry {
  readonly heads: number;
  readonly sectors: number;
}

/** The geometry after a reset. */
export const GEOMETRY: Geometry = { heads: 16, sectors: 63 };

/** What the answer depends on. */
interface Identity {
  /** The geometry at present (INITIALIZE DEVICE PARAMETERS). */
  readonly geometry: Geometry;
  /** The sectors of a block, at present and at most. */
  readonly multiple: number;
  readonly maximum: number;
  readonly hasWriteCache: boolean;
  readonly hasLookAhead: boolean;
}

/** What IDENTIFY DEVICE answers (ATA/ATAPI-6, 8.15). */
export function identifyData(sectors: number, identity: Identity): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(SIZE);
  const view = new DataView(bytes.buffer);
  const set = (word: number, value: number) => view.setUint16(word * 2, value, true);
  const set32 = (word: number, value: number) => view.setUint32(word * 2, value, true);
  const { geometry, multiple, maximum, hasWriteCache, hasLookAhead } = identity;
  const cylinders = cylindersOf(sectors, GEOMETRY.heads * GEOMETRY.sectors);
  const current = cylindersOf(sectors, geometry.heads * geometry.sectors);
  set(WORD.GENERAL_CONFIGURATION, NOT_REMOVABLE);
  set(WORD.CYLINDERS, cylinders);
  set(WORD.HEADS, GEOMETRY.heads);
  set(WORD.SECTORS, GEOMETRY.sectors);
  setText(bytes, WORD.SERIAL_NUMBER, 20, "0001");
  setText(bytes, WORD.FIRMWARE_REVISION, 8, "1.0");
  setText(bytes, WORD.MODEL_NUMBER, 40, "VMEXIT DISK");
  set(WORD.MAXIMUM_MULTIPLE, MULTIPLE_FIXED | maximum);
  set(WORD.CAPABILITIES, CAPABILITY_LBA);
  set(WORD.CAPABILITIES_2, VALID);
  set(WORD.PIO_TIMING, PIO_MODE_2);
  set(WORD.FIELD_VALIDITY, FIELDS_VALID);
  set(WORD.CURRENT_CYLINDERS, current);
  set(WORD.CURRENT_HEADS, geometry.heads);
  set(WORD.CURRENT_SECTORS, geometry.sectors);
  set32(WORD.CURRENT_CAPACITY, current * geometry.heads * geometry.sectors);
  set(WORD.MULTIPLE, multiple === 0 ? 0 : MULTIPLE_IS_VALID | multiple);
  set32(WORD.SECTORS_28, Math.min(sectors, MAXIMUM_28));
  set(WORD.PIO_MODES, PIO_MODES_3_AND_4);
  set(WORD.PIO_CYCLE_TIME, PIO_MODE_4_NANOSECONDS);
  set(WORD.PIO_CYCLE_TIME_IORDY, PIO_MODE_4_NANOSECONDS);
  set(WORD.MAJOR_VERSION, VERSIONS);
  set(WORD.COMMAND_SETS, COMMANDS.WRITE_CACHE | COMMANDS.LOOK_AHEAD);
  set(WORD.COMMAND_SETS_2, VALID | ALL_COMMANDS_2);
  set(WORD.COMMAND_SETS_EXTENSION, VALID);
  const enabled = (hasWriteCache ? COMMANDS.WRITE_CACHE : 0) |
    (hasLookAhead ? COMMANDS.LOOK_AHEAD : 0);
  set(WORD.ENABLED, enabled);
  set(WORD.ENABLED_2, ALL_COMMANDS_2);
  set(WORD.DEFAULTS, VALID);
  view.setBigUint64(WORD.SECTORS_48 * 2, BigInt(sectors), true);
  bytes[WORD.INTEGRITY * 2] = INTEGRITY_SIGNATURE;
  bytes[SIZE - 1] = -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
  return bytes;
}

function cylindersOf(sectors: number, perCylinder: number): number {
  return Math.min(Math.max(1, Math.floor(sectors / perCylinder)), MAXIMUM_CYLINDERS);
}

/** Text lies there with the bytes of each word exchanged, padded with spaces. */
function setText(bytes: Uint8Array, word: number, length: number, text: string): void {
  const padded = text.padEnd(length);
  for (let index = 0; index < length; index++) {
    bytes[word * 2 + (index ^ 1)] = padded.charCodeAt(index);
  }
}
