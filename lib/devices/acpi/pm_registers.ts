/**
 * The power management registers of ACPI's fixed hardware (ACPI specification 6.5, 4.8), as they lie from one port on.
 *
 * @module
 */
/** Offsets of the registers (4.8.3). */
export const PM_REGISTER = { STATUS: 0, ENABLE: 2, CONTROL: 4 } as const;

/** Sizes of the blocks, in bytes: PM1a_EVT_BLK and PM1a_CNT_BLK. */
export const PM_SIZE = { EVENT: 4, CONTROL: 2 } as const;

/** The power management timer, behind them. */
export const PM_TIMER = { OFFSET: 8, SIZE: 4, FREQUENCY: 3_579_545 } as const;

/** The interrupt of ACPI on a PC. */
export const SCI_IRQ = 9;
