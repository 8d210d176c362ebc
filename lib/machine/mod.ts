export type { AddressSpace, MemoryContent } from "./memory/address_space.ts";
export * from "./boot/boot.ts";
export * from "./boot/boot_options.ts";
export type {
  Guest,
  KernelOptions,
  ModuleOptions,
  SmmOptions,
  VmCapabilities,
} from "./boot/boot_options.ts";
export type { PicState } from "../devices/pic_state.ts";
export type { InterruptControllers } from "./interrupts/held_back.ts";
export type { IoapicState } from "./interrupts/irqchip.ts";
export type { CaughtFault } from "./faults/caught_fault.ts";
export { type InterleavingOptions, interleavings } from "./run/interleaving.ts";
export type { Cpuid } from "./cpuid/cpuid.ts";
export type { CpuidOptions } from "./cpuid/cpuid_options.ts";
export type { ExitHandler, StatefulExitHandler } from "./exits/exit_handlers.ts";
export type { DeviceBus } from "./buses/device_bus.ts";
export type { ExitLog, ExitRecord } from "./exits/exit_log.ts";
export type { MsrOutcome, Msrs } from "./msrs/msrs.ts";
export type { FlagRegister } from "./registers/flag_register.ts";
export type { AssignableRegisters } from "./registers/assignable_registers.ts";
export {
  CallError,
  ForgivenFaultError,
  GuestFaultError,
  PendingEventError,
  TimeLimitError,
  UnhandledExitError,
} from "./run/run_errors.ts";
export type { Coverage, CoverageMeans, LineCoverage } from "./coverage/coverage.ts";
export type { BreakOptions, Breakpoint, GuestDebug, WatchOptions } from "./run/guest_debug.ts";
export type { ExceptionOptions, Injection } from "./interrupts/injection.ts";
export type { KvmLevels } from "./cpu.ts";
export type { InterruptEvent, Interrupts } from "./interrupts/interrupts.ts";
export type { InterruptRoute } from "./interrupts/interrupt_routes.ts";
export type { GdbOptions } from "./gdb/serve_gdb.ts";
export type { LinearMemory } from "./memory/linear_memory.ts";
export type { Machine, MachineCpu } from "./machine.ts";
export type { MachineCpuOf } from "./machine_cpu.ts";
export type {
  CallInput,
  CallOptions,
  ExitAnswer,
  ExitsOptions,
  ObservedExit,
  RunOptions,
} from "./run/run_options.ts";
export type { MpState, VcpuEventState } from "./interrupts/vcpu_events.ts";
export {
  generalProtection,
  type MsrAccess,
  type MsrHandler,
  type MsrRange,
} from "./msrs/msr_intercepts.ts";
export { type Needs, type Requirement, requires } from "./host/requires.ts";
export type { PhysicalMemory } from "./memory/physical_memory.ts";
export type {
  MemoryOption,
  MemoryOptions,
  MemorySlot,
  SlotOptions,
} from "./memory/memory_slots.ts";
export { type ModeCase, modes } from "./boot/modes.ts";
export { type FirmwareState, hostileBoot, type HostileBootOptions } from "./boot/hostile_boot.ts";
export type { Notification, NotifyOptions } from "./buses/notification.ts";
export type { PortOutput } from "./buses/port_output.ts";
export type { Registers, RegisterValues } from "./registers/registers.ts";
export type { VectorRegister } from "./registers/vector_register.ts";
export type { WholeRegister } from "./registers/whole_register.ts";
export type { LastWriter, PastMachine, TraceOptions } from "./postmortem/history.ts";
export { Snapshot } from "./snapshot/snapshot.ts";
export { Template, template } from "./template.ts";
export type { X87Register } from "./registers/x87_register.ts";
export type { Size } from "./memory/size.ts";
