import { hex } from "../hex.ts";
import {
  CPUID_FEATURES,
  type CpuidFeature,
  type CpuidFeaturePlace,
  type CpuidRegister,
} from "./cpuid_features.ts";
import { noneOfThatName } from "../nearest_names.ts";

/**
 * What CPUID answers for a leaf and a subleaf, as `struct kvm_cpuid_entry2` has it (Intel SDM Vol. 2A, CPUID; api.rst
 * 4.46).
 */
export interface CpuidEntry {
  /** EAX, when asked. */
  function: number;
  /** ECX, when asked, where `flags` say that it makes a difference. */
  index: number;
  /** Bits of `KVM_CPUID_FLAG`. */
  flags: number;
  /** The answer in EAX. */
  eax: number;
  /** The answer in EBX. */
  ebx: number;
  /** The answer in ECX. */
  ecx: number;
  /** The answer in EDX. */
  edx: number;
}

/** The answer's four registers (Intel SDM Vol. 2A, CPUID). */
export type CpuidAnswer = Readonly<Record<CpuidRegister, number>>;

/** `KVM_CPUID_FLAG_SIGNIFCANT_INDEX`: the leaf has subleaves. */
const HAS_SUBLEAVES = 1;
/** The leaves that have, among those with features (Intel SDM Vol. 2A, CPUID). */
const LEAVES_WITH_SUBLEAVES: ReadonlySet<number> = new Set([0x7, 0xd]);

/** Leaves whose EAX is the last of their range: basic, hypervisor's, extended. */
const RANGES: readonly number[] = [0, 0x4000_0000, 0x8000_0000];
const RANGE_MASK = 0xf000_0000;

const AMD_VENDORS: ReadonlySet<string> = new Set(["AuthenticAMD", "HygonGenuine"]);

/**
 * AMD's CPUs tell of these bits of leaf 1, EDX, in leaf 0x80000001, too (AMD APM Vol. 3, E.4.1): 0 to 9, 12
 * to 17, 23 and 24.
 */
const AMD_REPEATED = 0x0183_f3ff;

let places: ReadonlyMap<string, CpuidFeaturePlace> | undefined;

function featurePlaces(): ReadonlyMap<string, CpuidFeaturePlace> {
  return places ??= new Map(
    Object.entries(CPUID_FEATURES).flatMap(([place, bits]) => {
      const [leaf, subleaf, register] = place.split(".");
      return Object.entries(bits).map(([name, bit]): [string, CpuidFeaturePlace] => [name, {
        leaf: Number(leaf),
        subleaf: Number(subleaf),
        register: register as CpuidRegister,
        bit,
      }]);
    }),
  );
}

/** The names of all features. */
export function cpuidFeatureNames(): CpuidFeature[] {
  return [...featurePlaces().keys()] as CpuidFeature[];
}

/**
 * Where CPUID tells of a feature.
 *
 * @param name The feature's name, as {@linkcode cpuidFeatureNames} has it.
 * @throws {RangeError} When there is none of that name.
 *
 * @example
 * ```ts
 * import { cpuidFeaturePlace } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(cpuidFeaturePlace("la57"), { leaf: 7, subleaf: 0, register: "ecx", bit: 16 });
 * ```
 */
export function cpuidFeaturePlace(name: CpuidFeature): CpuidFeaturePlace {
  const place = featurePlaces().get(name);
  if (place !== undefined) return place;
  throw new RangeError(
    `Cannot find a CPUID feature "${String(name)}": ${
      noneOfThatName(String(name), featurePlaces().keys())
    }`,
  );
}

/**
 * The entry that answers for a leaf and a subleaf, or undefined (Intel SDM Vol. 2A, CPUID).
 *
 * @param entries The entries, as `KVM_GET_SUPPORTED_CPUID` lists them; they are not changed.
 * @param leaf What EAX holds at CPUID.
 * @param subleaf What ECX holds; it counts only in leaves that have subleaves.
 */
export function cpuidEntry<Entry extends CpuidEntry>(
  entries: readonly Entry[],
  leaf: number,
  subleaf: number = 0,
): Entry | undefined {
  return entries.find((entry) =>
    entry.function === leaf && ((entry.flags & HAS_SUBLEAVES) === 0 || entry.index === subleaf)
  );
}

/**
 * Whether these entries tell of a feature.
 *
 * @param entries The entries, as `KVM_GET_SUPPORTED_CPUID` lists them; they are not changed.
 * @param name The feature's name.
 * @throws {RangeError} When there is none of that name.
 */
export function hasCpuidFeature(entries: readonly CpuidEntry[], name: CpuidFeature): boolean {
  const { leaf, subleaf, register, bit } = cpuidFeaturePlace(name);
  const entry = cpuidEntry(entries, leaf, subleaf);
  return entry !== undefined && (entry[register] >>> bit & 1) === 1;
}

/**
 * The entries with these features shown (true) or hidden (false), and nothing else: what stands on a hidden
 * feature (`avx2` on `avx`) stays. A leaf that is lacking is added for a feature to show.
 *
 * @param entries The entries, as `KVM_GET_SUPPORTED_CPUID` lists them; they are not changed.
 * @param features Features by name: true shows one, false hides it.
 * @throws {RangeError} When there is none of a name.
 *
 * @example
 * ```ts
 * import { hasCpuidFeature, withCpuidFeatures } from "@vmexit/vmexit/x86";
 * import { assert } from "@std/assert";
 *
 * const entries = withCpuidFeatures([], { la57: true, avx2: false });
 * assert(hasCpuidFeature(entries, "la57") && !hasCpuidFeature(entries, "avx2"));
 * ```
 */
export function withCpuidFeatures(
  entries: readonly CpuidEntry[],
  features: { readonly [Name in CpuidFeature]?: boolean },
): CpuidEntry[] {
  let edited = [...entries];
  const hasRepeated = isAmd(entries);
  for (const [name, isShown] of Object.entries(features)) {
    if (isShown === undefined) continue;
    const place = cpuidFeaturePlace(name as CpuidFeature);
    edited = withBit(edited, place, isShown);
    const isRepeated = place.leaf === 1 && place.register === "edx" &&
      (AMD_REPEATED >>> place.bit & 1) === 1;
    if (hasRepeated && isRepeated) {
      edited = withBit(edited, { ...place, leaf: 0x8000_0001 }, isShown);
    }
  }
  return edited;
}

function withBit(
  entries: readonly CpuidEntry[],
  { leaf, subleaf, register, bit }: CpuidFeaturePlace,
  isSet: boolean,
): CpuidEntry[] {
  const before = cpuidEntry(entries, leaf, subleaf);
  if (before === undefined && !isSet) return [...entries];
  const word = before?.[register] ?? 0;
  const changed = isSet ? word | 1 << bit : word & ~(1 << bit);
  return withCpuidAnswer(entries, leaf, subleaf, { [register]: changed >>> 0 });
}

/**
 * The entries with these registers in the answer to a leaf and a subleaf. One that is lacking is added, and
 * the leaf that says which is the last of its range follows.
 *
 * @param entries The entries, as `KVM_GET_SUPPORTED_CPUID` lists them; they are not changed.
 * @param leaf What EAX holds at CPUID.
 * @param subleaf What ECX holds.
 * @param answer The registers to replace, 32 bits each; others stay, and are 0 in an entry that is added.
 * @throws {RangeError} When a value is no whole number of 32 bits.
 */
export function withCpuidAnswer(
  entries: readonly CpuidEntry[],
  leaf: number,
  subleaf: number,
  answer: Partial<CpuidAnswer>,
): CpuidEntry[] {
  for (const [register, value] of Object.entries(answer)) {
    if (value !== undefined && value >>> 0 !== value) {
      throw new RangeError(
        `Cannot answer ${register} of CPUID leaf ${hex(leaf)} as ${
          Number.isInteger(value) ? hex(value) : String(value)
        }: it is not a whole number of 32 bits`,
      );
    }
  }
  const found = cpuidEntry(entries, leaf, subleaf);
  if (found !== undefined) {
    return entries.map((entry) => entry === found ? { ...entry, ...answer } : entry);
  }
  const hasSubleaves = subleaf !== 0 || LEAVES_WITH_SUBLEAVES.has(leaf);
  const added: CpuidEntry = {
    function: leaf,
    index: subleaf,
    flags: hasSubleaves ? HAS_SUBLEAVES : 0,
    eax: 0,
    ebx: 0,
    ecx: 0,
    edx: 0,
    ...answer,
  };
  return withLastLeaf([...entries, added], leaf);
}

function withLastLeaf(entries: readonly CpuidEntry[], leaf: number): CpuidEntry[] {
  const range = (leaf & RANGE_MASK) >>> 0;
  if (leaf === range || !RANGES.includes(range)) return [...entries];
  const last = cpuidEntry(entries, range)?.eax ?? 0;
  return last >= leaf ? [...entries] : withCpuidAnswer(entries, range, 0, { eax: leaf });
}

/**
 * The vendor's twelve letters in leaf 0: `"GenuineIntel"`, `"AuthenticAMD"`; empty where it is lacking.
 *
 * @param entries The entries, as `KVM_GET_SUPPORTED_CPUID` lists them; they are not changed.
 */
export function cpuidVendor(entries: readonly CpuidEntry[]): string {
  const entry = cpuidEntry(entries, 0);
  if (entry === undefined) return "";
  return new TextDecoder("latin1").decode(bytesOf([entry.ebx, entry.edx, entry.ecx]));
}

/** Whether it is the CPUID of a processor of AMD's, or of Hygon's, who build AMD's. */
export function isAmd(entries: readonly CpuidEntry[]): boolean {
  return AMD_VENDORS.has(cpuidVendor(entries));
}

/** The bytes of registers, the lowest of each first. */
function bytesOf(words: readonly number[]): Uint8Array {
  return Uint8Array.from(words.flatMap((word) => [0, 8, 16, 24].map((bit) => word >>> bit & 0xff)));
}

/** Where one processor is among those that are there. */
interface CpuidTopology {
  /** Its local APIC's id at the start, 0 to 255. */
  readonly apicId: number;
  /** How many processors there are, 1 to 255. */
  readonly processors: number;
}

/** EBX of leaf 1: the processors in bits 23:16, the id in bits 31:24 (Intel SDM Vol. 2A, CPUID). */
const VERSION_LEAF = 1;
const PROCESSORS_SHIFT = 16;
const ID_SHIFT = 24;
const BELOW_PROCESSORS = 0xffff;

/** The id is EDX of every subleaf of these (Intel SDM Vol. 2A, CPUID; AMD APM Vol. 3, E.4.24). */
const TOPOLOGY_LEAVES: readonly number[] = [0xb, 0x1f, 0x8000_0026];

/**
 * EAX of it is the id, EBX has the number of the core in bits 7:0 and its threads beside the first above, ECX the node
 * (AMD APM Vol. 3, E.4.17): every processor is a core, on one node.
 */
const AMD_TOPOLOGY_LEAF = 0x8000_001e;

/** ECX of it has in bits 7:0 how many processors there are beside the first (AMD APM Vol. 3, E.4.7). */
const AMD_SIZES_LEAF = 0x8000_0008;
const LOW_BYTE = 0xff;

/**
 * The entries as one processor of a machine has them: its id, and how many there are. KVM lists the ids of whatever
 * processor of the host was asked. Leaves that are lacking stay so.
 *
 * @example
 * ```ts
 * import { withCpuidTopology } from "./cpuid.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const leaf = { function: 1, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 };
 * const [{ ebx }] = withCpuidTopology([leaf], { apicId: 3, processors: 4 });
 * assertEquals(ebx, 0x0304_0000);
 * ```
 */
export function withCpuidTopology(
  entries: readonly CpuidEntry[],
  topology: CpuidTopology,
): CpuidEntry[] {
  const isOfAmd = isAmd(entries);
  const edited = entries.map((entry) => ({ ...entry, ...changes(entry, topology, isOfAmd) }));
  return topology.processors === 1 ? edited : withCpuidFeatures(edited, { ht: true });
}

function changes(
  { function: leaf, ebx, ecx }: CpuidEntry,
  { apicId, processors }: CpuidTopology,
  isAmd: boolean,
): Partial<CpuidAnswer> {
  if (leaf === VERSION_LEAF) {
    const counted = processors << PROCESSORS_SHIFT | apicId << ID_SHIFT;
    return { ebx: (ebx & BELOW_PROCESSORS | counted) >>> 0 };
  }
  if (TOPOLOGY_LEAVES.includes(leaf)) return { edx: apicId };
  if (leaf === AMD_TOPOLOGY_LEAF) return { eax: apicId, ebx: apicId, ecx: 0 };
  if (leaf === AMD_SIZES_LEAF && isAmd) {
    return { ecx: (ecx & ~LOW_BYTE | (processors - 1)) >>> 0 };
  }
  return {};
}
