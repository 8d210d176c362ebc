import { KVM_FORBIDDEN_REMEDY, type KvmDevice, kvmDevice } from "../nested/mod.ts";
import type { CommandContext } from "./command_context.ts";

/** The environment variable that makes the choice: `host` or `nested`. */
export const KVM_VARIABLE = "VMEXIT_KVM";

/** Why this machine's KVM is not used. */
export const KVM_UNUSABLE: Readonly<Record<Exclude<KvmDevice, "usable">, string>> = {
  missing: "this machine has no /dev/kvm",
  forbidden: KVM_FORBIDDEN_REMEDY,
  software:
    "/dev/kvm is there, but the processor reports neither VT-x (vmx) nor SVM (svm): it runs only guests made for it",
};

/**
 * Which KVM commands use: what the environment says, else this machine's if it is usable, else a nested one.
 *
 * @param device what this machine has
 * @param wish the value of the variable
 * @returns which, and why it is not this machine's
 * @throws {RangeError} when the variable has another value
 */
export function kvmChoice(
  device: KvmDevice,
  wish: string | undefined,
): { kvm: "host" } | { kvm: "nested"; because: string } {
  if (wish === "host") return { kvm: "host" };
  if (wish === "nested") return { kvm: "nested", because: `${KVM_VARIABLE} says so` };
  if (wish !== undefined && wish !== "") {
    throw new RangeError(
      `Cannot take ${KVM_VARIABLE} as a choice: "${wish}" is not host or nested`,
    );
  }
  return device === "usable" ? { kvm: "host" } : { kvm: "nested", because: KVM_UNUSABLE[device] };
}

/**
 * Which KVM a command is to use; if it is not this machine's, the person is told why.
 *
 * @param context who is told
 * @throws {RangeError} when `VMEXIT_KVM` has a value that is none
 */
export function chooseKvm({ progress }: CommandContext): "host" | "nested" {
  const choice = kvmChoice(kvmDevice(), Deno.env.get(KVM_VARIABLE));
  if (choice.kvm === "nested") progress.note(`using a nested machine: ${choice.because}`);
  return choice.kvm;
}
