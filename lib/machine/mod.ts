export * from "./address_space.ts";
export * from "./boot.ts";
export * from "./boot_options.ts";
export type { Guest } from "./guest.ts";
export type { AddressRange, Bus, MmioHandler, PortHandler } from "./bus.ts";
export type { ExitHandler, HandledReason } from "./exit_handlers.ts";
export { ExitLog, type ExitRecord } from "./exit_log.ts";
export type { FlagProperties, FlagRegister } from "./flag_register.ts";
export { LinearMemory } from "./linear_memory.ts";
export { Machine } from "./machine.ts";
export type * from "./machine_types.ts";
export { type MemorySlot, PhysicalMemory } from "./physical_memory.ts";
export { PortOutput } from "./port_output.ts";
export { type RegisterSet, RegisterStore } from "./register_store.ts";
export type {
  ControlRegisterName,
  FlagRegisterName,
  RegisterAccess,
  Registers,
  RegisterValues,
  TableRegisterName,
} from "./registers.ts";
export { type Size, sizeInBytes } from "./size.ts";
export { TimeLimitError } from "./time_limit_error.ts";
export { UnhandledExitError } from "./unhandled_exit_error.ts";
