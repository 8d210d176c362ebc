import {
  checkOptions,
  definedEntries,
  type NamesOf,
  type OptionNames,
} from "../../x86/defined_entries.ts";
import { noneOfThatName } from "../../x86/nearest_names.ts";
import type { Mode } from "../../x86/boot/cpu_state.ts";
import type { PageMapping } from "../../x86/paging/page_mapping.ts";
import type { CpuidOptions } from "../cpuid/cpuid_options.ts";
import { SLOT_OPTIONS, type SlotOptions } from "../memory/memory_slots.ts";
import type { InterleavingOptions } from "../run/interleaving.ts";
import type {
  BootOptions,
  CommonOptions,
  CompatibilityOptions,
  CpuOptions,
  LongOptions,
  PaeOptions,
  PagedOptions,
  Protected16Options,
  ProtectedOptions,
  RealOptions,
  SmmOptions,
  UnrealOptions,
  Virtual8086Options,
} from "./boot_options.ts";
import type { OwnProtocol } from "./boot_protocol.ts";

const common: NamesOf<CommonOptions> = {
  capabilities: "value",
  cpuid: "value",
  clock: "value",
  coverage: "flag",
  cpus: "value",
  devices: "value",
  dirtyPages: "value",
  entry: "value",
  exitPort: "value",
  gates: "value",
  hugePages: "flag",
  images: "value",
  interleaving: "value",
  irqchip: "value",
  kernel: "value",
  libc: "value",
  load: "value",
  memory: "value",
  mmio: "value",
  msrs: "value",
  origin: "value",
  pit: "flag",
  ports: "value",
  recordExits: "value",
  reuse: "flag",
  timeExits: "flag",
  strict: "flag",
  registers: "value",
  reset: "value",
  serial: "flag",
  slots: "value",
  smm: "value",
  timeout: "value",
  tripleFault: "value",
  unclaimed: "value",
};

const segments = {
  cs: "value",
  ds: "value",
  es: "value",
  fs: "value",
  gs: "value",
  ss: "value",
} as const;
const real: NamesOf<RealOptions> = {
  ...common,
  ...segments,
  mode: "value",
  ip: "value",
  sp: "value",
  catchFaults: "flag",
};
const unreal: NamesOf<UnrealOptions> = real;
const tables = {
  gdt: "value",
  idt: "value",
  tss: "value",
  catchFaults: "flag",
} as const;
const protected16: NamesOf<Protected16Options> = {
  ...common,
  ...tables,
  mode: "value",
  stack: "value",
};
const virtual8086: NamesOf<Virtual8086Options> = { ...real, ...tables, ioPermission: "flag" };
const protected32: NamesOf<ProtectedOptions> = {
  ...protected16,
  cpl: "value",
  ioPermission: "flag",
};
const paged: NamesOf<PagedOptions> = {
  ...protected32,
  pageTables: "value",
  mappings: "value",
  identityMap: "value",
};
const pae: NamesOf<PaeOptions> = paged;
const compatibility: NamesOf<CompatibilityOptions> = { ...paged, levels: "value" };
const long: NamesOf<LongOptions> = {
  ...compatibility,
  convention: "value",
  zeroPage: "value",
  bootInformation: "value",
  cpuNumber: "value",
};

const { entry: _, load: __, origin: ___, ...anywhere } = common;
/** The options of guests that start by a boot protocol. */
const ofProtocols: OptionNames = { ...anywhere, mode: "value" };

const NAMES: Readonly<Record<Mode, OptionNames>> = {
  real,
  unreal,
  protected16,
  virtual8086,
  protected: protected32,
  paged,
  pae,
  compatibility,
  long,
};

/**
 * Refuses options that a mode does not have, names within them that there are not, and values that would be taken for
 * others: without a type check they would be ignored.
 *
 * @throws {TypeError} When there is one.
 */
export function checkOptionNames(
  mode: Mode,
  options: BootOptions,
  protocol: OwnProtocol | undefined,
): void {
  const known = protocol === undefined ? NAMES[mode] : ofProtocols;
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(known, name));
  if (unknown === undefined) return checkWithin(options, known);
  const modes = (Object.keys(NAMES) as Mode[]).filter((each) =>
    Object.hasOwn(NAMES[each], unknown)
  );
  if (protocol !== undefined && (modes.length > 0 || Object.hasOwn(common, unknown))) {
    throw new TypeError(
      `Cannot boot a ${protocol.kind} image with the option ${unknown}: where it lies and starts, and in what state, is ` +
        "told by its boot protocol; `registers` changes what registers have",
    );
  }
  throw new TypeError(
    modes.length > 0
      ? `Cannot boot mode ${mode} with the option ${unknown}: it is one of ${modes.join(", ")}`
      : `Cannot boot with the option ${unknown}: ${noneOfThatName(unknown, Object.keys(known))}`,
  );
}

/** The names of what is in the options that are objects, or lists of them. */
const WITHIN: {
  readonly cpuid: NamesOf<CpuidOptions>;
  readonly cpus: NamesOf<CpuOptions>;
  readonly interleaving: NamesOf<InterleavingOptions>;
  readonly mappings: NamesOf<PageMapping>;
  readonly slots: NamesOf<SlotOptions>;
  readonly smm: NamesOf<SmmOptions>;
} = {
  cpuid: {
    hide: "value",
    show: "value",
    force: "value",
    brand: "value",
    vendor: "value",
    hypervisor: "value",
    pmu: "flag",
    family: "value",
    model: "value",
    stepping: "value",
    entries: "value",
  },
  cpus: { entry: "value", stack: "value", registers: "value" },
  interleaving: { seed: "value", instructions: "value" },
  mappings: {
    linear: "value",
    physical: "value",
    size: "value",
    pageSize: "value",
    writable: "flag",
    user: "flag",
    userTables: "flag",
    executable: "flag",
    present: "flag",
  },
  slots: SLOT_OPTIONS,
  smm: { handler: "value", base: "value" },
};

/** Those of them that are lists. */
const LISTS: readonly string[] = ["cpus", "mappings", "slots"];

/**
 * The same within the options.
 */
function checkWithin(options: BootOptions, known: OptionNames): void {
  checkOptions("boot", options, known);
  const given = options as Readonly<Record<string, unknown>>;
  for (const [option, names] of Object.entries(WITHIN)) {
    const value = given[option];
    if (value === undefined || (option === "cpus" && typeof value === "number")) continue;
    if (!LISTS.includes(option)) {
      checkOptions("boot", value, names, option);
      continue;
    }
    if (!Array.isArray(value)) {
      throw new TypeError(`Cannot boot with ${option} ${String(value)}: give a list of them`);
    }
    // Not forEach, which passes over holes.
    for (const [index, each] of value.entries()) {
      checkOptions("boot", each, names, `${option}[${index}]`);
    }
  }
  if (typeof given.dirtyPages === "object") {
    checkOptions("boot", given.dirtyPages, { ring: "value" }, "dirtyPages");
  }
  for (const [vector] of definedEntries("boot with the gate", given.gates ?? {})) {
    if (/^\d+$/.test(vector)) continue;
    throw new TypeError(
      `Cannot boot with a gate for ${
        JSON.stringify(vector)
      }: it is no vector; give { 13: "handler" }`,
    );
  }
  const { hide, show, force } = options.cpuid ?? {};
  for (const [name, features] of Object.entries({ hide, show, force })) {
    if (features === undefined || Array.isArray(features)) continue;
    throw new TypeError(
      `Cannot boot with cpuid ${name} ${String(features)}: give a list of features`,
    );
  }
}
