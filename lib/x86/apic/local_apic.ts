/** An entry of a local APIC's local vector table (Intel SDM Vol. 3A, 10.5.1). */
export interface LocalVector {
  /** The vector that it delivers. */
  readonly vector: number;
  /** How it delivers it; the timer's and the error's are always `"fixed"`. */
  readonly deliveryMode: DeliveryMode;
  /** Whether it delivers nothing. */
  readonly masked: boolean;
}

/** What makes a local APIC's timer fire (Intel SDM Vol. 3A, 10.5.4). */
export type ApicTimerMode = "one-shot" | "periodic" | "TSC deadline" | "reserved";

/** The registers of a local APIC by their names (Intel SDM Vol. 3A, 10.4). */
export interface LocalApicState {
  /** The local APIC's id. */
  readonly id: number;
  /** Its version. */
  readonly version: number;
  /** Whether software has enabled it (bit 8 of the spurious interrupt vector register). */
  readonly enabled: boolean;
  /** The vector of spurious interrupts. */
  readonly spuriousVector: number;
  /** The task priority register: interrupts of the same and lower priority classes wait. */
  readonly tpr: number;
  /** The processor priority register. */
  readonly ppr: number;
  /** The interrupt request register: the vectors that wait, in order. */
  readonly irr: readonly number[];
  /** The in-service register: the vectors that are being handled, in order. */
  readonly isr: readonly number[];
  /** The trigger mode register: the vectors that came level-triggered, in order. */
  readonly tmr: readonly number[];
  /** The error status register. */
  readonly esr: number;
  /** The interrupt command register: the IPI that was sent last. */
  readonly icr: bigint;
  /** The local vector table. */
  readonly lvt: {
    readonly timer: LocalVector;
    readonly thermal: LocalVector;
    readonly performance: LocalVector;
    readonly lint0: LocalVector;
    readonly lint1: LocalVector;
    readonly error: LocalVector;
  };
  /** The timer. */
  readonly timer: {
    readonly mode: ApicTimerMode;
    /** What it was started with. */
    readonly initialCount: number;
    /** What is left. */
    readonly currentCount: number;
    /** By how much the bus's clock is divided: 1 to 128. */
    readonly divide: number;
  };
}

/** Offsets of the registers in the local APIC's page (Intel SDM Vol. 3A, table 10-1). */
const REGISTER = {
  id: 0x20,
  version: 0x30,
  tpr: 0x80,
  ppr: 0xa0,
  spurious: 0xf0,
  isr: 0x100,
  tmr: 0x180,
  irr: 0x200,
  esr: 0x280,
  icrLow: 0x300,
  icrHigh: 0x310,
  lvtTimer: 0x320,
  lvtThermal: 0x330,
  lvtPerformance: 0x340,
  lvtLint0: 0x350,
  lvtLint1: 0x360,
  lvtError: 0x370,
  initialCount: 0x380,
  currentCount: 0x390,
  divide: 0x3e0,
} as const;

const TIMER_MODES: readonly ApicTimerMode[] = ["one-shot", "periodic", "TSC deadline", "reserved"];

const REGISTER_STRIDE = 0x10;
const VECTOR_REGISTERS = 8;
const WORD_BITS = 32;
const BYTE_MASK = 0xff;
const XAPIC_ID_SHIFT = 24;
const ENABLED = 1 << 8;
const DELIVERY_SHIFT = 8;
const DELIVERY_MASK = 7;
const MASKED = 1 << 16;
const TIMER_MODE_SHIFT = 17;
const TIMER_MODE_MASK = 3;
const MOST_DIVIDED = 7;

/**
 * A local APIC's page of registers, decoded (Intel SDM Vol. 3A, 10.4.1).
 *
 * @param regs The page, or at least its first 0x400 bytes, as `KVM_GET_LAPIC` gives it: a register every 16
 *   bytes, the id in bits 31:24 of its own.
 *
 * @example
 * ```ts
 * import { localApicState } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const regs = new Uint8Array(0x400);
 * regs[0x220] = 1; // bit 64: the IRR has 32 bits every 16 bytes
 * assertEquals(localApicState(regs).irr, [64]);
 * ```
 */
export function localApicState(regs: Uint8Array): LocalApicState {
  const view = new DataView(regs.buffer, regs.byteOffset, regs.byteLength);
  const at = (offset: number) => view.getUint32(offset, true);
  const spurious = at(REGISTER.spurious);
  return {
    id: at(REGISTER.id) >>> XAPIC_ID_SHIFT,
    version: at(REGISTER.version) & BYTE_MASK,
    enabled: (spurious & ENABLED) !== 0,
    spuriousVector: spurious & BYTE_MASK,
    tpr: at(REGISTER.tpr) & BYTE_MASK,
    ppr: at(REGISTER.ppr) & BYTE_MASK,
    irr: vectors(at, REGISTER.irr),
    isr: vectors(at, REGISTER.isr),
    tmr: vectors(at, REGISTER.tmr),
    esr: at(REGISTER.esr),
    icr: BigInt(at(REGISTER.icrHigh)) << BigInt(WORD_BITS) | BigInt(at(REGISTER.icrLow)),
    lvt: {
      timer: { ...localVector(at(REGISTER.lvtTimer)), deliveryMode: "fixed" },
      thermal: localVector(at(REGISTER.lvtThermal)),
      performance: localVector(at(REGISTER.lvtPerformance)),
      lint0: localVector(at(REGISTER.lvtLint0)),
      lint1: localVector(at(REGISTER.lvtLint1)),
      error: { ...localVector(at(REGISTER.lvtError)), deliveryMode: "fixed" },
    },
    timer: {
      mode: TIMER_MODES[at(REGISTER.lvtTimer) >>> TIMER_MODE_SHIFT & TIMER_MODE_MASK],
      initialCount: at(REGISTER.initialCount),
      currentCount: at(REGISTER.currentCount),
      divide: divideOf(at(REGISTER.divide)),
    },
  };
}

function localVector(entry: number): LocalVector {
  return {
    vector: entry & BYTE_MASK,
    deliveryMode: DELIVERY_MODES[entry >>> DELIVERY_SHIFT & DELIVERY_MASK],
    masked: (entry & MASKED) !== 0,
  };
}

/** The bits that are set in a register of 256 bits, which lie 32 bits every 16 bytes. */
function vectors(at: (offset: number) => number, base: number): number[] {
  const set: number[] = [];
  for (let index = 0; index < VECTOR_REGISTERS; index++) {
    const bits = at(base + index * REGISTER_STRIDE);
    for (let bit = 0; bit < WORD_BITS; bit++) {
      if ((bits >>> bit & 1) !== 0) set.push(index * WORD_BITS + bit);
    }
  }
  return set;
}

/** The divide configuration has its value in bits 3, 1 and 0; the greatest stands for 1. */
function divideOf(configuration: number): number {
  const value = (configuration & 0b11) | (configuration & 0b1000) >> 1;
  return value === MOST_DIVIDED ? 1 : 2 << value;
}

/**
 * How an interrupt message reaches a CPU: bits 10:8 of MSI data, of an IOAPIC's redirection entry, of a local
 * APIC's LVT entry and of its ICR (Intel SDM Vol. 3A, 10.5.1, 10.6.1 and 10.11.2). `"reserved"` stands for what
 * the manual names for none of them.
 */
export type DeliveryMode =
  | "fixed"
  | "lowest priority"
  | "SMI"
  | "reserved"
  | "NMI"
  | "INIT"
  | "start up"
  | "ExtINT";

/** The delivery modes by their number (Intel SDM Vol. 3A, 10.5.1). */
export const DELIVERY_MODES: readonly DeliveryMode[] = [
  "fixed",
  "lowest priority",
  "SMI",
  "reserved",
  "NMI",
  "INIT",
  "start up",
  "ExtINT",
];

/**
 * Whether an interrupt is a moment or a state: an edge-triggered one comes once each time its line rises (Intel SDM
 * Vol. 3A, 10.5.1).
 */
export type TriggerMode = "edge" | "level";

/** Vectors below are the exceptions', and the APICs take none of them (Intel SDM Vol. 3A, 10.5.2). */
export const FIRST_APIC_VECTOR = 16;

/** The last vector of the IDT. */
export const LAST_VECTOR = 255;
