export * from "./memory/address_space.ts";
export * from "./boot/boot.ts";
export * from "./boot/boot_options.ts";
export type { Guest } from "./boot/guest.ts";
export type { AddressRange, Bus } from "./buses/bus.ts";
export type { MmioHandler, PortHandler } from "../devices/handlers.ts";
export type { Irqchip } from "./interrupts/irqchip.ts";
export type { CaughtFault, FaultRecord } from "./faults/caught_fault.ts";
export type { InterleavingOptions } from "./run/interleaving.ts";
export { Cpuid, emulatedCpuid, supportedCpuid } from "./cpuid/cpuid.ts";
export type { CpuidOptions } from "./cpuid/cpuid_options.ts";
export type { DirtyPages as DirtyPageTracker, DirtyPagesOption } from "./memory/dirty_pages.ts";
export type { ExitHandler, HandledReason } from "./exits/exit_handlers.ts";
export type { DeviceBus } from "./buses/device_bus.ts";
export type { ExitLog, ExitRecord } from "./exits/exit_log.ts";
export type {
  BreakpointRegister,
  ExtendedFlagRegister,
  ExtendedRegisters,
  ExtendedRegisterValues,
  NarrowRegister,
  VectorRegisterName,
  WideRegister,
} from "./registers/extended_registers.ts";
export { type FeatureMsr, featureMsr, featureMsrs } from "./msrs/feature_msrs.ts";
export type { FlagFieldName, FlagProperties, FlagRegister } from "./registers/flag_register.ts";
export type { FlagRegisterName, FlagsOfRegisters } from "./registers/flag_register_tables.ts";
export { GuestFaultError } from "./run/guest_fault_error.ts";
export type { BreakOptions, Breakpoint, BreakpointMeans, WatchOptions } from "./run/guest_debug.ts";
export type { GuestDebug } from "./run/guest_debug.ts";
export type { ExceptionOptions, Injection } from "./interrupts/injection.ts";
export { type InterleavingRange, interleavings } from "./run/interleavings.ts";
export type { InterruptQueue } from "./interrupts/interrupt_queue.ts";
export type { KvmLevels } from "./cpu_core.ts";
export type { IoapicPin, IoapicState, PicState } from "./interrupts/interrupt_controllers.ts";
export type { InterruptEvent } from "./interrupts/interrupt_event.ts";
export type { InterruptRoute } from "./interrupts/interrupt_routes.ts";
export type { Interrupts } from "./interrupts/interrupts.ts";
export type { LinearMemory } from "./memory/linear_memory.ts";
export type { Machine, MachineCpu } from "./machine.ts";
export type { ExitAnswer, ExitsOptions, ObservedExit, RunOptions } from "./run/run_options.ts";
export type { MpState } from "./interrupts/mp_state.ts";
export { generalProtection, type MsrHandler } from "./msrs/msr_handler.ts";
export type { MsrAccess, MsrIntercepts, MsrRange, MsrRuleKind } from "./msrs/msr_intercepts.ts";
export type { MsrListing, MsrOutcome, Msrs } from "./msrs/msrs.ts";
export {
  type CamelCase,
  type CapabilityNeed,
  type HostFacts,
  type Needs,
  type OtherNeed,
  unmetNeeds,
} from "./host/needs.ts";
export type { MemoryPiece, PhysicalMemory } from "./memory/physical_memory.ts";
export type { BackedSlot, MemorySlot, SlotOptions } from "./memory/memory_slots.ts";
export { type ModeCase, type ModeChoice, modes } from "./boot/modes.ts";
export type { Notification, NotifyOptions } from "./buses/notification.ts";
export type { PortOutput } from "./buses/port_output.ts";
export type { RegisterSet } from "./registers/register_sets.ts";
export type {
  ControlRegisterName,
  MainFlagRegister,
  RegisterAccess,
  Registers,
  RegisterValues,
  TableRegisterName,
} from "./registers/registers.ts";
export type { RegisterPart } from "./registers/register_path.ts";
export type { PendingException, VcpuEventState } from "./interrupts/vcpu_events.ts";
export type { Lane, VectorLanes, VectorLaneValues } from "./registers/vector_lanes.ts";
export type { VectorRegister } from "./registers/vector_register.ts";
export type { WholeRegister } from "./registers/whole_register.ts";
export type { X87Number, X87Register } from "./registers/x87_register.ts";
export { type Requirement, requires, type RequiringTest } from "./host/requires.ts";
export { type Size, sizeInBytes } from "./memory/size.ts";
export type { SmmOptions } from "./boot/smm_handler.ts";
export { TimeLimitError } from "./run/time_limit_error.ts";
export { UnhandledExitError } from "./run/unhandled_exit_error.ts";
export type { VmCapabilities } from "./boot/vm_capabilities.ts";
