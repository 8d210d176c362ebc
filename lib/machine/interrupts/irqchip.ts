import { KVM } from "../../kvm/abi/constants.ts";
import type { Vm } from "../../kvm/vm.ts";

/** Which interrupt controllers the kernel emulates: see {@linkcode CommonOptions.irqchip}. */
export type Irqchip = boolean | "split";

/** Which interrupt controllers and timers of the kernel a machine has. */
export interface KernelControllers {
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
  if (pit) vm.pit.createPit2();
}
