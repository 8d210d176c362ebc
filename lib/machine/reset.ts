import { APIC_BASE_BIT } from "../x86/registers/apic_base.ts";
import { KVM_MP_STATE, KVM_VCPUEVENT_VALID } from "../kvm/abi/constants.ts";
import type { Vm } from "../kvm/vm.ts";
import { resetState } from "../x86/boot/modes/reset.ts";
import type { Cpu } from "./cpu.ts";
import { msrEntries, setMsrs } from "./msrs/msrs.ts";
import {
  CONTROLLERS,
  INTERVAL_TIMER,
  type KernelDevices,
  restoreVm,
  type SavedVmState,
  saveVm,
} from "./snapshot/controllers_state.ts";

/** The MSR that holds SMBASE, and what it is after RESET# (Intel SDM Vol. 3C, 32.11). */
const SMBASE = { index: 0x9e, data: 0x3_0000n };

/** Registers of a local APIC after INIT that are not 0, by their offsets, and those that stay (Intel SDM Vol. 3A, 11.4.7.3). */
const APIC_AFTER_INIT = {
  kept: [0x20, 0x30],
  size: 0x400,
  /** DFR, SVR, and the local vector table: masked. */
  set: [
    [0xe0, 0xffff_ffff],
    [0xf0, 0xff],
    ...[0x2f0, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370].map((lvt) => [lvt, 0x1_0000] as const),
  ],
  /** LINT0 of the first CPU takes INTR of the PICs: as KVM has it, for firmware that does not set it. */
  lint0: [0x350, 0x700],
} as const;

/** Bits of CR0 that INIT leaves as they are, and the one that it sets. */
const CR0 = { KEPT: 0x6000_0000n, SET: 0x10n } as const;

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
  readonly #controllers: SavedVmState;
  readonly #localApics: readonly Uint8Array[];

  /** Of a machine whose guest has not run. */
  constructor(vm: Vm, cpus: readonly Cpu[], devices: KernelDevices) {
    this.#vm = vm;
    this.#cpus = cpus;
    this.#controllers = saveVm(vm, [...CONTROLLERS, INTERVAL_TIMER], devices);
    this.#localApics = devices.irqchip === false
      ? []
      : cpus.map(({ vcpu }) => vcpu.apic.getLapic());
  }

  /** Resets them. CPU 0 starts at the reset vector; others wait for a SIPI. */
  perform(): void {
    restoreVm(this.#vm, this.#controllers);
    for (const cpu of this.#cpus) this.#resetCpu(cpu);
  }

  #resetCpu(cpu: Cpu): void {
    const { number, vcpu, store, registers, machine: { hasSmm } } = cpu;
    const leaf = signatureLeaf(cpu);
    const { specialRegisters, msrs, fpu, xcr0 } = resetState(leaf?.eax);
    // Where a guest sees a local APIC, it is on.
    const isEnabled = this.#cpus[0].bootRegisters.apic_base & APIC_BASE_BIT.ENABLED;
    const apic_base = specialRegisters.apic_base & ~APIC_BASE_BIT.ENABLED | isEnabled;
    // Of system-management mode, too: the registers that are set behind it are those of no mode.
    beginAgain(cpu, {
      apic_base: number === 0 ? apic_base : apic_base & ~APIC_BASE_BIT.BOOT_PROCESSOR,
    });
    if (hasSmm) vcpu.msrs.setMsrs([SMBASE]);
    setMsrs(cpu, msrEntries(msrs, cpu.image.symbol));
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

/**
 * What INIT does to a CPU (Intel SDM Vol. 3A, 10.1 and table 10-1; AMD APM Vol. 2, 14.1.3): its registers are as after
 * RESET#; caches, the FPU with SSE and XCR0, and MSRs stay as they are. The first starts at the reset vector, others wait
 * for a SIPI.
 *
 * @throws {TypeError} When it is in system-management mode, which holds INIT back until RSM.
 */
export function initCpu(cpu: Cpu): void {
  const { number, vcpu, registers, machine: { irqchip } } = cpu;
  if (vcpu.events.getVcpuEvents().smi.smm !== 0) {
    throw new TypeError(
      `Cannot take INIT: CPU ${number} is in system-management mode, which holds it back until RSM. Let the guest leave it.`,
    );
  }
  const { cr0, apic_base } = vcpu.registers.getSregs();
  beginAgain(cpu, { cr0: cr0 & CR0.KEPT | CR0.SET, apic_base });
  registers.cr8 = 0n;
  if (irqchip === false) return;
  vcpu.apic.setLapic(localApicAfterInit(vcpu.apic.getLapic(), number));
  vcpu.events.setMpState(number === 0 ? KVM_MP_STATE.RUNNABLE : KVM_MP_STATE.INIT_RECEIVED);
}

function localApicAfterInit(before: Uint8Array, number: number): Uint8Array {
  const page = before.slice();
  const view = new DataView(page.buffer);
  page.fill(0, 0, APIC_AFTER_INIT.size);
  for (const offset of APIC_AFTER_INIT.kept) {
    page.set(before.subarray(offset, offset + 4), offset);
  }
  for (const [offset, value] of APIC_AFTER_INIT.set) view.setUint32(offset, value, true);
  if (number === 0) view.setUint32(...APIC_AFTER_INIT.lint0, true);
  return page;
}

/** CPUID's leaf with the processor's signature, which EDX has after a reset. */
function signatureLeaf({ vcpu }: Cpu) {
  return vcpu.cpuid.getCpuid2().find((entry) => entry.function === SIGNATURE_LEAF);
}

/** What RESET# and INIT have in common: registers, debug registers, and no event that waits. */
function beginAgain(cpu: Cpu, own: { readonly cr0?: bigint; readonly apic_base: bigint }): void {
  const { vcpu, store, interrupts } = cpu;
  const { registers, specialRegisters, debugRegisters } = resetState(signatureLeaf(cpu)?.eax);
  interrupts.clear();
  vcpu.events.setVcpuEvents({ flags: KVM_VCPUEVENT_VALID.SMM });
  store.forget();
  store.load(registers, { ...specialRegisters, ...own });
  vcpu.registers.setDebugregs(debugRegisters);
}
