import { assertEquals } from "@std/assert";
import { hlt, portIn, portOut } from "@vmexit/vmexit";
import { TranscriptCursor, transcriptPage } from "../../lib/expect/transcript_cursor.ts";
import { input, out } from "./recorded_exits.ts";

Deno.test("the page marks what has come, what was left out, and what is waited for", () => {
  const cursor = new TranscriptCursor([
    portOut(0x80, "ab"),
    portOut(0x81).optional(),
    portIn(0x60).returns(1).times({ atLeast: 1 }),
    hlt(),
  ]);
  [out(0x80, "a"), out(0x80, "b"), input(0x60), input(0x60)]
    .forEach((exit, index) => cursor.offer(exit, index + 5));
  assertEquals(
    transcriptPage(cursor, 5),
    `transcript, from exit 5 on
  ✓ IO out 0x80 byte "ab"              exits 5 to 6
  – IO out 0x81 any value × 0 to 1
  → IO in 0x60 byte → 0x1 × 1 or more  exits 7 to 8, 2 times
    HLT`,
  );
});

Deno.test("of a long transcript the page shows what is around the pattern that waits", () => {
  const ports = Array.from({ length: 100 }, (_, port) => port);
  const cursor = new TranscriptCursor(ports.map((port) => portOut(port)));
  ports.slice(0, 50).forEach((port) => cursor.offer(out(port, 0), port + 1));
  const lines = transcriptPage(cursor, 1).split("\n");
  assertEquals(lines.length, 16);
  assertEquals(lines[1], "    … 42 patterns before");
  assertEquals(lines[2], "  ✓ IO out 0x2a any value  exit 43");
  assertEquals(lines[10], "  → IO out 0x32 any value");
  assertEquals(lines.at(-1), "    … 45 patterns more");
});
