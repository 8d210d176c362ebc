/**
 * The registers of a High Precision Event Timer (IA-PC HPET specification 1.0a, 2.3).
 *
 * @module
 */
/** Offsets. Those of timers are from {@linkcode HPET_REGISTER.TIMERS} on, and repeat by their size. */
export const HPET_REGISTER = {
  CAPABILITIES: 0x000,
  CONFIGURATION: 0x010,
  INTERRUPT_STATUS: 0x020,
  COUNTER: 0x0f0,
  TIMERS: 0x100,
  TIMER_SIZE: 0x20,
  TIMER_CONFIGURATION: 0x00,
  TIMER_COMPARATOR: 0x08,
  SIZE: 0x400,
} as const;

/** The counter's period in femtoseconds: 100 MHz. */
export const HPET_PERIOD = 10_000_000;

const PERIOD_SHIFT = 32n;

/** Revision, 64 bits, legacy replacement, vendor; the number of timers is to be added. */
export const HPET_BLOCK_ID = 0x8086_a001n;

/** Where the number of the last timer stands. */
export const LAST_TIMER_SHIFT = 8n;

/** General capabilities and ID, for timers 0 to `last`. */
export function hpetCapabilities(last: number): bigint {
  return BigInt(HPET_PERIOD) << PERIOD_SHIFT | HPET_BLOCK_ID | BigInt(last) << LAST_TIMER_SHIFT;
}

/** General configuration. */
export const CONFIGURATION = { ENABLE: 0x1n, LEGACY_REPLACEMENT: 0x2n, ALL: 0x3n } as const;

/** A timer's configuration and capabilities. */
export const TIMER = {
  LEVEL: 1n << 1n,
  INTERRUPT_ENABLE: 1n << 2n,
  PERIODIC: 1n << 3n,
  PERIODIC_CAPABLE: 1n << 4n,
  SIZE_64: 1n << 5n,
  SET_VALUE: 1n << 6n,
  MODE_32: 1n << 8n,
  ROUTE_SHIFT: 9n,
  ROUTE: 0x3e00n,
  ROUTES_SHIFT: 32n,
} as const;
