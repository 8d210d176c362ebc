/**
 * Runs commands in a machine that has /dev/kvm, on hosts that have none: QEMU emulates the processor and its
 * virtualization extension, a small Linux inside has a real KVM. Correct, but slow: a VM exit takes a hundred times as
 * long, and times measured inside mean nothing.
 *
 * @example
 * ```ts no-run
 * import { runNested } from "@vmexit/vmexit/nested";
 *
 * const { code } = await runNested(["deno", "--version"]);
 * console.log(code);
 * ```
 *
 * @module
 */
export { cacheFolder } from "./cache_folder.ts";
export type { FileIn } from "./collect_files.ts";
export type { CommandOptions, CommandResult } from "./command.ts";
export { FileLock } from "./file_lock.ts";
export { findNasm, type Nasm, requireNasm } from "./nasm.ts";
export { findProgram } from "./find_program.ts";
export {
  type Image,
  type ImageOptions,
  missingPackages,
  openImage,
  requireMachineProgram,
} from "./image.ts";
export { installCommand, installPackages, type Say } from "./packages.ts";
export {
  NESTED_FAILURE,
  NESTED_TIMEOUT,
  NestedError,
  type NestedErrorOptions,
} from "./nested_error.ts";
export type { BootParts } from "./boot_parts.ts";
export type { MachineProcess } from "./machine_process.ts";
export type { ImageMaking, MachineInside, MachineStart, NestedMachine } from "./nested_machine.ts";
export type { RunFolder } from "./run_folder.ts";
export type { MachineStreams, StartedMachine } from "./started_machine.ts";
export { NestedSession, type SessionOptions } from "./nested_session.ts";
export { type NestedOptions, runNested, startNested } from "./run_nested.ts";
export { bochsVmx } from "./bochs/bochs_vmx.ts";
export { QEMU_PACKAGE, QEMU_PROGRAM, requireKvmImage } from "./qemu/kvm_image.ts";
