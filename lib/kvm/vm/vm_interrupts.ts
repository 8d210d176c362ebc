import type { Writable } from "../../ffi/struct.ts";
import { KVM_IRQCHIP } from "../abi/constants.ts";
import { kvm_hyperv_eventfd, type KvmHypervEventfd } from "../abi/structs/enlightenments.ts";
import {
  kvm_ioeventfd,
  kvm_irq_level,
  kvm_irq_routing,
  kvm_irqfd,
  kvm_msi,
  type KvmIoeventfd,
  type KvmIrqfd,
  type KvmIrqRoutingEntry,
  type KvmMsi,
} from "../abi/structs/irq.ts";
import {
  kvm_irqchip,
  type KvmIoapicState,
  type KvmIrqchip,
  type KvmPicState,
} from "../abi/structs/irqchip.ts";
import { type IoctlTarget, structBytes } from "../ioctl_target.ts";

/** An IOAPIC's state, with its redirection entries by their fields alone. */
export type IoapicRegisters = Omit<KvmIoapicState, "redirtbl"> & {
  redirtbl: Pick<KvmIoapicState["redirtbl"][number], "fields">[];
};

/** What {@linkcode VmInterrupts.getIrqchip} gives, by the controller's id: a PIC's state, or the IOAPIC's. */
export type IrqchipState<Id extends number = number> = {
  chip_id: number;
  chip: Id extends typeof KVM_IRQCHIP.IOAPIC ? { ioapic: IoapicRegisters } : { pic: KvmPicState };
};

/**
 * The interrupt controllers that the kernel keeps ({@linkcode Vm.createIrqchip}), and the ways into them.
 * Each throws a KvmError when the kernel refuses (ENXIO or EINVAL without controllers), and a
 * CapabilityError when it lacks the capability.
 */
export class VmInterrupts {
  readonly #target: IoctlTarget;

  /** Use {@linkcode Vm.interrupts}. */
  constructor(target: IoctlTarget) {
    this.#target = target;
  }

  /**
   * A controller's state (`KVM_GET_IRQCHIP`, api.rst 4.26). Of the members that share their bytes it has the one that
   * counts, so that what is changed in it can be given to {@linkcode VmInterrupts.setIrqchip}.
   *
   * @param chipId Of `KVM_IRQCHIP`.
   * @throws {KvmError} EINVAL where there is no such controller, ENXIO where the VM has none.
   */
  getIrqchip<Id extends number>(chipId: Id): IrqchipState<Id> {
    const { chip_id, chip } = this.#target.get("KVM_GET_IRQCHIP", kvm_irqchip, { chip_id: chipId });
    const { pic, ioapic } = chip;
    const redirtbl = ioapic.redirtbl.map(({ fields }) => ({ fields }));
    const state: IrqchipState<typeof KVM_IRQCHIP.IOAPIC> | IrqchipState<0> =
      chip_id === KVM_IRQCHIP.IOAPIC
        ? { chip_id, chip: { ioapic: { ...ioapic, redirtbl } } }
        : { chip_id, chip: { pic } };
    return state as IrqchipState<Id>;
  }

  /**
   * Sets a controller's state: `chip.pic` or `chip.ioapic` (`KVM_SET_IRQCHIP`, api.rst 4.27).
   *
   * @param chip As {@linkcode VmInterrupts.getIrqchip} gives it.
   * @throws {TypeError} When members that share their bytes are given and say different things.
   */
  setIrqchip(chip: Writable<KvmIrqchip>): void {
    this.#target.set("KVM_SET_IRQCHIP", kvm_irqchip, chip);
  }

  /**
   * Sets the level of a GSI (`KVM_IRQ_LINE`, api.rst 4.25).
   *
   * @param irq The GSI.
   * @param level 1 raises the line, 0 lowers it.
   */
  irqLine(irq: number, level: 0 | 1): void {
    this.#target.set("KVM_IRQ_LINE", kvm_irq_level, { irq, level });
  }

  /**
   * The same, and what came of it (`KVM_IRQ_LINE_STATUS`, api.rst 4.25).
   *
   * @param irq The GSI.
   * @param level 1 raises the line, 0 lowers it.
   * @returns Above 0 when that many CPUs got it, 0 when it was merged into one that is pending, below 0
   *   when it was masked.
   */
  irqLineStatus(irq: number, level: 0 | 1): number {
    return this.#target.get("KVM_IRQ_LINE_STATUS", kvm_irq_level, { irq, level }).status;
  }

  /**
   * Sends a message-signalled interrupt (`KVM_SIGNAL_MSI`, api.rst 4.71).
   *
   * @param message Its address and data, as a device would write them (Intel SDM Vol. 3A, 10.11).
   * @returns Above 0 when it was delivered, 0 when the guest blocked it.
   */
  signalMsi(message: Writable<KvmMsi>): number {
    return this.#target.set("KVM_SIGNAL_MSI", kvm_msi, message);
  }

  /**
   * Replaces the whole table of GSIs; `type` is of `KVM_IRQ_ROUTING` (`KVM_SET_GSI_ROUTING`, api.rst 4.52).
   *
   * @param entries All that there shall be; `u` has the member that belongs to `type`.
   */
  setGsiRouting(entries: readonly Writable<KvmIrqRoutingEntry>[]): void {
    const bytes = structBytes(kvm_irq_routing, { entries }, entries.length);
    this.#target.call("KVM_SET_GSI_ROUTING", bytes);
  }

  /**
   * Binds an eventfd to a GSI, or unbinds it; `flags` are of `KVM_IRQFD_FLAG` (`KVM_IRQFD`, api.rst 4.75).
   *
   * @param binding `fd` is the eventfd's descriptor.
   */
  irqfd(binding: Writable<KvmIrqfd>): void {
    this.#target.set("KVM_IRQFD", kvm_irqfd, binding);
  }

  /**
   * Binds an eventfd to writes of an address or port, which then make no exit; `flags` are of
   * `KVM_IOEVENTFD` (`KVM_IOEVENTFD`, api.rst 4.59).
   *
   * @param binding `fd` is the eventfd's descriptor; `len` is 0, 1, 2, 4 or 8.
   */
  ioeventfd(binding: Writable<KvmIoeventfd>): void {
    this.#target.set("KVM_IOEVENTFD", kvm_ioeventfd, binding);
  }

  /**
   * Binds an eventfd to the Hyper-V connection `conn_id`, or unbinds it (`KVM_HYPERV_EVENTFD`, api.rst
   * 4.113).
   *
   * @param binding `fd` is the eventfd's descriptor.
   */
  hypervEventfd(binding: Writable<KvmHypervEventfd>): void {
    this.#target.set("KVM_HYPERV_EVENTFD", kvm_hyperv_eventfd, binding);
  }
}
