import {
  KVM_FORBIDDEN_REMEDY,
  type KvmDevice,
  kvmDevice,
  type NestedMachine,
  qemuSvm,
} from "../nested/mod.ts";
import type { CommandContext } from "./command_context.ts";
import { NESTED_MACHINES } from "./nested_machines.ts";

/** The environment variable that makes the choice: `host`, `nested`, or the name of a nested machine. */
export const KVM_VARIABLE = "VMEXIT_KVM";

/** Why this machine's KVM is not used. */
export const KVM_UNUSABLE: Readonly<Record<Exclude<KvmDevice, "usable">, string>> = {
  missing: "this machine has no /dev/kvm",
  forbidden: KVM_FORBIDDEN_REMEDY,
  software:
    "/dev/kvm is there, but the processor reports neither VT-x (vmx) nor SVM (svm): it runs only guests made for it",
};

/** A KVM to use: this machine's, or that of a nested machine. */
export type KvmChoice =
  | { kvm: "host" }
  | { kvm: "nested"; machine: NestedMachine; because: string };

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
): KvmChoice {
  if (wish === "host") return { kvm: "host" };
  const because = `${KVM_VARIABLE} says so`;
  if (wish === "nested") return { kvm: "nested", machine: qemuSvm(), because };
  if (wish !== undefined && wish !== "") {
    if (!Object.hasOwn(NESTED_MACHINES, wish)) {
      throw new RangeError(
        `Cannot take ${KVM_VARIABLE} as a choice: "${wish}" is not one of host, nested, ${
          Object.keys(NESTED_MACHINES).join(", ")
        }`,
      );
    }
    return { kvm: "nested", machine: NESTED_MACHINES[wish](), because };
  }
  return device === "usable"
    ? { kvm: "host" }
    : { kvm: "nested", machine: qemuSvm(), because: KVM_UNUSABLE[device] };
}

/**
 * Which KVM a command is to use; if it is not this machine's, the person is told why.
 *
 * @param context who is told
 * @throws {RangeError} when `VMEXIT_KVM` has a value that is none
 */
export function chooseKvm({ progress }: CommandContext): KvmChoice {
  const choice = kvmChoice(kvmDevice(), Deno.env.get(KVM_VARIABLE));
  if (choice.kvm === "nested") progress.note(`using a nested machine: ${choice.because}`);
  return choice;
}
