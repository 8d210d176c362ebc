import { emulatedMachine } from "../../kvm/remote/kvm_choice.ts";

/** The environment variable in which `vmexit test` names the nested machine that it runs in. */
const VARIABLE = "VMEXIT_NESTED";

/**
 * The name of the emulated machine whose KVM is used (`"qemu-svm"`, or `"bochs-vmx"` in which this process runs), or
 * undefined where that is this machine's, or cannot be found out.
 */
export function emulatedMachineName(): string | undefined {
  // Asking for the permission would stop a test run at a prompt.
  const { state } = Deno.permissions.querySync({ name: "env", variable: VARIABLE });
  const inside = state === "granted" ? Deno.env.get(VARIABLE) : undefined;
  // Empty, it says that there is none: so tests have it.
  if (inside !== undefined) return inside === "" ? undefined : inside;
  return Deno.permissions.querySync({ name: "ffi" }).state === "granted"
    ? emulatedMachine()
    : undefined;
}

/** What hardware's KVM does, and that of an emulated machine does not. */
export type EmulatorLack =
  /** Debug registers that the test sets, and `int3`, stop the guest. */
  | "breakpoints"
  /** Stepping traps. */
  | "singleStep"
  /** The time limit ends a guest that loops with interrupts off. */
  | "interruptsTimeLimit"
  /** An access outside of its segment raises an exception. */
  | "segmentChecks"
  /** No interrupt comes between STI and the instruction behind it. */
  | "interruptShadow";

/** Which emulated machines lack it, and how that is said. */
export const EMULATORS_LACK: Readonly<
  Record<EmulatorLack, { readonly machines: readonly string[]; readonly text: string }>
> = {
  // QEMU loads DR7 at VMRUN without putting it in force, and raises int3 as a software interrupt, which no intercept
  // of #BP sees.
  breakpoints: { machines: ["qemu-svm", "qemu-icount"], text: "breakpoints do not stop the guest" },
  singleStep: { machines: ["bochs-vmx"], text: "single steps do not trap" },
  interruptsTimeLimit: {
    machines: ["bochs-vmx"],
    text: "a guest that loops with interrupts off cannot be interrupted",
  },
  // QEMU's TCG looks at no limit and no type of a segment when it translates an access.
  segmentChecks: { machines: ["qemu-svm", "qemu-icount"], text: "segments are not checked" },
  // QEMU's VMRUN does not read the interrupt shadow that its #VMEXIT has written to the VMCB.
  interruptShadow: {
    machines: ["qemu-svm", "qemu-icount"],
    text: "an exit behind STI lets an interrupt in before the next instruction",
  },
};

/** Whether the emulated machine whose KVM is used lacks something; false where it is hardware's. */
export function emulatorLacks(
  what: EmulatorLack,
  machine: string | undefined = emulatedMachineName(),
): boolean {
  return machine !== undefined && EMULATORS_LACK[what].machines.includes(machine);
}
