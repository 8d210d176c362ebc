export * from "./address_space.ts";
export * from "./boot.ts";
export * from "./boot_options.ts";
export type { Guest } from "./guest.ts";
export type { AddressRange, Bus, MmioHandler, PortHandler } from "./bus.ts";
export { CaughtFault, type FaultRecord } from "./caught_fault.ts";
export type { CpuOptions, InterleavingOptions } from "./cpu_options.ts";
export { Cpuid, emulatedCpuid, supportedCpuid } from "./cpuid.ts";
export type { CpuidOptions } from "./cpuid_options.ts";
export type { DirtyPages as DirtyPageTracker, DirtyPagesOption } from "./dirty_pages.ts";
export type { ExitHandler, HandledReason } from "./exit_handlers.ts";
export type { DeviceBus } from "./device_bus.ts";
export { ExitLog, type ExitRecord } from "./exit_log.ts";
export type {
  BreakpointRegister,
  ExtendedFlagRegister,
  ExtendedRegisters,
  ExtendedRegisterValues,
  NarrowRegister,
  VectorRegisterName,
  WideRegister,
} from "./extended_registers.ts";
export { type FeatureMsr, featureMsr, featureMsrs } from "./feature_msrs.ts";
export type { FlagFieldName, FlagProperties, FlagRegister } from "./flag_register.ts";
export type { FlagRegisterName, FlagsOfRegisters } from "./flag_register_tables.ts";
export { GuestFaultError } from "./guest_fault_error.ts";
export type {
  BreakOptions,
  Breakpoint,
  BreakpointMeans,
  GuestDebugParts,
  WatchOptions,
} from "./guest_debug.ts";
export { GuestDebug } from "./guest_debug.ts";
export { type ExceptionOptions, Injection, type InjectionParts } from "./injection.ts";
export { type InterleavingRange, interleavings } from "./interleavings.ts";
export { InterruptQueue } from "./interrupt_queue.ts";
export type { KvmLevels } from "./kvm_levels.ts";
export type { IoapicPin, IoapicState, PicState } from "./interrupt_controllers.ts";
export { InterruptEvent, type InterruptEventParts } from "./interrupt_event.ts";
export type { InterruptRoute } from "./interrupt_routes.ts";
export { Interrupts, type InterruptsParts } from "./interrupts.ts";
export { LinearMemory } from "./linear_memory.ts";
export { Machine } from "./machine.ts";
export { MachineCpu } from "./machine_cpu.ts";
export type * from "./machine_types.ts";
export type { MpState } from "./mp_state.ts";
export { generalProtection, type MsrHandler } from "./msr_handler.ts";
export {
  type MsrAccess,
  MsrIntercepts,
  type MsrRange,
  type MsrRuleKind,
} from "./msr_intercepts.ts";
export { type MsrListing, type MsrOutcome, Msrs, type MsrsParts } from "./msrs.ts";
export {
  type CamelCase,
  type CapabilityNeed,
  type HostFacts,
  type Needs,
  type OtherNeed,
  unmetNeeds,
} from "./needs.ts";
export {
  type MemoryOwner,
  type MemorySlot,
  type MemorySlots,
  PhysicalMemory,
} from "./physical_memory.ts";
export { type ModeCase, type ModeChoice, modes } from "./modes.ts";
export { Notification, type NotificationParts, type NotifyOptions } from "./notification.ts";
export { PortOutput } from "./port_output.ts";
export type { RegisterSet } from "./register_sets.ts";
export { RegisterStore } from "./register_store.ts";
export type {
  ControlRegisterName,
  MainFlagRegister,
  RegisterAccess,
  RegisterPart,
  Registers,
  RegisterValues,
  TableRegisterName,
} from "./registers.ts";
export type { PendingException, VcpuEventState } from "./vcpu_events.ts";
export type { Lane, VectorLanes, VectorLaneValues } from "./vector_lanes.ts";
export type { VectorRegister } from "./vector_register.ts";
export type { WholeRegister } from "./whole_register.ts";
export type { X87Number, X87Register } from "./x87_register.ts";
export { type Requirement, requires, type RequiringTest } from "./requires.ts";
export { type Size, sizeInBytes } from "./size.ts";
export type { SmmOptions } from "./smm_handler.ts";
export { TimeLimitError } from "./time_limit_error.ts";
export { UnhandledExitError } from "./unhandled_exit_error.ts";
export type { VmCapabilities } from "./vm_capabilities.ts";
