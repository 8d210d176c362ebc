import { APIC_BASE_BIT } from "../x86/registers/apic_base.ts";
import { KVM_IRQCHIP, KVM_MP_STATE } from "../kvm/abi/constants.ts";
import type { Vm } from "../kvm/vm.ts";
import { resetState } from "../x86/boot/modes/reset.ts";
import type { Cpu } from "./cpu.ts";
import type { Irqchip } from "./interrupts/irqchip.ts";
import { msrEntries, setMsrs } from "./msrs/msrs.ts";

const CONTROLLERS = [KVM_IRQCHIP.PIC_MASTER, KVM_IRQCHIP.PIC_SLAVE, KVM_IRQCHIP.IOAPIC];

/** CPUID's leaf with the processor's signature. */
const SIGNATURE_LEAF = 1;

/** Bit 26 of ECX there: it has XSAVE, and so XCR0. */
const HAS_XSAVE = 1 << 26;
const XCR0 = 0;

/**
 * What RESET# does to the CPUs and the controllers in the kernel. Memory keeps its content, as on a PC.
 *
 * What the kernel's controllers are after a reset is what they are when they are made: it is noted then.
 */
export class KernelReset {
  readonly #vm: Vm;
  readonly #cpus: readonly Cpu[];
  readonly #controllers: ReturnType<Vm["interrupts"]["getIrqchip"]>[];
  readonly #localApics: readonly Uint8Array[];
  /** The bit of IA32_APIC_BASE, where a guest sees a local APIC. */
  readonly #apicEnabled: bigint;
  readonly #pit: ReturnType<Vm["pit"]["getPit2"]> | undefined;

  /** Of a machine whose guest has not run. */
  constructor(vm: Vm, cpus: readonly Cpu[], { irqchip, pit }: { irqchip: Irqchip; pit: boolean }) {
    this.#vm = vm;
    this.#cpus = cpus;
    this.#controllers = irqchip === true
      ? CONTROLLERS.map((id) => vm.interrupts.getIrqchip(id))
      : [];
    this.#localApics = irqchip === false ? [] : cpus.map(({ vcpu }) => vcpu.apic.getLapic());
    this.#apicEnabled = cpus[0].bootRegisters.apic_base & APIC_BASE_BIT.ENABLED;
    this.#pit = pit ? vm.pit.getPit2() : undefined;
  }

  /** Resets them. CPU 0 starts at the reset vector; others wait for a SIPI. */
  perform(): void {
    for (const controller of this.#controllers) this.#vm.interrupts.setIrqchip(controller);
    if (this.#pit !== undefined) this.#vm.pit.setPit2(this.#pit);
    for (const cpu of this.#cpus) this.#resetCpu(cpu);
  }

  #resetCpu(cpu: Cpu): void {
    const { number, vcpu, store, interrupts, registers } = cpu;
    const leaf = vcpu.cpuid.getCpuid2().find((entry) => entry.function === SIGNATURE_LEAF);
    const state = resetState(leaf?.eax);
    const { specialRegisters, msrs, debugRegisters, fpu, xcr0 } = state;
    const apic_base = specialRegisters.apic_base & ~APIC_BASE_BIT.ENABLED | this.#apicEnabled;
    interrupts.clear();
    vcpu.events.setVcpuEvents({});
    store.forget();
    store.load(state.registers, {
      ...specialRegisters,
      apic_base: number === 0 ? apic_base : apic_base & ~APIC_BASE_BIT.BOOT_PROCESSOR,
    });
    setMsrs(cpu, msrEntries(msrs, cpu.image.symbol));
    vcpu.registers.setDebugregs(debugRegisters);
    // With no component in XSTATE_BV all of them are as INIT leaves them (Intel SDM Vol. 1, 13.6).
    vcpu.fpu.setXsave(new Uint8Array(vcpu.fpu.xsaveSize));
    store.forget();
    registers.set({ ...fpu });
    store.flush();
    if (leaf !== undefined && (leaf.ecx & HAS_XSAVE) !== 0) {
      vcpu.fpu.setXcrs([{ xcr: XCR0, value: xcr0 }]);
    }
    const apic = this.#localApics[number];
    if (apic === undefined) return;
    vcpu.apic.setLapic(apic);
    vcpu.events.setMpState(number === 0 ? KVM_MP_STATE.RUNNABLE : KVM_MP_STATE.UNINITIALIZED);
  }
}
