import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { compareResults, IncomparableError } from "../../lib/bench/baseline.ts";
import { around, measured, resultsOf } from "./results.ts";

const before = resultsOf([
  measured("same", around(100)),
  measured("slower", around(100)),
  measured("faster", around(100)),
  measured("within", around(100)),
  measured("noisy", [50, 90, 100, 110, 300]),
  measured("missing", around(100)),
  measured("not run", around(100)),
]);

const now = resultsOf([
  measured("same", around(100)),
  measured("slower", around(120)),
  measured("faster", around(80)),
  measured("within", around(104)),
  measured("noisy", [60, 110, 120, 130, 300]),
  { name: "missing", group: "memory", what: "", failed: "it broke" },
  measured("new", around(1)),
  { name: "never", group: "memory", what: "", skipped: "no" },
]);

Deno.test("a benchmark is slower where its median grew by more than the threshold, beyond both intervals", () => {
  const found = compareResults(before, now, "old.json");
  assertEquals(found.map(({ name, verdict }) => [name, verdict]), [
    ["same", "same"],
    ["slower", "slower"],
    ["faster", "faster"],
    ["within", "same"],
    ["noisy", "same"],
    ["missing", "missing"],
    ["new", "new"],
  ]);
  assertEquals(found[1].ratio?.toFixed(2), "1.20");
  assertEquals([found[1].before, found[1].now], [100, 120]);
});

Deno.test("the threshold decides", () => {
  const verdicts = (threshold: number) =>
    compareResults(before, now, "old.json", threshold).map(({ verdict }) => verdict).slice(0, 4);
  assertEquals(verdicts(0.25), ["same", "same", "same", "same"]);
  assertEquals(verdicts(0.03), ["same", "slower", "faster", "slower"]);
  assertEquals(verdicts(0), ["same", "slower", "faster", "slower"]);
});

Deno.test("results of another host are not compared, and the differences are named", () => {
  const other = resultsOf([], {
    clock: "emulated",
    fingerprint: { host: { processor: "A <fast> one", kernel: "6.1" }, software: { deno: "3" } },
  });
  const error = assertThrows(() => compareResults(other, now, "old.json"), IncomparableError);
  assertEquals(error.differences, [
    { name: "kernel", first: "6.1", second: undefined },
    { name: "clock", first: "emulated", second: "hardware" },
    { name: "microcode", first: undefined, second: "0x17" },
  ]);
  assertStringIncludes(error.message, "Cannot compare with old.json: it is of another host");
  assertStringIncludes(error.message, "kernel\n    baseline  6.1\n    now       not known");
});

Deno.test("other versions of what measures are compared", () => {
  const { host } = before.fingerprint;
  const other = { ...before, fingerprint: { host, software: { deno: "3" } } };
  assertEquals(compareResults(other, now, "old.json")[0].verdict, "same");
});
