import { EXIT_REASON } from "@vmexit/vmexit/abi";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { EXIT_CASES } from "../kvm/exits/exit_cases.ts";
import { DECODED_BY, EXIT_TESTS } from "./exit_test_table.ts";

const textOf = (test: string) => Deno.readTextFileSync(new URL(`../${test}`, import.meta.url));

Deno.test("every exit reason has a guest that produces it, or the reason why none does", () => {
  assertEquals(Object.keys(EXIT_TESTS).toSorted(), Object.keys(EXIT_REASON).toSorted());
  for (const [reason, { test, name, notProduced }] of Object.entries(EXIT_TESTS)) {
    assert(test !== undefined || notProduced !== undefined, reason);
    assertEquals(test === undefined, name === undefined, reason);
  }
});

Deno.test("the test that is named for an exit exists, and names the exit or its pattern", () => {
  for (const [reason, { test, name }] of Object.entries(EXIT_TESTS)) {
    if (test === undefined) continue;
    const text = textOf(test);
    assertStringIncludes(text, name!, reason);
    const patterns = [`"${reason}"`, `${reason.replace("X86_", "").toLowerCase()}(`];
    assert(patterns.some((pattern) => text.includes(pattern)), `${reason} in ${test}`);
  }
});

Deno.test("what no guest produces is decoded from recorded bytes", () => {
  assertMatch(textOf(DECODED_BY), /for \(const .* of EXIT_CASES\)/);
  const decoded = new Set(EXIT_CASES.map(({ reason }) => reason));
  const missing = Object.entries(EXIT_TESTS)
    .filter(([reason, { notProduced }]) => notProduced !== undefined && !decoded.has(reason));
  assertEquals(missing.map(([reason]) => reason), []);
});

Deno.test("18 of the 28 exits of x86 are produced by a guest", () => {
  const all = Object.values(EXIT_TESTS);
  const ofX86 = all.filter(({ notProduced }) => notProduced !== "of another architecture");
  const produced = all.filter(({ notProduced }) => notProduced === undefined);
  assertEquals([produced.length, ofX86.length], [18, 28]);
});
