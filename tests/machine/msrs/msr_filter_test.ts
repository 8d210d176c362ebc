import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { msrFilter, type MsrRule } from "../../../lib/machine/msrs/msr_filter.ts";

const READ = 1;
const WRITE = 2;
const DENY_DEFAULT = 1;

/** What KVM makes of a filter (its kvm_msr_allowed). */
function passes(
  { flags, ranges }: ReturnType<typeof msrFilter>,
  msr: number,
  direction: number,
): boolean {
  const range = ranges.find((each) =>
    (each.flags & direction) !== 0 && msr >= each.base && msr < each.base + each.nmsrs
  );
  if (range === undefined) return flags !== DENY_DEFAULT;
  const bit = msr - range.base;
  return (range.bitmap[bit >> 3] >> (bit & 7) & 1) === 1;
}

Deno.test("neighbouring MSRs share a range, and both directions where they are the same", () => {
  const both = { read: false, write: false };
  const { flags, ranges } = msrFilter([
    { first: 0x10, last: 0x10, ...both },
    { first: 0x12, last: 0x13, ...both },
    { first: 0xc0000080, last: 0xc0000080, read: false },
  ], true);
  assertEquals(flags, 0);
  assertEquals(ranges, [
    { flags: READ | WRITE, base: 0x10, nmsrs: 4, bitmap: new Uint8Array([0b1111_0010]) },
    { flags: READ, base: 0xc0000080, nmsrs: 1, bitmap: new Uint8Array([0b1111_1110]) },
  ]);
});

Deno.test("a range that is longer than KVM takes is cut", () => {
  const { ranges } = msrFilter([{ first: 0, last: 0x3000, read: false, write: false }], true);
  assertEquals(ranges.map(({ base, nmsrs }) => [base, nmsrs]), [[0, 0x3000], [0x3000, 1]]);
});

Deno.test("nothing denied is no range; all denied is what KVM takes for it", () => {
  assertEquals(msrFilter([], true), { flags: 0, ranges: [] });
  const { flags, ranges } = msrFilter([], false);
  assertEquals([flags, ranges.length], [DENY_DEFAULT, 1]);
  assert(!passes({ flags, ranges }, 0x10, READ));
});

Deno.test("MSRs too far apart for 16 ranges are refused", () => {
  const rules = (count: number): MsrRule[] =>
    Array.from({ length: count }, (_, n) => ({ first: n << 20, last: n << 20, read: false }));
  assertEquals(msrFilter(rules(16), true).ranges.length, 16);
  assertThrows(
    () => msrFilter(rules(17), true),
    RangeError,
    "they take more than the 16 ranges of 12288 MSRs that KVM has for a VM",
  );
  assertThrows(
    () => msrFilter([{ first: 0, last: 0xffffffff, write: false }], true),
    RangeError,
    "denyAll() denies all that allow() does not allow",
  );
});

const MSR = fc.oneof(
  fc.integer({ min: 0, max: 0x40 }),
  fc.integer({ min: 0x2ff0, max: 0x3010 }),
  fc.integer({ min: 0xc0000080, max: 0xc0000090 }),
);

const RULE: fc.Arbitrary<MsrRule> = fc.record({
  first: MSR,
  length: fc.integer({ min: 0, max: 0x40 }),
  read: fc.option(fc.boolean(), { nil: undefined }),
  write: fc.option(fc.boolean(), { nil: undefined }),
}).map(({ first, length, read, write }) => ({ first, last: first + length, read, write }));

Deno.test("for every MSR KVM decides as the last rule that says something of it", () => {
  fc.assert(fc.property(
    fc.array(RULE, { maxLength: 5 }),
    fc.boolean(),
    fc.array(MSR, { minLength: 10, maxLength: 20 }),
    (rules, byDefault, msrs) => {
      const filter = msrFilter(rules, byDefault);
      for (const msr of msrs) {
        for (const [name, direction] of [["read", READ], ["write", WRITE]] as const) {
          const rule = rules.findLast((each) =>
            each[name] !== undefined && each.first <= msr && msr <= each.last
          );
          assertEquals(passes(filter, msr, direction), rule?.[name] ?? byDefault);
        }
      }
    },
  ));
});
