/** Which interrupts the pins of device 1 lead to, INTA# first: as PIIX3 is set up by firmware. */
export const PIRQS: readonly number[] = [10, 10, 11, 11];

/** The interrupts that PIIX3 can lead PIRQs to (82371SB data sheet, PIRQRC): those that are a PC's own are not among them. */
export const ROUTABLE_IRQS: readonly number[] = [3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15];
