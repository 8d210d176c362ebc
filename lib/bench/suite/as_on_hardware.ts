/**
 * The look at a run's end that `strict` has by default where KVM is emulated, as on the instruction clock, is not made on
 * hardware: machines are measured without it.
 */
export const AS_ON_HARDWARE = { strict: false } as const;
