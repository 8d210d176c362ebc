/** Descriptors of the machine are numbered from here on, so that none is taken for one of this process. */
export const FIRST_DESCRIPTOR: number = 1 << 20;
/**
 * How many descriptors each machine has. Behind them is the machine: the descriptor of its window, and how many this
 * thread had before, so that one of a machine that has ended is not taken for the next one's.
 */
export const DESCRIPTORS: number = 1 << 12;
/** How many machines a thread can have had: of later ones the numbers come again. */
export const MACHINES: number = 1 << 6;
/** How many descriptors of windows there can be. */
export const WINDOWS: number = 1 << 12;

const TIMER_NUMBER_BITS = 32n;

/**
 * A timer's identifier here: a descriptor's that tells its machine, above its number there, which the kernel never
 * gives again.
 */
export function timerIdentifier(machine: number, number: number): bigint {
  return BigInt(machine) << TIMER_NUMBER_BITS | BigInt(number);
}

/** The descriptor that tells the machine of a timer. */
export function timerMachine(timerId: bigint): number {
  return Number(timerId >> TIMER_NUMBER_BITS);
}

/** The number of a timer in its machine. */
export function timerNumber(timerId: bigint): number {
  return Number(BigInt.asUintN(Number(TIMER_NUMBER_BITS), timerId));
}

/** The descriptor of the window of the machine that a descriptor is in. */
export function windowOf(fd: number): number {
  return Math.floor((fd - FIRST_DESCRIPTOR) / DESCRIPTORS) % WINDOWS;
}
