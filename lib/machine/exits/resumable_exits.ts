import type { Exit } from "../../kvm/exit.ts";

/** The exits in the middle of a guest's work, which it goes on from at the next `KVM_RUN`. */
const RESUMABLE: ReadonlySet<Exit["reason"]> = new Set<Exit["reason"]>([
  "IO",
  "MMIO",
  "HYPERCALL",
  "DEBUG",
  "IRQ_WINDOW_OPEN",
  "SET_TPR",
  "TPR_ACCESS",
  "IOAPIC_EOI",
  "HYPERV",
  "X86_RDMSR",
  "X86_WRMSR",
  "DIRTY_RING_FULL",
  "X86_BUS_LOCK",
  "XEN",
  "NOTIFY",
]);

/** Whether the guest goes on from this exit by itself; HLT, SHUTDOWN and errors end what it does. */
export function isResumable({ reason }: Exit): boolean {
  return RESUMABLE.has(reason);
}
