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

/** The delivery modes by their number. */
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

/** Whether an interrupt is a moment or a state: an edge-triggered one comes once each time its line rises. */
export type TriggerMode = "edge" | "level";

/** Vectors below are the exceptions', and the APICs take none of them (Intel SDM Vol. 3A, 10.5.2). */
export const FIRST_APIC_VECTOR = 16;

/** The last vector of the IDT. */
export const LAST_VECTOR = 255;
