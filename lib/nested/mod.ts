/**
 * Runs commands in a machine that has /dev/kvm, on hosts that have none: Bochs emulates an Intel processor with its
 * virtualization extension, a small Linux inside has a real KVM. Correct, but slow: times measured inside mean nothing.
 * And makes the image of the machine whose KVM `boot` uses from outside, by QEMU.
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
export { binutilsFiles, findBinutils, requireBinutils } from "./binutils.ts";
export { cacheFolder } from "./cache_folder.ts";
export type { FileIn } from "./job_disk.ts";
export {
  type CommandOptions,
  type CommandResult,
  NestedSession,
  type SessionOptions,
} from "./nested_session.ts";
export { FileLock } from "./file_lock.ts";
export { findFirmware, type FirmwareFile, requireFirmware } from "./firmware.ts";
export { findNasm, type Nasm, requireNasm } from "./nasm.ts";
export { findProgram } from "./host_program.ts";
export {
  type Image,
  type ImageOptions,
  missingPackages,
  openImage,
  requireMachineProgram,
} from "./image.ts";
export { installCommand, installPackages, type ProgressListener } from "./packages.ts";
export {
  NESTED_FAILURE,
  NESTED_TIMEOUT,
  NestedError,
  type NestedErrorOptions,
} from "./nested_error.ts";
export type { BootParts } from "./boot_parts.ts";
export type { MachineProcess, MachineStreams, StartedMachine } from "./machine_process.ts";
export type {
  ImageMaking,
  MachineInside,
  MachineProgram,
  MachineStart,
  NestedMachine,
} from "./nested_machine.ts";
export type { RunFolder } from "./run_folder.ts";
export { type NestedOptions, runNested, startNested } from "./run_nested.ts";
export { bochsVmx } from "./bochs/bochs_vmx.ts";
export { exportKvmImage, importKvmImage } from "./qemu/carry_image.ts";
export { qemuIcount } from "./qemu/qemu_icount.ts";
export { QEMU, requireKvmImage } from "./qemu/kvm_image.ts";
