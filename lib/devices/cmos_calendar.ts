/** The time registers (MC146818 data sheet, table 2), and where a PC has the century. */
export const TIME = {
  SECONDS: 0x00,
  SECONDS_ALARM: 0x01,
  MINUTES: 0x02,
  MINUTES_ALARM: 0x03,
  HOURS: 0x04,
  HOURS_ALARM: 0x05,
  DAY_OF_WEEK: 0x06,
  DAY_OF_MONTH: 0x07,
  MONTH: 0x08,
  YEAR: 0x09,
  CENTURY: 0x32,
} as const;

/** Bits of register B that say how they are written. */
const FORMAT = { HOURS_24: 0x02, BINARY: 0x04 } as const;

const PM = 0x80;
const NOON = 12;
const YEARS = 100;

/** Alarm registers from here on match all (data sheet, "Time, Calendar and Alarm Locations"). */
const ANY = 0xc0;

const SECONDS_A_DAY = 86_400;
const SECONDS_AN_HOUR = 3600;
const SECONDS_A_MINUTE = 60;
const MILLISECONDS = 1000;

/** Whether a register is one of those that count. */
export function isTime(index: number): boolean {
  return index === TIME.CENTURY || index <= TIME.YEAR && !isAlarm(index);
}

/** Whether a register holds a part of the alarm. */
export function isAlarm(index: number): boolean {
  return index === TIME.SECONDS_ALARM || index === TIME.MINUTES_ALARM ||
    index === TIME.HOURS_ALARM;
}

function encode(value: number, format: number): number {
  return (format & FORMAT.BINARY) !== 0 ? value : Math.floor(value / 10) << 4 | value % 10;
}

function decode(byte: number, format: number): number {
  return (format & FORMAT.BINARY) !== 0 ? byte : (byte >> 4) * 10 + (byte & 0xf);
}

function encodeHours(hours: number, format: number): number {
  if ((format & FORMAT.HOURS_24) !== 0) return encode(hours, format);
  return encode(hours % NOON || NOON, format) | (hours >= NOON ? PM : 0);
}

function decodeHours(byte: number, format: number): number {
  if ((format & FORMAT.HOURS_24) !== 0) return decode(byte, format);
  return decode(byte & ~PM, format) % NOON + ((byte & PM) !== 0 ? NOON : 0);
}

/** Writes a time to the registers, in the format that register B says. */
export function storeTime(ram: Uint8Array, seconds: number, format: number): void {
  const date = new Date(seconds * MILLISECONDS);
  const year = date.getUTCFullYear();
  ram[TIME.SECONDS] = encode(date.getUTCSeconds(), format);
  ram[TIME.MINUTES] = encode(date.getUTCMinutes(), format);
  ram[TIME.HOURS] = encodeHours(date.getUTCHours(), format);
  ram[TIME.DAY_OF_WEEK] = encode(date.getUTCDay() + 1, format);
  ram[TIME.DAY_OF_MONTH] = encode(date.getUTCDate(), format);
  ram[TIME.MONTH] = encode(date.getUTCMonth() + 1, format);
  ram[TIME.YEAR] = encode(year % YEARS, format);
  ram[TIME.CENTURY] = encode(Math.floor(year / YEARS), format);
}

/** The time in the registers, in seconds since 1970. The day of the week is what it is then. */
export function loadTime(ram: Uint8Array, format: number): number {
  const date = new Date(0);
  // Date.UTC would take years below 100 for others.
  date.setUTCFullYear(
    decode(ram[TIME.CENTURY], format) * YEARS + decode(ram[TIME.YEAR], format),
    decode(ram[TIME.MONTH], format) - 1,
    decode(ram[TIME.DAY_OF_MONTH], format),
  );
  date.setUTCHours(
    decodeHours(ram[TIME.HOURS], format),
    decode(ram[TIME.MINUTES], format),
    decode(ram[TIME.SECONDS], format),
  );
  return date.getTime() / MILLISECONDS;
}

/** Whether the alarm's registers match one of the seconds after `from`, up to `to`. */
export function alarmMatches(ram: Uint8Array, from: number, to: number, format: number): boolean {
  const matches = (index: number, byte: number) => ram[index] >= ANY || ram[index] === byte;
  for (let second = Math.max(from + 1, to - SECONDS_A_DAY + 1); second <= to; second++) {
    const ofDay = (second % SECONDS_A_DAY + SECONDS_A_DAY) % SECONDS_A_DAY;
    const hours = Math.floor(ofDay / SECONDS_AN_HOUR);
    const minutes = Math.floor(ofDay / SECONDS_A_MINUTE) % SECONDS_A_MINUTE;
    if (
      matches(TIME.SECONDS_ALARM, encode(ofDay % SECONDS_A_MINUTE, format)) &&
      matches(TIME.MINUTES_ALARM, encode(minutes, format)) &&
      matches(TIME.HOURS_ALARM, encodeHours(hours, format))
    ) return true;
  }
  return false;
}
