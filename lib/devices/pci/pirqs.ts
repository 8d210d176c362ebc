/** Which interrupts the pins of device 1 lead to, INTA# first: as PIIX3 is set up by firmware. */
export const PIRQS: readonly number[] = [10, 10, 11, 11];
