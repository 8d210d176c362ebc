import type { Mode } from "../../x86/cpu_state.ts";
import { nearestNames } from "../../x86/nearest_names.ts";
import type {
  BootOptions,
  CommonOptions,
  CompatibilityOptions,
  LongOptions,
  PaeOptions,
  PagedOptions,
  Protected16Options,
  ProtectedOptions,
  RealOptions,
  UnrealOptions,
  Virtual8086Options,
} from "./boot_options.ts";

/** A name for each option of a type: TypeScript refuses to leave one out, or to add one. */
type Names<Options> = Readonly<Record<keyof Options, true>>;

const common: Names<CommonOptions> = {
  capabilities: true,
  cpuid: true,
  cpus: true,
  dirtyPages: true,
  entry: true,
  exitPort: true,
  hugePages: true,
  interleaving: true,
  irqchip: true,
  libc: true,
  load: true,
  memory: true,
  msrs: true,
  origin: true,
  pit: true,
  recordExits: true,
  registers: true,
  serial: true,
  slots: true,
  smm: true,
  timeout: true,
};

const segments = { cs: true, ds: true, es: true, fs: true, gs: true, ss: true } as const;
const real: Names<RealOptions> = {
  ...common,
  ...segments,
  mode: true,
  ip: true,
  sp: true,
  catchFaults: true,
};
const unreal: Names<UnrealOptions> = real;
const tables = { gdt: true, idt: true, tss: true, gates: true, catchFaults: true } as const;
const protected16: Names<Protected16Options> = { ...common, ...tables, mode: true, stack: true };
const virtual8086: Names<Virtual8086Options> = { ...real, ...tables, ports: true };
const protected32: Names<ProtectedOptions> = { ...protected16, cpl: true, ports: true };
const paged: Names<PagedOptions> = {
  ...protected32,
  pageTables: true,
  mappings: true,
  identityMap: true,
};
const pae: Names<PaeOptions> = paged;
const compatibility: Names<CompatibilityOptions> = { ...paged, levels: true };
const long: Names<LongOptions> = {
  ...compatibility,
  convention: true,
  zeroPage: true,
  bootInformation: true,
  cpuNumber: true,
};

const NAMES: Readonly<Record<Mode, Readonly<Record<string, true>>>> = {
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
 * Refuses options that a mode does not have: without a type check they would be ignored.
 *
 * @throws {TypeError} When there is one.
 */
export function refuseUnknownOptions(mode: Mode, options: BootOptions): void {
  const known = NAMES[mode];
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(known, name));
  if (unknown === undefined) return;
  const modes = (Object.keys(NAMES) as Mode[]).filter((each) =>
    Object.hasOwn(NAMES[each], unknown)
  );
  throw new TypeError(
    modes.length > 0
      ? `Cannot boot mode ${mode} with the option ${unknown}: it is one of ${modes.join(", ")}`
      : `Cannot boot with the option ${unknown}: there is none of that name; the nearest are ${
        nearestNames(unknown, Object.keys(known)).join(", ")
      }`,
  );
}
