import { bochsVmx, type NestedMachine, qemuSvm } from "../nested/mod.ts";

/** The machines that a command can run in, by name; the first is the one that it runs in unless told. */
export const NESTED_MACHINES: Readonly<Record<string, () => NestedMachine>> = {
  "qemu-svm": qemuSvm,
  "bochs-vmx": bochsVmx,
};
