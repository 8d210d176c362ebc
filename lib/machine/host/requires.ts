import { atCaller } from "../../guest/call_site.ts";
import { HostError } from "../../ffi/errors.ts";
import type { Libc } from "../../ffi/libc.ts";
import { Kvm } from "../../kvm/kvm.ts";
import { KvmError } from "../../kvm/errors.ts";
import {
  emulatedMachineName,
  type EmulatorLack,
  emulatorLacks,
  EMULATORS_LACK,
} from "./emulated_machine.ts";
import {
  CAPABILITIES,
  type CapabilityInCamelCase,
  type CapabilityName,
} from "../../kvm/abi/capabilities.ts";
import {
  type CpuidEntry,
  cpuidFeatureNames,
  cpuidVendor,
  hasCpuidFeature,
} from "../../x86/cpuid/cpuid.ts";
import type { CpuidFeature } from "../../x86/cpuid/cpuid_features.ts";
import { definedEntries } from "../../x86/defined_entries.ts";
import { nearestNames } from "../../x86/nearest_names.ts";

/** Errors by which a host cannot be asked. The test will meet the same one, and fail with it. */
const HOST_ERRORS = [HostError, KvmError, Deno.errors.NotCapable];

/** Whether a test is left out. `Deno.test`, and steps, take it as options. */
export interface Requirement {
  /** Whether the host lacks something that the test needs. */
  readonly ignore: boolean;
  /** What that is, in a sentence; undefined where it lacks nothing. */
  readonly reason: string | undefined;
}

/** What was found out when it was first asked. */
let known: { readonly facts: HostFacts | undefined } | undefined;

/**
 * A test's options by which it is skipped where the host lacks what it needs. The reason stands behind its
 * name, so that every reporter shows it.
 *
 * A host without any KVM lacks everything, and skips nothing: the test runs, and fails with the
 * {@linkcode HostError} that says what to do. The same holds where FFI is not permitted. No permission is
 * asked for.
 *
 * @param needs What it needs; what is `false` the host must lack.
 * @param name The test's name.
 * @throws {RangeError} When there is nothing of a name.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, requires } from "@vmexit/vmexit";
 *
 * Deno.test(requires({ la57: true }, "the guest runs with 5 levels"), () => {
 *   using vm = boot(asm`hlt`, { mode: "long", levels: 5 });
 *   vm.run();
 * });
 * // the guest runs with 5 levels (skipped: this host's KVM offers its guests no la57) ... ignored
 * ```
 */
export function requires(
  needs: Needs,
  name: string,
): { readonly name: string; readonly ignore: boolean };
/**
 * Whether the host lacks something, and what, for a test or a step that names the reason itself.
 *
 * @param needs What is needed; what is `false` the host must lack.
 * @throws {RangeError} When there is nothing of a name.
 *
 * @example
 * ```ts no-eval
 * import { requires } from "@vmexit/vmexit";
 *
 * const { ignore, reason } = requires({ vmx: true, dirtyRing: true });
 * if (ignore) console.log(reason);
 * ```
 */
export function requires(needs: Needs): Requirement;
export function requires(
  needs: Needs,
  name?: string,
): Requirement | { name: string; ignore: boolean } {
  const unmet = atCaller(requires, () => unmetNeeds(needs, hostFacts()));
  const ignore = unmet.length > 0;
  const reason = ignore ? unmet.join("; ") : undefined;
  if (name === undefined) return { ignore, reason };
  return { name: ignore ? `${name} (skipped: ${reason})` : name, ignore };
}

function hostFacts(): HostFacts | undefined {
  known ??= { facts: askHost() };
  return known.facts;
}

/** What a host says of itself; undefined where it cannot be asked. */
export function askHost(libc?: Libc): HostFacts | undefined {
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") return undefined;
  try {
    using kvm = Kvm.open(libc);
    return {
      capability: (name) => {
        using again = Kvm.open(libc);
        return again.capability(name);
      },
      cpuid: kvm.getSupportedCpuid(),
      machine: emulatedMachineName(),
    };
  } catch (error) {
    if (HOST_ERRORS.some((kind) => error instanceof kind)) return undefined;
    throw error;
  }
}

/**
 * What a test needs of the host: capabilities of KVM (`{ dirtyLogRing: true }`), CPUID features that its
 * guests can have (`{ svm: true, la57: true }`), a vendor (`{ intel: true }`), and what emulated machines
 * lack. What is `false` the host must lack.
 */
export type Needs = { readonly [Need in CapabilityInCamelCase | CpuidFeature]?: boolean } & {
  /** A processor of Intel's. */
  readonly intel?: boolean;
  /** A processor of AMD's, or Hygon's. */
  readonly amd?: boolean;
  /** The ring of dirty pages, by either of its capabilities. */
  readonly dirtyRing?: boolean;
  /** Stepping traps; it does not in Bochs. */
  readonly singleStep?: boolean;
  /** Debug registers that the test sets, and `int3`, stop the guest; they do not in QEMU. */
  readonly breakpoints?: boolean;
  /** The time limit ends a guest that loops with interrupts off; in Bochs it hangs the machine. */
  readonly interruptsTimeLimit?: boolean;
  /** No interrupt comes between STI and the instruction behind it; in QEMU it does when KVM's host is interrupted there. */
  readonly interruptShadow?: boolean;
};

/** What is no capability and no CPUID feature. */
type OtherNeed = Exclude<keyof Needs, CapabilityInCamelCase | CpuidFeature>;

/** What a host says of itself. */
export interface HostFacts {
  /** What `KVM_CHECK_EXTENSION` says. */
  readonly capability: (name: CapabilityName) => number;
  /** What CPUID can answer in its guests. */
  readonly cpuid: readonly CpuidEntry[];
  /** The name of the emulated machine that it is, where it is one: `"bochs-vmx"`. */
  readonly machine: string | undefined;
}

/** Whether a host has something, and what to say where it is not as it must be. */
interface Fact {
  readonly isThere: boolean;
  readonly lacking: string;
  readonly present: string;
}

const RING: readonly CapabilityName[] = [
  "KVM_CAP_DIRTY_LOG_RING",
  "KVM_CAP_DIRTY_LOG_RING_ACQ_REL",
];

const VENDORS = {
  intel: { name: "Intel", strings: ["GenuineIntel"] },
  amd: { name: "AMD", strings: ["AuthenticAMD", "HygonGenuine"] },
} as const;

const OTHERS: Readonly<Record<OtherNeed, (host: HostFacts) => Fact>> = {
  intel: (host) => vendorFact(host, VENDORS.intel),
  amd: (host) => vendorFact(host, VENDORS.amd),
  dirtyRing: ({ capability }) => ({
    isThere: RING.some((name) => capability(name) > 0),
    lacking: `this host's KVM lacks ${RING.join(" and ")}`,
    present: "this host's KVM has the ring of dirty pages",
  }),
  singleStep: (host) => emulatorFact(host, "singleStep"),
  breakpoints: (host) => emulatorFact(host, "breakpoints"),
  interruptsTimeLimit: (host) => emulatorFact(host, "interruptsTimeLimit"),
  interruptShadow: (host) => emulatorFact(host, "interruptShadow"),
};

let capabilities: ReadonlyMap<string, CapabilityName> | undefined;

function capabilitiesByNeed(): ReadonlyMap<string, CapabilityName> {
  return capabilities ??= new Map(
    Object.values(CAPABILITIES).map(({ name }) => [camelCase(name.slice("KVM_CAP_".length)), name]),
  );
}

function camelCase(name: string): string {
  return name.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}

/**
 * Why a host does not have what is needed, a sentence for each; empty where it has it all.
 *
 * @param host Undefined where it cannot be asked: then only the names are checked.
 * @throws {RangeError} When there is nothing of a name.
 */
export function unmetNeeds(needs: Needs, host: HostFacts | undefined): string[] {
  const asked = definedEntries("require", needs);
  const wrong = asked.find(([, isNeeded]) => typeof isNeeded !== "boolean");
  if (wrong !== undefined) {
    throw new TypeError(
      `Cannot require ${wrong[0]} as ${
        String(wrong[1])
      }: give true, or false for a host that must lack it`,
    );
  }
  const known = new Set<string>(cpuidFeatureNames());
  for (const [need] of asked) {
    if (known.has(need) || Object.hasOwn(OTHERS, need) || capabilitiesByNeed().has(need)) continue;
    const names = [...Object.keys(OTHERS), ...capabilitiesByNeed().keys(), ...known];
    throw new RangeError(
      `Cannot require "${need}": there is no capability of KVM (in camel case), CPUID feature or vendor of ` +
        `that name; the nearest are ${nearestNames(need, names).join(", ")}`,
    );
  }
  if (host === undefined) return [];
  return asked.flatMap(([need, isNeeded]) =>
    factsOf(need, host, known)
      .filter(({ isThere }) => isThere !== isNeeded)
      .map(({ lacking, present }) => isNeeded ? lacking : present)
  );
}

/** Some names are a capability and a CPUID feature: then both are meant. */
function factsOf(need: string, host: HostFacts, features: ReadonlySet<string>): Fact[] {
  const facts: Fact[] = [];
  if (Object.hasOwn(OTHERS, need)) facts.push(OTHERS[need as OtherNeed](host));
  const capability = capabilitiesByNeed().get(need);
  if (capability !== undefined) {
    facts.push({
      isThere: host.capability(capability) > 0,
      lacking: `this host's KVM lacks ${capability}`,
      present: `this host's KVM has ${capability}`,
    });
  }
  if (features.has(need)) {
    facts.push({
      isThere: hasCpuidFeature(host.cpuid, need as CpuidFeature),
      lacking: `this host's KVM offers its guests no ${need}`,
      present: `this host's KVM offers its guests ${need}`,
    });
  }
  return facts;
}

function vendorFact(
  { cpuid }: HostFacts,
  { name, strings }: { name: string; strings: readonly string[] },
): Fact {
  const vendor = cpuidVendor(cpuid);
  return {
    isThere: strings.includes(vendor),
    lacking: `this host's CPU is not ${name}'s, but ${vendor}`,
    present: `this host's CPU is ${name}'s`,
  };
}

function emulatorFact({ machine }: HostFacts, what: EmulatorLack): Fact {
  return {
    isThere: machine === undefined || !emulatorLacks(what, machine),
    lacking: `${EMULATORS_LACK[what].text} in this emulated machine (${machine})`,
    present: "this host is none of the emulated machines that lack it",
  };
}
