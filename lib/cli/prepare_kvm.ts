import { chosenKvm, type KvmChoice } from "../kvm/remote/kvm_choice.ts";
import {
  bochsVmx,
  type MachineProgram,
  openImage,
  QEMU,
  requireKvmImage,
  requireMachineProgram,
  requireNasm,
} from "../nested/mod.ts";
import type { CommandContext } from "./command_context.ts";

/** What is used where it is not this machine's KVM. */
const MACHINES = {
  "qemu-svm": { description: "QEMU emulating AMD SVM", program: QEMU },
  "bochs-vmx": { description: "Bochs emulating Intel VMX", program: bochsVmx() },
} as const;

/** Which KVM is used, in words. */
export function describeKvm({ kvm }: KvmChoice): string {
  return kvm === "host"
    ? "this machine's KVM"
    : `the KVM of an emulated machine (${
      MACHINES[kvm].description
    }): right results, no real timing`;
}

/** The program that runs the emulated machine whose KVM is used, if it is one's. */
export function machineProgram({ kvm }: KvmChoice): MachineProgram | undefined {
  return kvm === "host" ? undefined : MACHINES[kvm].program;
}

/**
 * Which KVM a command is to use; if it is not this machine's, the person is told why.
 *
 * @param context Who is told.
 * @throws {RangeError} When `VMEXIT_KVM` has a value that is none.
 */
export function chooseKvm({ progress }: CommandContext): KvmChoice {
  const choice = chosenKvm();
  if (choice.kvm !== "host") progress.note(`using ${describeKvm(choice)}; ${choice.because}`);
  return choice;
}

/**
 * Sees to it that the KVM can be used: NASM, and the emulated machine's program and image, are installed and made where
 * they are missing.
 *
 * @param choice Which KVM.
 * @param context Who hears of it, what ends it.
 * @returns Environment variables for a program that uses it, which finds NASM by them.
 * @throws {NestedError} When something cannot be had.
 */
export async function prepareKvm(
  choice: KvmChoice,
  { progress, signal }: CommandContext,
): Promise<Record<string, string>> {
  const onProgress = progress.show;
  const needed = machineProgram(choice);
  const program = needed && await requireMachineProgram(needed, onProgress, signal);
  const nasm = await requireNasm(onProgress, signal);
  if (choice.kvm === "qemu-svm") await requireKvmImage(program!, onProgress, signal);
  if (choice.kvm === "bochs-vmx") {
    using _image = await openImage({ machine: bochsVmx(), onProgress, signal });
  }
  progress.clear();
  // At the end, so that it is found only where there is no other.
  return { PATH: `${Deno.env.get("PATH") ?? ""}:${nasm.folder}` };
}

/** What the kernel says of the first processor. */
export interface Processor {
  /** Such as `"GenuineIntel"`. */
  vendor: string;
  /** The virtualization extension that it reports. */
  extension?: "VT-x (vmx)" | "SVM (svm)";
  /** Whether it is itself virtual. */
  hypervisor: boolean;
}

/**
 * Reads /proc/cpuinfo.
 *
 * @param path The file; another only in tests.
 */
export async function processor(path = "/proc/cpuinfo"): Promise<Processor> {
  const text = await Deno.readTextFile(path).catch(() => "");
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(text)?.[1] ?? "";
  const flags = new Set(field("flags").split(" "));
  return {
    vendor: field("vendor_id") || "unknown",
    extension: flags.has("vmx") ? "VT-x (vmx)" : flags.has("svm") ? "SVM (svm)" : undefined,
    hypervisor: flags.has("hypervisor"),
  };
}

/**
 * The part of KVM that drives a processor's virtualization, with the processor's vendor: `"kvm_intel on GenuineIntel"`.
 */
export function kvmModule({ vendor, extension }: Processor): string {
  if (extension === undefined) return `no known module on ${vendor}`;
  return `${extension === "VT-x (vmx)" ? "kvm_intel" : "kvm_amd"} on ${vendor}`;
}
