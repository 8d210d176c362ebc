import { picLines, type PicState } from "../../devices/pic_state.ts";
import { KVM, KVM_PIT } from "../../kvm/abi/constants.ts";
import type { Vm } from "../../kvm/vm.ts";
import type { KvmPicState } from "../../kvm/abi/structs/irqchip.ts";
import type { IoapicRegisters } from "../../kvm/vm/vm_interrupts.ts";
import { DELIVERY_MODES, type DeliveryMode, type TriggerMode } from "../../x86/apic/local_apic.ts";

/** Which interrupt controllers the kernel emulates: see {@linkcode CommonOptions.irqchip}. */
export type Irqchip = boolean | "split";

/** Which interrupt controllers and timers of the kernel a machine has. */
interface KernelControllers {
  /** The interrupt controllers. */
  readonly irqchip: Irqchip;
  /** Whether there is the interval timer. */
  readonly pit: boolean;
}

/**
 * Reads the options `irqchip` and `pit`.
 *
 * @throws {RangeError} When `irqchip` is neither a boolean nor `"split"`.
 * @throws {TypeError} When there is to be a PIT without the controllers that take its interrupt.
 */
export function planControllers(
  { irqchip = false, pit = false }: Partial<KernelControllers>,
): KernelControllers {
  if (typeof irqchip !== "boolean" && irqchip !== "split") {
    throw new RangeError(
      `Cannot boot with irqchip ${JSON.stringify(irqchip)}: it is true, "split" or false`,
    );
  }
  if (!pit || irqchip === true) return { irqchip, pit };
  throw new TypeError(
    `Cannot boot with a PIT and irqchip ${
      JSON.stringify(irqchip)
    }: the kernel's PIT interrupts through the kernel's ` +
      "PICs and IOAPIC. Give `irqchip: true` as well.",
  );
}

/** Creates them in the kernel, before the first vCPU. */
export function createControllers(vm: Vm, { irqchip, pit }: KernelControllers): void {
  if (irqchip === true) vm.createIrqchip();
  if (irqchip === "split") vm.enableCap("KVM_CAP_SPLIT_IRQCHIP", KVM.IOAPIC_NUM_PINS);
  // Without the flag there is no port 0x61, by which a guest opens the gate of counter 2 and sees it end.
  if (pit) vm.pit.createPit2(KVM_PIT.SPEAKER_DUMMY);
}

/** The IOAPIC's registers by their names. */
export interface IoapicState {
  /** Its id. */
  readonly id: number;
  /** Its guest physical address. */
  readonly address: number;
  /** Its pins, by number: the redirection entry of each (82093AA, 3.2.4), and whether its line is raised. */
  readonly pins: readonly {
    /** Whether its line is raised. */
    readonly raised: boolean;
    /** The vector that it delivers. */
    readonly vector: number;
    /** How it delivers it. */
    readonly deliveryMode: DeliveryMode;
    /** Whether `destination` is compared with logical APIC ids. */
    readonly logical: boolean;
    /** The local APIC that gets it. */
    readonly destination: number;
    /** Edge or level. */
    readonly trigger: TriggerMode;
    /** Whether a line counts as raised when it is low. */
    readonly activeLow: boolean;
    /** Whether a local APIC has taken a level-triggered interrupt, and not ended it. */
    readonly remoteIrr: boolean;
    /** Whether it delivers nothing. */
    readonly masked: boolean;
  }[];
}

/** The line of lowest priority follows from that of the highest by so much. */
const LAST_LINE = 7;

/** A PIC's state as KVM has it, decoded. */
export function picState(pic: KvmPicState): PicState {
  return {
    irr: picLines(pic.irr),
    isr: picLines(pic.isr),
    imr: picLines(pic.imr),
    elcr: picLines(pic.elcr),
    vectorBase: pic.irq_base,
    autoEoi: pic.auto_eoi !== 0,
    lowestPriority: pic.priority_add + LAST_LINE & LAST_LINE,
    specialMask: pic.special_mask !== 0,
  };
}

/** The IOAPIC's state as KVM has it, decoded. */
export function ioapicState({ id, base_address, irr, redirtbl }: IoapicRegisters): IoapicState {
  return {
    id,
    address: Number(base_address),
    pins: redirtbl.map(({ fields }, pin) => ({
      raised: (irr >>> pin & 1) !== 0,
      vector: fields.vector,
      deliveryMode: DELIVERY_MODES[fields.delivery_mode],
      logical: fields.dest_mode !== 0,
      destination: fields.dest_id,
      trigger: fields.trig_mode === 0 ? "edge" : "level",
      activeLow: fields.polarity !== 0,
      remoteIrr: fields.remote_irr !== 0,
      masked: fields.mask !== 0,
    })),
  };
}
