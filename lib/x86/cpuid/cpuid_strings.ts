import { type CpuidEntry, cpuidEntry, withCpuidAnswer, withCpuidFeatures } from "./cpuid.ts";

/** The leaf with the vendor's letters, in EBX, EDX and ECX. */
const VENDOR_LEAF = 0;
/** The three leaves with the brand string, in all registers of each. */
const BRAND_LEAVES: readonly number[] = [0x8000_0002, 0x8000_0003, 0x8000_0004];
/** The first leaf of a hypervisor: its signature is in EBX, ECX and EDX. */
const HYPERVISOR_LEAF = 0x4000_0000;
const LAST_HYPERVISOR_LEAF = 0x4fff_ffff;
const PERFORMANCE_MONITORING_LEAF = 0xa;
const AMD_PERFORMANCE_MONITORING_LEAF = 0x8000_0022;

const VENDOR_LENGTH = 12;
const BRAND_LENGTH = 48;
const SIGNATURE_LENGTH = 12;
const LETTER = /^[\x20-\x7e]*$/;

/**
 * The brand string, without what follows its end, or undefined where there is none (Intel SDM Vol. 2A, CPUID).
 *
 * @param entries The entries, as `KVM_GET_SUPPORTED_CPUID` lists them; they are not changed.
 * @example
 * ```ts
 * import { cpuidBrand, withCpuidBrand } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(cpuidBrand(withCpuidBrand([], "A CPU of one's own")), "A CPU of one's own");
 * ```
 */
export function cpuidBrand(entries: readonly CpuidEntry[]): string | undefined {
  const found = BRAND_LEAVES.map((leaf) => cpuidEntry(entries, leaf));
  if (found.some((entry) => entry === undefined)) return undefined;
  return text(found.flatMap((entry) => [entry!.eax, entry!.ebx, entry!.ecx, entry!.edx]));
}

/**
 * The entries with another brand string: leaves 0x80000002 to 0x80000004.
 *
 * @param entries The entries, as `KVM_GET_SUPPORTED_CPUID` lists them; they are not changed.
 * @param brand At most 48 printable characters of ASCII.
 * @throws {RangeError} When it is longer than 48 characters, or has some that are not printable ASCII.
 */
export function withCpuidBrand(entries: readonly CpuidEntry[], brand: string): CpuidEntry[] {
  const words = wordsOf("the brand string", brand, BRAND_LENGTH);
  return BRAND_LEAVES.reduce<CpuidEntry[]>((edited, leaf, index) => {
    const [eax, ebx, ecx, edx] = words.slice(4 * index);
    return withCpuidAnswer(edited, leaf, 0, { eax, ebx, ecx, edx });
  }, [...entries]);
}

/**
 * The entries with another vendor: leaf 0, and leaf 0x80000000 where there is one.
 *
 * @param entries The entries, as `KVM_GET_SUPPORTED_CPUID` lists them; they are not changed.
 * @param vendor Twelve characters of ASCII.
 * @throws {RangeError} When it has not twelve characters, all of them printable ASCII.
 */
export function withCpuidVendor(entries: readonly CpuidEntry[], vendor: string): CpuidEntry[] {
  const [ebx, edx, ecx] = wordsOf("the vendor", vendor, VENDOR_LENGTH);
  if (vendor.length !== VENDOR_LENGTH) {
    throw new RangeError(
      `Cannot set the vendor as ${
        JSON.stringify(vendor)
      }: it has ${vendor.length} characters, not ${VENDOR_LENGTH}`,
    );
  }
  const edited = withCpuidAnswer(entries, VENDOR_LEAF, 0, { ebx, edx, ecx });
  // AMD repeats it there; Intel has zeros.
  const repeated = cpuidEntry(edited, 0x8000_0000);
  if (repeated === undefined || repeated.ebx === 0) return edited;
  return withCpuidAnswer(edited, 0x8000_0000, 0, { ebx, edx, ecx });
}

/**
 * The hypervisor's signature, without the zeros that follow it, or undefined where there is none.
 *
 * @param entries The entries, as `KVM_GET_SUPPORTED_CPUID` lists them; they are not changed.
 */
export function cpuidHypervisor(entries: readonly CpuidEntry[]): string | undefined {
  const entry = cpuidEntry(entries, HYPERVISOR_LEAF);
  return entry === undefined ? undefined : text([entry.ebx, entry.ecx, entry.edx]);
}

/**
 * The entries with another hypervisor's signature and the bit that says that there is one (leaf 1, ECX, bit
 * 31); with `false` neither that bit nor leaves from 0x40000000 on. Leaves behind the first stay those of
 * KVM, which follows them no longer once the signature is not its own.
 *
 * @param entries The entries, as `KVM_GET_SUPPORTED_CPUID` lists them; they are not changed.
 * @param signature At most twelve characters of ASCII.
 * @throws {RangeError} When the signature is longer than twelve characters, or has some that are not
 *   printable ASCII.
 */
export function withCpuidHypervisor(
  entries: readonly CpuidEntry[],
  signature: string | false,
): CpuidEntry[] {
  if (signature === false) {
    const without = entries.filter((entry) =>
      entry.function < HYPERVISOR_LEAF || entry.function > LAST_HYPERVISOR_LEAF
    );
    return withCpuidFeatures(without, { hypervisor: false });
  }
  const [ebx, ecx, edx] = wordsOf("the hypervisor's signature", signature, SIGNATURE_LENGTH);
  const eax = Math.max(cpuidEntry(entries, HYPERVISOR_LEAF)?.eax ?? 0, HYPERVISOR_LEAF);
  return withCpuidFeatures(
    withCpuidAnswer(entries, HYPERVISOR_LEAF, 0, { eax, ebx, ecx, edx }),
    { hypervisor: true },
  );
}

/**
 * The entries without performance counters: leaves 0xA and 0x80000022 are zeros.
 *
 * @param entries The entries, as `KVM_GET_SUPPORTED_CPUID` lists them; they are not changed.
 */
export function withoutCpuidPmu(entries: readonly CpuidEntry[]): CpuidEntry[] {
  return entries.map((entry) =>
    entry.function === PERFORMANCE_MONITORING_LEAF ||
      entry.function === AMD_PERFORMANCE_MONITORING_LEAF
      ? { ...entry, eax: 0, ebx: 0, ecx: 0, edx: 0 }
      : entry
  );
}

/** Which processor of its maker it is: leaf 1, EAX (Intel SDM Vol. 2A, CPUID; AMD APM Vol. 3, E.3.2). */
export interface CpuidProcessor {
  /** The family, extended family included: up to 0x10e. */
  readonly family: number;
  /** The model, extended model included: up to 0xff. */
  readonly model: number;
  /** The stepping: up to 15. */
  readonly stepping: number;
}

const FAMILY_WITH_EXTENSION = 0xf;
const MOST = { family: 0x10e, model: 0xff, stepping: 0xf } as const;

/**
 * The family, model and stepping; zeros where leaf 1 is lacking (Intel SDM Vol. 2A, CPUID).
 *
 * @param entries The entries, as `KVM_GET_SUPPORTED_CPUID` lists them; they are not changed.
 */
export function cpuidProcessor(entries: readonly CpuidEntry[]): CpuidProcessor {
  const eax = cpuidEntry(entries, 1)?.eax ?? 0;
  const base = eax >>> 8 & 0xf;
  const hasExtendedModel = base === 6 || base === FAMILY_WITH_EXTENSION;
  return {
    family: base === FAMILY_WITH_EXTENSION ? base + (eax >>> 20 & 0xff) : base,
    model: (eax >>> 4 & 0xf) | (hasExtendedModel ? (eax >>> 16 & 0xf) << 4 : 0),
    stepping: eax & 0xf,
  };
}

/**
 * The entries with another family, model or stepping.
 *
 * @param entries The entries, as `KVM_GET_SUPPORTED_CPUID` lists them; they are not changed.
 * @param processor What to replace; what is left out stays.
 * @throws {RangeError} When one of them has no room in leaf 1.
 */
export function withCpuidProcessor(
  entries: readonly CpuidEntry[],
  processor: Partial<CpuidProcessor>,
): CpuidEntry[] {
  const wanted = { ...cpuidProcessor(entries), ...processor };
  for (const [name, most] of Object.entries(MOST)) {
    const value = wanted[name as keyof CpuidProcessor];
    if (Number.isInteger(value) && value >= 0 && value <= most) continue;
    throw new RangeError(
      `Cannot set the CPU's ${name} as ${value}: it is not a whole number from 0 to ${most}`,
    );
  }
  const { family, model, stepping } = wanted;
  const base = Math.min(family, FAMILY_WITH_EXTENSION);
  if (model > 0xf && base !== 6 && base !== FAMILY_WITH_EXTENSION) {
    throw new RangeError(
      `Cannot set the CPU's model as ${model}: family ${family} has models up to 15; 6 and those from 15 on have more`,
    );
  }
  const kept = (cpuidEntry(entries, 1)?.eax ?? 0) & 0xf000_f000;
  const eax = kept | (family - base) << 20 | model >>> 4 << 16 | base << 8 | (model & 0xf) << 4 |
    stepping;
  return withCpuidAnswer(entries, 1, 0, { eax: eax >>> 0 });
}

function wordsOf(what: string, value: string, length: number): number[] {
  if (typeof value !== "string") {
    throw new TypeError(`Cannot set ${what} as ${String(value)}: it is not a string`);
  }
  if (value.length > length) {
    throw new RangeError(
      `Cannot set ${what} as ${
        JSON.stringify(value)
      }: it has ${value.length} characters, and CPUID has room for ${length}`,
    );
  }
  if (!LETTER.test(value)) {
    throw new RangeError(
      `Cannot set ${what} as ${
        JSON.stringify(value)
      }: it has characters that are not printable ASCII`,
    );
  }
  const bytes = new Uint8Array(length);
  bytes.set(new TextEncoder().encode(value));
  const view = new DataView(bytes.buffer);
  return Array.from({ length: length / 4 }, (_, index) => view.getUint32(4 * index, true));
}

/** The text in registers, up to its first zero byte. */
function text(words: readonly number[]): string {
  const bytes = new DataView(new ArrayBuffer(4 * words.length));
  words.forEach((word, index) => bytes.setUint32(4 * index, word, true));
  const all = new TextDecoder("latin1").decode(bytes.buffer);
  const end = all.indexOf("\0");
  return end < 0 ? all : all.slice(0, end);
}
