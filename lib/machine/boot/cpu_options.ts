import { HostError } from "../../ffi/host_error.ts";
import type { Kvm } from "../../kvm/kvm.ts";
import type { Mode } from "../../x86/cpu_state.ts";
import type { BootOptions } from "./boot_options.ts";
import { SeededInterleaving } from "../run/interleaving.ts";
import { nestedName } from "../host/nested_name.ts";

type SeveralOptions =
  & Pick<
    BootOptions,
    "cpus" | "interleaving" | "irqchip" | "smm"
  >
  & {
    readonly catchFaults?: boolean;
    readonly cpl?: number;
    readonly gates?: unknown;
  };

/** As many local APIC ids as there are for CPUs: 0xff means all of them (Intel SDM Vol. 3A, 10.6.2.1). */
const MOST_CPUS = 0xff;

/** Where faults are not reported on the stack that the CPU has. */
const MODES_WITH_ONE_STACK: ReadonlySet<Mode> = new Set<Mode>([
  "compatibility",
  "long",
  "virtual8086",
]);

/** How many CPUs the options ask for. */
export function cpuCount({ cpus = 1 }: Pick<BootOptions, "cpus">): number {
  return typeof cpus === "number" ? cpus : cpus.length;
}

/** The options as they are meant: CPUs that wait for a SIPI need local APICs to get it. */
export function withCpuDefaults(options: BootOptions): BootOptions {
  const { cpus } = options;
  const needsApics = typeof cpus === "number" && cpus > 1 && options.irqchip === undefined;
  return needsApics ? { ...options, irqchip: true } : options;
}

/**
 * Refuses CPUs that cannot be, before KVM is asked.
 *
 * @throws {RangeError} When they are not from 1 to 255, or a seed is none.
 * @throws {TypeError} When other options do not go with them.
 * @throws {HostError} When they are to be interleaved where single steps do not trap.
 */
export function checkCpuOptions(options: SeveralOptions, mode: Mode): void {
  const { cpus = 1, interleaving, irqchip } = options;
  if (typeof cpus !== "number" && !Array.isArray(cpus)) {
    throw new TypeError(
      `Cannot boot with cpus ${
        JSON.stringify(cpus)
      }: give how many, or a list with the options of each`,
    );
  }
  const count = cpuCount(options);
  if (!Number.isInteger(count) || count < 1 || count > MOST_CPUS) {
    throw new RangeError(
      `Cannot boot ${count} CPUs: it is not a whole number from 1 to ${MOST_CPUS}`,
    );
  }
  if (typeof cpus === "number" && count > 1 && irqchip === false) {
    throw new TypeError(
      `Cannot boot ${count} CPUs with \`irqchip: false\`: all but the first wait for a SIPI, which only a local APIC ` +
        "sends. Leave `irqchip` out, or let them start at once: `cpus: [{}, { entry: … }]`.",
    );
  }
  if (count > 1) refuseShared(options, count, mode);
  if (interleaving === undefined) return;
  if (count === 1) {
    throw new TypeError(
      "Cannot interleave the only CPU of a machine with others: give it some with the option `cpus`",
    );
  }
  new SeededInterleaving(interleaving.seed, interleaving.instructions);
  if (!nestedName()?.startsWith("bochs")) return;
  throw new HostError(
    "Cannot interleave CPUs by a seed: an interleaving asked for on a host without single-step. In this emulated " +
      "machine single steps do not trap. Skip the test there with requires({ singleStep: true }, …).",
  );
}

/** @throws {RangeError} When this host's KVM does not take as many CPUs in a VM. */
export function checkCpuCount(kvm: Kvm, count: number): void {
  if (count === 1) return;
  // Kernels without KVM_CAP_MAX_VCPUS take as many as they recommend (api.rst 4.7).
  const most = kvm.capability("KVM_CAP_MAX_VCPUS") || kvm.capability("KVM_CAP_NR_VCPUS");
  if (count <= most) return;
  throw new RangeError(
    `Cannot boot ${count} CPUs: this host's KVM takes up to ${most} in a VM (KVM_CAP_MAX_VCPUS)`,
  );
}

/** What lies in memory once, and cannot serve two CPUs at the same time. */
function refuseShared(
  { cpus, catchFaults, cpl, smm }: SeveralOptions,
  count: number,
  mode: Mode,
): void {
  if (catchFaults && (typeof cpus === "number" || MODES_WITH_ONE_STACK.has(mode) || cpl === 3)) {
    throw new TypeError(
      `Cannot catch faults of ${count} CPUs${
        typeof cpus === "number"
          ? ": those that wait for a SIPI start without the fault catcher's IDT. Let them start at once: `cpus: [{}, {}]`."
          : ": the fault catcher has one stack in long and virtual-8086 mode, and for CPL 3. Boot with one CPU to catch a " +
            "fault."
      }`,
    );
  }
  if (smm !== undefined) {
    throw new TypeError(
      `Cannot give ${count} CPUs an SMM handler: they would save their states at the same place. Boot with one CPU.`,
    );
  }
  if (cpl === 3 && typeof cpus !== "number") {
    throw new TypeError(
      `Cannot start ${count} CPUs at CPL 3: there is one TSS, and so one stack for CPL 0. Start them at CPL 0, or ` +
        "leave that to the guest.",
    );
  }
}
