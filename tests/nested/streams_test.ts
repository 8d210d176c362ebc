import { assertEquals } from "@std/assert";
import { LineReader, UntilMarker } from "../../lib/nested/streams.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

Deno.test("output ends at the marker however it is cut, and nothing before it is lost or held back", () => {
  const all = encoder.encode("some mamar text MARK");
  for (let first = 0; first <= all.length; first++) {
    for (let second = first; second <= all.length; second++) {
      const until = new UntilMarker("MARK");
      const parts = [all.subarray(0, first), all.subarray(first, second), all.subarray(second)];
      const pushed = parts.map((part) => until.push(part));
      assertEquals(pushed.map(({ bytes }) => decoder.decode(bytes)).join(""), "some mamar text ");
      assertEquals(pushed.some(({ ended }) => ended), true);
    }
  }
  assertEquals(decoder.decode(new UntilMarker("MARK").push(encoder.encode("abc")).bytes), "abc");
});

Deno.test("lines are read whole, however they come", async () => {
  const stream = ReadableStream.from(
    ["one\nt", "wo\r\n", "rest"].map((text) => encoder.encode(text)),
  );
  const reader = new LineReader(stream);
  assertEquals(await reader.next(), "one");
  assertEquals(await reader.next(), "two");
  assertEquals(await reader.next(), undefined);
});
