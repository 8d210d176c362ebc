import { createHash } from "node:crypto";
import type { Libc } from "../../ffi/libc.ts";
import type { Image } from "../../guest/image.ts";
import type { Kvm } from "../../kvm/kvm.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { CpuidEntry } from "../../x86/cpuid/cpuid.ts";
import { cpuidBrand } from "../../x86/cpuid/cpuid_strings.ts";
import type { KernelDevices } from "./controllers_state.ts";

/** The version of this library, as deno.json has it: what a snapshot has is its affair. */
export const VERSION = "0.1.0";

/** What kind of machine a snapshot is of, and on what: by what each is called. */
export type MachineIdentity = Readonly<Record<string, string>>;

/** What {@linkcode machineIdentity} looks at. */
export interface IdentifiedMachine {
  readonly libc: Libc;
  readonly kvm: Kvm;
  readonly image: Image;
  readonly mode: string;
  readonly cpus: readonly { readonly vcpu: Vcpu }[];
  readonly kernelDevices: KernelDevices;
  /** What is on its board. */
  readonly devices: readonly string[];
}

const RELEASE = "/proc/sys/kernel/osrelease";
const RELEASE_SIZE = 256;

/** What kind of machine it is, and on what. */
export function machineIdentity(machine: IdentifiedMachine): MachineIdentity {
  const { libc, kvm, image, mode, cpus, kernelDevices, devices } = machine;
  const supported = kvm.getSupportedCpuid();
  const { irqchip, pit } = kernelDevices;
  return {
    "vmexit": VERSION,
    "Deno": Deno.version.deno,
    "the host's kernel": kernelRelease(libc),
    "the host's CPU": `${cpuidBrand(supported) || "without a name"} (${hash(supported)})`,
    "the MSRs of KVM": hash(kvm.getMsrIndexList()),
    "the guest": hash(
      image.segments.map(({ bytes, ...place }) => [Object.entries(place).map(String), hash(bytes)]),
    ),
    "the mode": mode,
    "how many CPUs": String(cpus.length),
    "CPUID": hash(cpus.map(({ vcpu }) => vcpu.cpuid.getCpuid2().map(fixedPart))),
    "the interrupt controllers": `${String(irqchip)}${pit ? ", with a PIT" : ""}`,
    "the devices": devices.join(", "),
  };
}

/** What differs between two machines, in words; undefined where nothing does. */
export function difference(then: MachineIdentity, now: MachineIdentity): string | undefined {
  const names = [...new Set([...Object.keys(now), ...Object.keys(then)])];
  const other = names.filter((name) => then[name] !== now[name]);
  if (other.length === 0) return undefined;
  return other.map((name) =>
    `${name}: ${then[name] ?? "unknown"} then, ${now[name] ?? "unknown"} here`
  )
    .join("; ");
}

/** What of an answer of CPUID does not follow what the guest has switched on (Intel SDM Vol. 2A, CPUID). */
function fixedPart({ function: leaf, index, eax, ebx, ecx, edx }: CpuidEntry): readonly number[] {
  const changing: Readonly<Record<number, readonly number[]>> = {
    // OSXSAVE and MONITOR; APIC. OSPKE. The size of the XSAVE area.
    0x1: [0, 0, 1 << 27 | 1 << 3, 1 << 9],
    0x7: [0, 0, 1 << 4, 0],
    0xd: [0, -1, 0, 0],
  };
  const masks = changing[leaf] ?? [0, 0, 0, 0];
  return [leaf, index, ...[eax, ebx, ecx, edx].map((word, at) => word & ~masks[at])];
}

/** The kernel's whose KVM it is. */
function kernelRelease(libc: Libc): string {
  const fd = libc.open(RELEASE, 0);
  if (fd < 0) return "unknown";
  try {
    const bytes = new Uint8Array(new ArrayBuffer(RELEASE_SIZE));
    const count = libc.read(fd, bytes);
    return new TextDecoder().decode(bytes.subarray(0, Math.max(0, count))).trim();
  } finally {
    libc.close(fd);
  }
}

function hash(what: unknown): string {
  const text = what instanceof Uint8Array
    ? what
    : JSON.stringify(what, (_, value) => typeof value === "bigint" ? String(value) : value);
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
