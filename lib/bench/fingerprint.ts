import { readText } from "../ffi/read_text.ts";
import { libc as localLibc } from "../ffi/real_libc.ts";
import { mountKernelFiles } from "../kvm/remote/kernel_files.ts";
import { kvmLibc, remoteLibc } from "../kvm/remote/kvm_choice.ts";
import { emulatedMachineName } from "../machine/host/emulated_machine.ts";

/**
 * On what something was measured, as names and texts for people: results can be compared where all of `host` is the same.
 */
export interface Fingerprint {
  /** The machine that has the KVM: its processor, its kernel, and how both are set. */
  readonly host: Readonly<Record<string, string>>;
  /** What measured: versions, which may differ between results that are compared. */
  readonly software: Readonly<Record<string, string>>;
}

/** Reads a file of the kernel's where KVM is; undefined where there is none. */
export type ReadText = (path: string) => string | undefined;

const CPU = "/sys/devices/system/cpu";

/** What the kernel knows processors to be vulnerable to (Documentation/ABI/testing/sysfs-devices-system-cpu). */
const VULNERABILITIES = [
  "gather_data_sampling",
  "indirect_target_selection",
  "itlb_multihit",
  "l1tf",
  "mds",
  "meltdown",
  "mmio_stale_data",
  "reg_file_data_sampling",
  "retbleed",
  "spec_rstack_overflow",
  "spec_store_bypass",
  "spectre_v1",
  "spectre_v2",
  "srbds",
  "tsa",
  "tsx_async_abort",
  "vmscape",
] as const;

/** Settings of KVM's modules that change what an exit costs. */
const MODULE_PARAMETERS: Readonly<Record<string, readonly string[]>> = {
  kvm: [
    "halt_poll_ns",
    "tdp_mmu",
    "mmio_caching",
    "nx_huge_pages",
    "enable_pmu",
    "pi_inject_timer",
  ],
  kvm_intel: [
    "ept",
    "vpid",
    "unrestricted_guest",
    "enable_apicv",
    "nested",
    "vmentry_l1d_flush",
    "pml",
  ],
  kvm_amd: ["npt", "avic", "nested", "vls", "vgif", "lbrv"],
};

const HUGE_PAGE_SIZES = [2048, 1_048_576] as const;

/**
 * On what this process measures: read from where the KVM is that it uses.
 *
 * @param software Names and versions of what measures.
 * @param emulator What emulates the machine that has the KVM, with its version, where that is emulated.
 * @throws {HostError} When there is no KVM.
 */
export function fingerprint(
  software: Readonly<Record<string, string>>,
  emulator: string | undefined,
): Fingerprint {
  const libc = kvmLibc();
  const remote = remoteLibc();
  if (remote !== undefined) mountKernelFiles(remote);
  const machine = emulatedMachineName();
  const name = machine === undefined
    ? "this machine's"
    : `that of the emulated machine ${machine}${emulator === undefined ? "" : ` (${emulator})`}`;
  const local = remote && hostFingerprint((path) => readText(localLibc(), path));
  return {
    host: {
      KVM: name,
      ...hostFingerprint((path) => readText(libc, path)),
      ...local && { "emulated on": [local.processor, local.microcode, local.kernel].join(", ") },
    },
    software,
  };
}

/**
 * Describes the machine that has the KVM. What it does not say is left out.
 *
 * @param read Reads its files.
 *
 * @example
 * ```ts no-eval
 * import { hostFingerprint } from "./fingerprint.ts";
 * import { readText } from "../ffi/read_text.ts";
 * import { kvmLibc } from "../kvm/remote/kvm_choice.ts";
 *
 * console.log(hostFingerprint((path) => readText(kvmLibc(), path))["kernel"]);
 * ```
 */
export function hostFingerprint(read: ReadText): Record<string, string> {
  const line = (path: string) => read(path)?.trim().replaceAll(/\s+/g, " ") || undefined;
  const cpuinfo = read("/proc/cpuinfo") ?? "";
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(cpuinfo)?.[1].trim();
  const numbers = ["cpu family", "model", "stepping"].map(field);
  const found: Record<string, string | undefined> = {
    processor: field("model name"),
    "family, model, stepping": numbers.every((each) => each === undefined)
      ? undefined
      : numbers.join(", "),
    microcode: field("microcode"),
    CPUs: `${cpuinfo.match(/^processor\s*:/gm)?.length ?? ""}`,
    "runs on": /^flags\s*:.*\bhypervisor\b/m.test(cpuinfo)
      ? `a hypervisor (${board(line) ?? "unnamed"})`
      : cpuinfo && `hardware (${board(line) ?? "unnamed"})`,
    kernel: line("/proc/sys/kernel/osrelease"),
    "kernel built": line("/proc/sys/kernel/version"),
    "kernel command line": mitigationOptions(line("/proc/cmdline")),
    mitigations: mitigations(line),
    governor: line(`${CPU}/cpu0/cpufreq/scaling_governor`),
    SMT: line(`${CPU}/smt/control`),
    "isolated CPUs": line(`${CPU}/isolated`),
    "clock source": line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
    "transparent huge pages": /\[(\w+)\]/.exec(
      line("/sys/kernel/mm/transparent_hugepage/enabled") ?? "",
    )?.[1],
    "huge pages": hugePages(line),
    ...Object.fromEntries(
      Object.keys(MODULE_PARAMETERS).map((name) => [name, parameters(name, line)]),
    ),
  };
  return Object.fromEntries(
    Object.entries(found).filter((entry): entry is [string, string] => !!entry[1]),
  );
}

type ReadLine = (path: string) => string | undefined;

/** Who made the machine, and what they call it. */
function board(line: ReadLine): string | undefined {
  const names = ["sys_vendor", "product_name"].map((name) => line(`/sys/class/dmi/id/${name}`));
  return names.filter((name) => name !== undefined).join(" ") || undefined;
}

/** Those of the kernel's options that change what an exit costs. */
function mitigationOptions(commandLine: string | undefined): string | undefined {
  const options = commandLine?.split(" ").filter((option) =>
    /^(mitigations|nosmt|spectre_|spec_|retbleed|l1tf|mds|tsx|kvm|isolcpus|nohz_full|rcu_nocbs|idle|processor\.|intel_idle|hugepages|preempt|clocksource|tsc)/
      .test(option)
  );
  return options?.join(" ");
}

function mitigations(line: ReadLine): string | undefined {
  const known = VULNERABILITIES.flatMap((name) => {
    const text = line(`${CPU}/vulnerabilities/${name}`);
    return text === undefined || text === "Not affected" ? [] : [`${name}: ${text}`];
  });
  return known.join("; ");
}

function hugePages(line: ReadLine): string | undefined {
  const known = HUGE_PAGE_SIZES.flatMap((size) => {
    const count = line(`/sys/kernel/mm/hugepages/hugepages-${size}kB/nr_hugepages`);
    return count === undefined ? [] : [`${count} of ${size} KiB`];
  });
  return known.join(", ");
}

function parameters(module: string, line: ReadLine): string | undefined {
  const known = MODULE_PARAMETERS[module].flatMap((name) => {
    const value = line(`/sys/module/${module}/parameters/${name}`);
    return value === undefined ? [] : [`${name}=${value}`];
  });
  return known.join(" ");
}

/** A name whose text is another in two results; a text is undefined where one has none. */
export interface Difference {
  /** Such as `"microcode"`. */
  readonly name: string;
  /** What the first has. */
  readonly first: string | undefined;
  /** What the second has. */
  readonly second: string | undefined;
}

/** In what two hosts differ; nothing where figures of the one can be held against the other's. */
export function differences(
  first: Readonly<Record<string, string>>,
  second: Readonly<Record<string, string>>,
): Difference[] {
  const names = new Set([...Object.keys(first), ...Object.keys(second)]);
  return [...names]
    .filter((name) => first[name] !== second[name])
    .map((name) => ({ name, first: first[name], second: second[name] }));
}
