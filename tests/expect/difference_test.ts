import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { bytesDifference, textDifference } from "../../lib/expect/difference.ts";

Deno.test("short texts are shown whole, with a mark at the first character that differs", () => {
  assertEquals(textDifference("Hello\n", "Help\n"), {
    expected: '"Hello\\n"',
    received: '"Help\\n"',
    mark: "    ^ character 3",
  });
});

Deno.test("the mark counts what is escaped as it is shown", () => {
  assertEquals(textDifference('a\0\x1b"b', 'a\0\x1b"c').mark, `${" ".repeat(10)}^ character 4`);
});

Deno.test("a text that ends early is marked at its end", () => {
  assertEquals(textDifference("ab", "a").mark, "  ^ character 1");
  assertEquals(textDifference("a", "").received, '""');
});

Deno.test("equal texts have no mark", () => {
  assertEquals(textDifference("same", "same").mark, undefined);
});

Deno.test("long texts are cut around the first difference, both at the same character", () => {
  const before = "x".repeat(200);
  const { expected, received, mark } = textDifference(`${before}A${before}`, `${before}B`);
  assertEquals(expected, `…"${"x".repeat(16)}A${"x".repeat(31)}"… (401 characters)`);
  assertEquals(received, `…"${"x".repeat(16)}B" (201 characters)`);
  assertEquals(mark, `${" ".repeat(18)}^ character 200`);
});

Deno.test("a short text beside a long one is cut with it, so that both are in the same columns", () => {
  const same = "x".repeat(40);
  const { expected, received } = textDifference(same, `${same}${"y".repeat(40)}`);
  assertEquals(expected, `…"${"x".repeat(16)}" (40 characters)`);
  assertEquals(received, `…"${"x".repeat(16)}${"y".repeat(32)}"… (80 characters)`);
});

Deno.test("bytes are shown in hex", () => {
  assertEquals(bytesDifference(new Uint8Array([1, 2, 3]), new Uint8Array([1, 0xff])), {
    expected: "01 02 03",
    received: "01 ff",
    mark: "   ^ byte 1",
  });
  assertEquals(bytesDifference(new Uint8Array([1]), new Uint8Array()).received, "nothing");
});

Deno.test("whatever differs, the mark stands below two characters that do, within 80 columns", () => {
  const text = fc.string({ unit: "binary-ascii", maxLength: 200 });
  fc.assert(fc.property(text, text, text, (same, left, right) => {
    fc.pre(left !== right);
    const { expected, received, mark } = textDifference(same + left, same + right);
    const column = mark!.indexOf("^");
    assert(expected.slice(0, column) === received.slice(0, column));
    assert(column < Math.max(expected.length, received.length));
    assert(Math.max(expected.length, received.length) < 80);
  }));
});
