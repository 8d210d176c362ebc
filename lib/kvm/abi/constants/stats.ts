/** The type in `kvm_stats_desc.flags`. */
export const KVM_STATS_TYPE = {
  SHIFT: 0,
  MASK: 0xf,
  CUMULATIVE: 0,
  INSTANT: 1,
  PEAK: 2,
  LINEAR_HIST: 3,
  LOG_HIST: 4,
  MAX: 4,
} as const;

/** The unit in `kvm_stats_desc.flags`. */
export const KVM_STATS_UNIT = {
  SHIFT: 4,
  MASK: 0xf0,
  NONE: 0,
  BYTES: 0x10,
  SECONDS: 0x20,
  CYCLES: 0x30,
  BOOLEAN: 0x40,
  MAX: 0x40,
} as const;

/** The base of the exponent in `kvm_stats_desc.flags`. */
export const KVM_STATS_BASE = {
  SHIFT: 8,
  MASK: 0xf00,
  POW10: 0,
  POW2: 0x100,
  MAX: 0x100,
} as const;
