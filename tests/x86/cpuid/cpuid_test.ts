import {
  cpuidBrand,
  type CpuidEntry,
  cpuidEntry,
  type CpuidFeature,
  cpuidFeatureNames,
  cpuidFeaturePlace,
  cpuidHypervisor,
  cpuidProcessor,
  cpuidVendor,
  hasCpuidFeature,
  withCpuidAnswer,
  withCpuidBrand,
  withCpuidFeatures,
  withCpuidHypervisor,
  withCpuidProcessor,
  withCpuidVendor,
  withoutCpuidPmu,
} from "@vmexit/vmexit/x86";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";

const WORD = fc.nat({ max: 0xffff_ffff });
const LEAVES = [0, 1, 7, 0xa, 0xd, 0x4000_0000, 0x8000_0000, 0x8000_0001, 0x8000_0008] as const;

function entryOf(leaf: number, [eax, ebx, ecx, edx]: readonly number[], index = 0): CpuidEntry {
  return { function: leaf, index, flags: leaf === 7 || leaf === 0xd ? 1 : 0, eax, ebx, ecx, edx };
}

/** The lists of entries that a host could have. */
const ENTRIES = fc.uniqueArray(
  fc.record({
    leaf: fc.constantFrom(...LEAVES),
    words: fc.array(WORD, { minLength: 4, maxLength: 4 }),
  }),
  { selector: ({ leaf }) => leaf },
).map((list) => list.map(({ leaf, words }) => entryOf(leaf, words)));

const FEATURE = fc.constantFrom(...cpuidFeatureNames());
const TEXT = (maxLength: number) =>
  fc.string({
    maxLength,
    unit: fc.integer({ min: 0x20, max: 0x7e }).map((c) => String.fromCharCode(c)),
  });

Deno.test("the places of features are those of the manuals", () => {
  const places: [CpuidFeature, number, number, string, number][] = [
    ["vmx", 1, 0, "ecx", 5],
    ["x2apic", 1, 0, "ecx", 21],
    ["hypervisor", 1, 0, "ecx", 31],
    ["pni", 1, 0, "ecx", 0],
    ["apic", 1, 0, "edx", 9],
    ["avx2", 7, 0, "ebx", 5],
    ["smep", 7, 0, "ebx", 7],
    ["smap", 7, 0, "ebx", 20],
    ["la57", 7, 0, "ecx", 16],
    ["umip", 7, 0, "ecx", 2],
    ["svm", 0x8000_0001, 0, "ecx", 2],
    ["nx", 0x8000_0001, 0, "edx", 20],
    ["lm", 0x8000_0001, 0, "edx", 29],
    ["npt", 0x8000_000a, 0, "edx", 0],
    ["xsaves", 0xd, 1, "eax", 3],
    ["kvm_pv_eoi", 0x4000_0001, 0, "eax", 6],
  ];
  for (const [name, leaf, subleaf, register, bit] of places) {
    assertEquals(cpuidFeaturePlace(name) as unknown, { leaf, subleaf, register, bit }, name);
  }
  const names = cpuidFeatureNames();
  assertEquals(new Set(names).size, names.length);
  const bits = names.map((name) => JSON.stringify(cpuidFeaturePlace(name)));
  assertEquals(new Set(bits).size, names.length, "no two features share a bit");
});

Deno.test("what is shown is there, what is hidden is not, and nothing else changes", () => {
  fc.assert(fc.property(ENTRIES, FEATURE, fc.boolean(), (entries, name, isShown) => {
    const before = structuredClone(entries);
    const edited = withCpuidFeatures(entries, { [name]: isShown });
    assertEquals(entries, before, "the list that was given stays as it was");
    assertEquals(hasCpuidFeature(edited, name), isShown);
    const { leaf, subleaf, register } = cpuidFeaturePlace(name);
    for (const other of cpuidFeatureNames()) {
      if (other === name) continue;
      assertEquals(hasCpuidFeature(edited, other), hasCpuidFeature(entries, other), other);
    }
    const place = (each: CpuidEntry) => each.function === leaf && each.index === subleaf;
    for (const entry of entries.filter((each) => !place(each))) {
      const after = cpuidEntry(edited, entry.function, entry.index)!;
      // The leaf that says which one is the last grows with a leaf that was added.
      const isCount = (entry.function & 0x0fff_ffff) === 0;
      assertEquals({ ...after, eax: 0 }, { ...entry, eax: 0 });
      assert(after.eax === entry.eax || (isCount && after.eax === leaf));
    }
    const found = cpuidEntry(edited, leaf, subleaf);
    if (found !== undefined) assert(found[register] >= 0);
  }));
});

Deno.test("hiding what was shown, and showing what was hidden, gives the list back", () => {
  fc.assert(fc.property(ENTRIES, FEATURE, (entries, name) => {
    const { leaf, subleaf } = cpuidFeaturePlace(name);
    fc.pre(cpuidEntry(entries, leaf, subleaf) !== undefined);
    const has = hasCpuidFeature(entries, name);
    const there = withCpuidFeatures(entries, { [name]: !has });
    assertEquals(withCpuidFeatures(there, { [name]: has }), entries);
  }));
});

Deno.test("a leaf that is added is within its range", () => {
  const entries = withCpuidFeatures([], { la57: true, svm: true, smep: true });
  assertEquals(cpuidEntry(entries, 0)?.eax, 7);
  assertEquals(cpuidEntry(entries, 0x8000_0000)?.eax, 0x8000_0001);
  assertEquals(entries.filter(({ function: leaf }) => leaf === 7).length, 1);
  assertEquals(withCpuidFeatures([], { la57: false }), []);
});

Deno.test("AMD's CPUs repeat features of leaf 1, which are hidden in both places", () => {
  const entries = [
    entryOf(0, [0xd, 0, 0, 0]),
    entryOf(1, [0, 0, 0, 0xffff_ffff]),
    entryOf(0x8000_0001, [0, 0, 0, 0xffff_ffff]),
  ];
  const amd = withCpuidVendor(entries, "AuthenticAMD");
  const intel = withCpuidVendor(entries, "GenuineIntel");
  const repeated = (list: CpuidEntry[], features: { [Name in CpuidFeature]?: boolean }) =>
    cpuidEntry(withCpuidFeatures(list, features), 0x8000_0001)!.edx;
  assertEquals(repeated(amd, { apic: false }), 0xffff_fdff);
  assertEquals(repeated(intel, { apic: false }), 0xffff_ffff);
  // Bit 11 of leaf 1 is SEP, and of leaf 0x80000001 SYSCALL.
  assertEquals(repeated(amd, { sep: false }), 0xffff_ffff);
});

Deno.test("strings come back as they were set", () => {
  fc.assert(fc.property(ENTRIES, TEXT(48), TEXT(12), (entries, brand, signature) => {
    assertEquals(cpuidBrand(withCpuidBrand(entries, brand)), brand);
    const hypervisor = withCpuidHypervisor(entries, signature);
    assertEquals(cpuidHypervisor(hypervisor), signature);
    assert(hasCpuidFeature(hypervisor, "hypervisor"));
    const none = withCpuidHypervisor(hypervisor, false);
    assertEquals(cpuidHypervisor(none), undefined);
    assert(!hasCpuidFeature(none, "hypervisor"));
    const vendor = signature.padEnd(12, "x");
    assertEquals(cpuidVendor(withCpuidVendor(entries, vendor)), vendor);
  }));
  assertEquals(cpuidBrand([]), undefined);
  assertEquals(cpuidVendor([]), "");
});

Deno.test("the vendor is repeated where it was", () => {
  const entries = [entryOf(0, [1, 2, 3, 4]), entryOf(0x8000_0000, [0x8000_0008, 2, 3, 4])];
  const edited = withCpuidVendor(entries, "AuthenticAMD");
  const { ebx, ecx, edx } = cpuidEntry(edited, 0)!;
  assertEquals([ebx, edx, ecx], [0x68747541, 0x69746e65, 0x444d4163], '"Auth" "enti" "cAMD"');
  assertEquals(cpuidEntry(edited, 0x8000_0000), entryOf(0x8000_0000, [0x8000_0008, ebx, ecx, edx]));
});

Deno.test("families, models and steppings come back as they were set", () => {
  const processor = fc.oneof(
    fc.record({
      family: fc.oneof(fc.constant(6), fc.integer({ min: 15, max: 0x10e })),
      model: fc.nat({ max: 0xff }),
      stepping: fc.nat({ max: 15 }),
    }),
    fc.record({
      family: fc.nat({ max: 15 }),
      model: fc.nat({ max: 15 }),
      stepping: fc.nat({ max: 15 }),
    }),
  );
  fc.assert(fc.property(ENTRIES, processor, (entries, wanted) => {
    assertEquals(cpuidProcessor(withCpuidProcessor(entries, wanted)), wanted);
  }));
  // An EPYC of family 17h, and a Haswell.
  assertEquals(cpuidProcessor([entryOf(1, [0x0083_0f10, 0, 0, 0])]), {
    family: 0x17,
    model: 0x31,
    stepping: 0,
  });
  assertEquals(cpuidProcessor([entryOf(1, [0x0003_06c3, 0, 0, 0])]), {
    family: 6,
    model: 0x3c,
    stepping: 3,
  });
});

Deno.test("without its performance counters leaf 0xA is zeros", () => {
  const entries = [entryOf(0xa, [1, 2, 3, 4]), entryOf(1, [1, 2, 3, 4])];
  assertEquals(withoutCpuidPmu(entries), [entryOf(0xa, [0, 0, 0, 0]), entries[1]]);
});

const REFUSED: readonly [
  what: string,
  edit: () => unknown,
  kind: typeof RangeError,
  text: string,
][] = [
  [
    "a feature that there is not",
    () => withCpuidFeatures([], { avx3: true } as Record<string, boolean>),
    RangeError,
    'Cannot find a CPUID feature "avx3": there is none of that name; the nearest are avx, avx2',
  ],
  [
    "a brand string of 49 characters",
    () => withCpuidBrand([], "x".repeat(49)),
    RangeError,
    "it has 49 characters, and CPUID has room for 48",
  ],
  [
    "a brand string with an umlaut",
    () => withCpuidBrand([], "ü"),
    RangeError,
    "not printable ASCII",
  ],
  [
    "a brand that is no string",
    () => withCpuidBrand([], 1 as unknown as string),
    TypeError,
    "Cannot set the brand string as 1: it is not a string",
  ],
  [
    "a vendor of 5 characters",
    () => withCpuidVendor([], "Intel"),
    RangeError,
    "it has 5 characters, not 12",
  ],
  [
    "a signature of 13 characters",
    () => withCpuidHypervisor([], "x".repeat(13)),
    RangeError,
    "CPUID has room for 12",
  ],
  [
    "a family beyond 0x10e",
    () => withCpuidProcessor([], { family: 0x10f }),
    RangeError,
    "family as 271: it is not a whole number from 0 to 270",
  ],
  [
    "a model of 16 in family 5",
    () => withCpuidProcessor([], { family: 5, model: 16 }),
    RangeError,
    "family 5 has models up to 15",
  ],
  [
    "an answer of 33 bits",
    () => withCpuidAnswer([], 1, 0, { eax: 2 ** 32 }),
    RangeError,
    "Cannot answer eax of CPUID leaf 0x1 as 0x100000000",
  ],
];

for (const [what, edit, kind, text] of REFUSED) {
  Deno.test(`${what} is refused`, () => void assertThrows(edit, kind, text));
}
