import { assertEquals } from "@std/assert";
import { mutate, mutationsOf } from "./mutations.ts";

const CASES: readonly [source: string, mutants: readonly string[]][] = [
  ["const a = b < c;", ["const a = b <= c;"]],
  ["const a = b && c;", ["const a = b || c;"]],
  ["const a = b ?? c;", ["const a = b ;"]],
  ["if (a) b();", ["if (!(a)) b();", "if (a) {}"]],
  ["const a = b ? c : d;", ["const a = !(b) ? c : d;"]],
  ["let a = 0xff;", ["let a = 256;"]],
  ["let a = true;", ["let a = false;"]],
  ["a = b;", ["{}"]],
  ["const a = 'x' + b + 'y';", []],
  ["throw new Error(`at ${a + 1}`);", []],
  ["type A = 1 | 2;", []],
  ["function f(a: B<1>): 2 { return a as 3; }", []],
  ["const é = '😀'; const a = b > c;", ["const é = '😀'; const a = b >= c;"]],
];

for (const [source, mutants] of CASES) {
  Deno.test(`mutations of ${source}`, () => {
    const found = mutationsOf("lib/a.ts", source);
    assertEquals(found.map((each) => mutate(source, each)), mutants);
  });
}
