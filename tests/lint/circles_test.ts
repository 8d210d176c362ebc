import { assertEquals } from "@std/assert";
import { type Arrows, circles, fileArrows, importsOf, roomArrows, way } from "./circles.ts";
import { rooms } from "./layers.ts";

function arrowsOf(table: Readonly<Record<string, readonly string[]>>): Arrows {
  return new Map(Object.entries(table).map(([from, to]) => [from, new Set(to)]));
}

Deno.test("circles: the groups whose members reach each other, and no others", () => {
  assertEquals(circles(arrowsOf({ a: ["b", "c"], b: ["c"], c: [] })), []);
  assertEquals(circles(arrowsOf({ a: ["a"] })), [["a"]]);
  assertEquals(circles(arrowsOf({ a: ["b"], b: ["c"], c: ["b", "d"], d: [] })), [["b", "c"]]);
  const two = { a: ["b"], b: ["a", "c"], c: ["d"], d: ["e"], e: ["c"], f: ["a", "e"] };
  assertEquals(circles(arrowsOf(two)), [["c", "d", "e"], ["a", "b"]]);
});

Deno.test("way: the shortest one along the arrows, or none", () => {
  const arrows = arrowsOf({ a: ["b", "c"], b: ["c"], c: ["d"], d: [] });
  assertEquals(way(arrows, "a", "d"), ["a", "c", "d"]);
  assertEquals(way(arrows, "a", "a"), ["a"]);
  assertEquals(way(arrows, "d", "a"), undefined);
});

Deno.test("importsOf: every kind of import, types as well, and no example in a comment", () => {
  const source = `import { a } from "./a.ts";
import type { b } from "../b.ts";
import {
  c,
  d,
} from "./deep/c.ts";
import "./effect.ts";
export * from "./all.ts";
export type { t } from "./types.ts";
import { assert } from "@std/assert";
type E = import("./e.ts").E;
const f = () => import("./f.ts");
/**
 * import { example } from "./example.ts";
 */
// import { off } from "./off.ts";
`;
  const names = ["a", "deep/c", "effect", "all", "types", "e", "f"];
  const expected = [...names.map((name) => `lib/x/${name}.ts`), "lib/b.ts"];
  assertEquals([...importsOf("lib/x/file.ts", source)].sort(), expected.sort());
});

const files = fileArrows();

Deno.test("no files of lib import each other in a circle", () => {
  assertEquals(files.size > 100, true);
  assertEquals(circles(files), []);
});

for (const [folder, table] of Object.entries(rooms)) {
  const arrows = roomArrows(folder, files);

  Deno.test(`no rooms of ${folder} import each other in a circle`, () => {
    assertEquals(arrows.size > 1, true);
    assertEquals(circles(arrows), []);
  });

  Deno.test(`the table of the rooms of ${folder} has the arrows that there are, and no others`, () => {
    const sorted = (entries: Iterable<[string, Iterable<string>]>) =>
      Object.fromEntries([...entries].map(([from, to]) => [from, [...to].sort()]));
    assertEquals(sorted(Object.entries(table)), sorted(arrows));
  });
}
