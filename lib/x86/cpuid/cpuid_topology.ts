import { type CpuidAnswer, type CpuidEntry, cpuidVendor, withCpuidFeatures } from "./cpuid.ts";

/** Where one processor is among those that are there. */
export interface CpuidTopology {
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
const AMD_VENDORS: readonly string[] = ["AuthenticAMD", "HygonGenuine"];
const LOW_BYTE = 0xff;

/**
 * The entries as one processor of a machine has them: its id, and how many there are. KVM lists the ids of whatever
 * processor of the host was asked. Leaves that are lacking stay so.
 *
 * @example
 * ```ts
 * import { withCpuidTopology } from "./cpuid_topology.ts";
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
  const isAmd = AMD_VENDORS.includes(cpuidVendor(entries));
  const edited = entries.map((entry) => ({ ...entry, ...changes(entry, topology, isAmd) }));
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
