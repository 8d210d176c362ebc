import { assertEquals } from "@std/assert";
import {
  escapeText,
  formatBytes,
  formatContent,
  formatCount,
  formatInteger,
  formatText,
} from "../../lib/expect/format.ts";

Deno.test("an integer is in hex, with its character where it is a printable one", () => {
  const texts = [0, 10, 0x20, 0x41, 0x22, 0x7e, 0x7f, 0x1234n].map(formatInteger);
  assertEquals(texts, [
    "0x0",
    "0xa",
    '0x20 " "',
    '0x41 "A"',
    '0x22 "\\""',
    '0x7e "~"',
    "0x7f",
    "0x1234",
  ]);
});

Deno.test("bytes are text where they are printable, else hex; many are cut", () => {
  const texts = [[0x41], [0x41, 0x0a], [0, 0x41], Array(50).fill(0x78), Array(50).fill(0)]
    .map((bytes) => formatBytes(Uint8Array.from(bytes)));
  assertEquals(texts, [
    '0x41 "A"',
    '"A\\n"',
    "00 41",
    `"${"x".repeat(48)}" … (50 bytes)`,
    `${Array(48).fill("00").join(" ")} … (50 bytes)`,
  ]);
});

Deno.test("content is shown as the test wrote it", () => {
  assertEquals(formatContent("a\n"), '"a\\n"');
  assertEquals(formatContent([1, 0xaa]), "[0x1, 0xaa]");
  assertEquals(formatContent(new Uint8Array([1])), "new Uint8Array([0x1])");
  assertEquals(formatContent(Array(9).fill(0)), `[${"0x0, ".repeat(8)}…]`);
});

Deno.test("no control character is left: they would colour terminals and break XML reports", () => {
  assertEquals(
    escapeText('\x1b[31m\0\t\u2028\u{e000}"\\é'),
    '\\x1b[31m\\0\\t\\u{2028}\\u{e000}\\"\\\\é',
  );
});

Deno.test("long texts are cut and say how long they are", () => {
  assertEquals(formatText("x".repeat(49)), `"${"x".repeat(48)}" … (49 characters)`);
  assertEquals(formatText("x".repeat(48)), `"${"x".repeat(48)}"`);
});

Deno.test("one is singular", () => {
  assertEquals([0, 1, 2].map((count) => formatCount(count, "byte")), [
    "0 bytes",
    "1 byte",
    "2 bytes",
  ]);
});
