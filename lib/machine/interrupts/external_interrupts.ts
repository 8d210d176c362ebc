import { KVM_IRQCHIP } from "../../kvm/abi/constants.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { Vm } from "../../kvm/vm.ts";
import { localApicState } from "../../x86/apic/local_apic.ts";
import type { InterruptQueue } from "./interrupt_queue.ts";
import type { Irqchip } from "./irqchip.ts";

const PICS = [KVM_IRQCHIP.PIC_MASTER, KVM_IRQCHIP.PIC_SLAVE] as const;

/** The lines of one 8259A. */
const PIC_LINES = 8;

/** What external interrupts are asked of. */
interface ExternalInterruptsInit {
  readonly vm: Vm;
  readonly vcpu: Vcpu;
  readonly irqchip: Irqchip;
  /** What the test injects. */
  readonly queue: InterruptQueue;
}

/**
 * Tells an external interrupt from an exception of the same vector, which push the same. What the test injects is
 * known; the interrupt controllers have each in their in-service register until its handler ends it (8259A, ISR; Intel
 * SDM Vol. 3A, 11.8.4).
 */
export class ExternalInterrupts {
  readonly #parts: ExternalInterruptsInit;
  /** Those that are still in service, and were told before: the same vector is an exception then. */
  readonly #told: Set<number> = new Set();

  /** Those of one CPU. */
  constructor(parts: ExternalInterruptsInit) {
    this.#parts = parts;
  }

  /** Whether the CPU, which has just come to a handler of a vector, was brought there by an external interrupt. */
  isTaken(vector: number): boolean {
    const { irqchip, queue } = this.#parts;
    if (irqchip === false) return queue.handed === vector;
    const isInService = this.#isInService(vector);
    const isNew = isInService && !this.#told.has(vector);
    if (isInService) this.#told.add(vector);
    else this.#told.delete(vector);
    return isNew;
  }

  #isInService(vector: number): boolean {
    const { vm, vcpu, irqchip } = this.#parts;
    if (localApicState(vcpu.apic.getLapic()).isr.includes(vector)) return true;
    return irqchip === true && PICS.some((id) => {
      const { isr, irq_base } = vm.interrupts.getIrqchip(id).chip.pic;
      const line = vector - irq_base;
      return line >= 0 && line < PIC_LINES && (isr >> line & 1) !== 0;
    });
  }
}
