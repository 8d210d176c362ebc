/**
 * The kernel's four levels of KVM, system, VM, vCPU and device, with a method for each ioctl, the exits of a vCPU, and
 * the C library under them.
 *
 * @example
 * ```ts no-eval
 * import { Kvm } from "@vmexit/vmexit/kvm";
 *
 * using kvm = Kvm.open();
 * using vm = kvm.createVm();
 * using vcpu = vm.createVcpu(0);
 * console.log(vcpu.registers.getRegs().rip);
 * ```
 *
 * @module
 */
export { CapabilityError, KvmError, MsrError } from "./errors.ts";
export {
  COALESCED_RING_CAPACITY,
  type CoalescedRing,
  type CoalescedWriteTaker,
} from "./coalesced_ring.ts";
export type { AttributeName, Device, DeviceAttributes } from "./device.ts";
export type { DirtyPage, DirtyRing } from "./dirty_ring.ts";
export { describeExit, type ExitNames } from "./exits/describe_exit.ts";
export * from "./exits/exit.ts";
export type { AskedOfKvm, IoctlObserver, IoctlOptions, IoctlTarget } from "./ioctl_target.ts";
export { Kvm, KVM_API_VERSION, KVM_DEVICE } from "./kvm.ts";
export type { KvmRunPage } from "./kvm_run_page.ts";
export { kvmLibc } from "./remote/kvm_choice.ts";
export type { Statistic, StatsFd } from "./stats_fd.ts";
export type { GivenVcpu, Vcpu } from "./vcpu.ts";
export type { VcpuApic, VcpuEvents } from "./vcpu/vcpu_events.ts";
export type { VcpuClock } from "./vcpu/vcpu_clock.ts";
export type { VcpuCpuid } from "./vcpu/vcpu_cpuid.ts";
export type { VcpuFpu } from "./vcpu/vcpu_fpu.ts";
export type { VcpuMsrs } from "./vcpu/vcpu_msrs.ts";
export type { NestedState, NestedStateToSet, VcpuNested } from "./vcpu/vcpu_nested.ts";
export type { VcpuRegisters } from "./vcpu/vcpu_registers.ts";
export type { VcpuXen, VmXen } from "./xen.ts";
export type { GivenVm, MemoryRegion, Vm } from "./vm.ts";
export type { VmClock, VmPit } from "./vm/vm_timers.ts";
export type { VmEncryption } from "./vm/vm_encryption.ts";
export type { MsrFilterRange, PmuEventFilter, VmFilters } from "./vm/vm_filters.ts";
export type { IoapicRegisters, IrqchipState, VmInterrupts } from "./vm/vm_interrupts.ts";
export type { DirtyPages, MemoryRegion2, VmMemory } from "./vm/vm_memory.ts";
export * from "../ffi/mod.ts";
