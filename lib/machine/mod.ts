export type { AddressSpace, MemoryContent } from "./memory/address_space.ts";
export * from "./boot/boot.ts";
export * from "./boot/boot_options.ts";
export type { Guest, SmmOptions, VmCapabilities } from "./boot/boot_options.ts";
export type { IoapicPin, IoapicState, Irqchip, PicState } from "./interrupts/irqchip.ts";
export type { CaughtFault, FaultRecord } from "./faults/caught_fault.ts";
export {
  type InterleavingOptions,
  type InterleavingRange,
  interleavings,
} from "./run/interleaving.ts";
export type { Cpuid } from "./cpuid/cpuid.ts";
export type { CpuidOptions } from "./cpuid/cpuid_options.ts";
export type { DirtyPagesOption } from "./memory/dirty_pages.ts";
export type { ExitHandler, HandledReason } from "./exits/exit_handlers.ts";
export type { DeviceBus } from "./buses/device_bus.ts";
export type { ExitLog, ExitRecord } from "./exits/exit_log.ts";
export {
  type FeatureMsr,
  featureMsr,
  featureMsrs,
  type MsrListing,
  type MsrOutcome,
  type Msrs,
} from "./msrs/msrs.ts";
export type { FlagRegister } from "./registers/flag_register.ts";
export type { AssignableRegisters } from "./registers/assignable_registers.ts";
export {
  CallError,
  GuestFaultError,
  PendingEventError,
  TimeLimitError,
  UnhandledExitError,
} from "./run/run_errors.ts";
export type {
  BreakOptions,
  Breakpoint,
  BreakpointMeans,
  GuestDebug,
  WatchOptions,
} from "./run/guest_debug.ts";
export type { ExceptionOptions, Injection } from "./interrupts/injection.ts";
export type { KvmLevels, KvmRunState } from "./cpu.ts";
export type { InterruptEvent, Interrupts } from "./interrupts/interrupts.ts";
export type { InterruptRoute } from "./interrupts/interrupt_routes.ts";
export type { LinearMemory } from "./memory/linear_memory.ts";
export type { Machine, MachineCpu } from "./machine.ts";
export type {
  CallArgument,
  CallInput,
  CallOptions,
  ExitAnswer,
  ExitsOptions,
  ObservedExit,
  ResultType,
  RoutineCallee,
  RunOptions,
} from "./run/run_options.ts";
export type { MpState, PendingException, VcpuEventState } from "./interrupts/vcpu_events.ts";
export {
  generalProtection,
  type MsrAccess,
  type MsrHandler,
  type MsrRange,
} from "./msrs/msr_intercepts.ts";
export {
  type CamelCase,
  type CapabilityNeed,
  type Needs,
  type OtherNeed,
  type Requirement,
  requires,
  type RequiringTest,
} from "./host/requires.ts";
export type { PhysicalMemory } from "./memory/physical_memory.ts";
export type { MemorySlot, SlotOptions } from "./memory/memory_slots.ts";
export { type ModeCase, type ModeChoice, modes } from "./boot/modes.ts";
export type { Notification, NotifyOptions } from "./buses/notification.ts";
export type { PortOutput } from "./buses/port_output.ts";
export type {
  RegisterAccess,
  RegisterPart,
  Registers,
  RegisterValues,
} from "./registers/registers.ts";
export type { VectorRegister } from "./registers/vector_register.ts";
export type { WholeRegister } from "./registers/whole_register.ts";
export type { X87Register } from "./registers/x87_register.ts";
export type { Size } from "./memory/size.ts";
