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
 * @param path the file; another only in tests
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

/** The part of KVM that drives a processor's virtualization, with the processor's vendor: `"kvm_intel on GenuineIntel"`. */
export function kvmModule({ vendor, extension }: Processor): string {
  if (extension === undefined) return `no known module on ${vendor}`;
  return `${extension === "VT-x (vmx)" ? "kvm_intel" : "kvm_amd"} on ${vendor}`;
}
