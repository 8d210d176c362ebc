import { assertEquals } from "@std/assert";
import {
  any,
  anyExit,
  type Exit,
  exit,
  type ExitPattern,
  hlt,
  mmioRead,
  mmioWrite,
  portIn,
  portOut,
  shutdown,
} from "@vmexit/vmexit";
import { TranscriptCursor, transcriptPage } from "../../lib/expect/transcript_cursor.ts";
import { halted, input, load, out, shutDown, store } from "./recorded_exits.ts";

/** How many exits a transcript takes, and whether it is done then. */
function follow(patterns: ExitPattern[], exits: Exit[]): { taken: number; isDone: boolean } {
  const cursor = new TranscriptCursor(patterns);
  let taken = 0;
  while (taken < exits.length && !cursor.isDone && cursor.offer(exits[taken], taken + 1).matches) {
    taken++;
  }
  return { taken, isDone: cursor.isDone };
}

const isOdd = (bytes: Uint8Array) => bytes[0] % 2 === 1;

const MATCHING: Record<string, [ExitPattern[], Exit[]]> = {
  "one of each kind": [
    [portOut(1, 2), portIn(3).returns(4), mmioWrite(5, 6), mmioRead(7).returns(8), hlt()],
    [out(1, 2), input(3), store(5, 6), load(7), halted],
  ],
  "a text split over exits": [[portOut(1, "abc"), hlt()], [
    out(1, "a"),
    out(1, "b"),
    out(1, "c"),
    halted,
  ]],
  "a text in one exit": [[portOut(1, "abc"), hlt()], [out(1, "abc"), halted]],
  "a text in exits of different length": [[portOut(1, "abc")], [out(1, "ab"), out(1, "c")]],
  "words of a text": [[portOut(1, "abcd", 2)], [out(1, "ab", 2), out(1, "cd", 2)]],
  "text beyond ASCII, as UTF-8": [[portOut(1, "é")], [out(1, 0xc3), out(1, 0xa9)]],
  "a number of its natural width, or of the one that is said": [
    [portOut(1, 0x1234), portOut(1, 0x34), portOut(1, 0x34, 4), portOut(1, 0x10000)],
    [
      out(1, [0x34, 0x12], 2),
      out(1, 0x34),
      out(1, [0x34, 0, 0, 0], 4),
      out(1, [0, 0, 1, 0], 4),
    ],
  ],
  "accesses of one exit, each by itself": [
    [portOut(1, 0x41).times(2), portOut(1, isOdd).times(2), portOut(1).times(3)],
    [out(1, [0x41, 0x41]), out(1, [1, 3]), out(1, [1, 2, 3])],
  ],
  "any value of one width": [[portOut(1, any, 2)], [out(1, [5, 6], 2)]],
  "a function that judges": [[portOut(1, isOdd)], [out(1, 3)]],
  "any value": [[portOut(1)], [out(1, 99)]],
  "any port": [[portOut(any, 7), portIn(any).returns(1)], [out(0xffff, 7), input(0)]],
  "any address": [[mmioWrite(any, [7, 8]), mmioRead(any).returns(1)], [
    store(0x9000, 7, 8),
    load(0),
  ]],
  "MMIO split at a page": [[mmioWrite(0xffe, [1, 2, 3, 4])], [
    store(0xffe, 1, 2),
    store(0x1000, 3, 4),
  ]],
  "an MMIO read split at a page": [[mmioRead(0xfff).returns([1, 2])], [load(0xfff), load(0x1000)]],
  "MMIO of 8 bytes": [[mmioWrite(8, 0x0807060504030201n)], [store(8, 1, 2, 3, 4, 5, 6, 7, 8)]],
  "exactly as often as asked": [[portOut(1, 1).times(2), hlt()], [out(1, 1), out(1, 1), halted]],
  "a text several times": [
    [portOut(1, "ab").times(2), hlt()],
    [
      ..."abab",
    ].map((character) => out(1, character)).concat(halted),
  ],
  "greedy repetition": [[portOut(1, 1).times({ atLeast: 1 }), hlt()], [
    out(1, 1),
    out(1, 1),
    out(1, 1),
    halted,
  ]],
  "a repetition at its upper bound": [
    [portOut(1, 1).times({ atMost: 2 }), portOut(1, 1), hlt()],
    [out(1, 1), out(1, 1), out(1, 1), halted],
  ],
  "an optional one that comes": [[portOut(1, 1).optional(), hlt()], [out(1, 1), halted]],
  "an optional one that does not": [[portOut(1, 1).optional(), hlt()], [halted]],
  "several optional ones in a row": [
    [portOut(1, 1).optional(), portOut(2).optional(), portOut(3).optional(), hlt()],
    [out(2, 5), halted],
  ],
  "any exit": [[anyExit().times(3), shutdown()], [out(1, 1), halted, load(5), shutDown]],
  "a reason with fields": [
    [exit("IO", { port: 5, count: (count) => count > 1 }), exit("MMIO", { isWrite: false })],
    [out(5, "ab"), load(1)],
  ],
  "a reason with bytes": [[exit("MMIO", { data: new Uint8Array([1, 2]) })], [store(0, 1, 2)]],
};

for (const [name, [patterns, exits]] of Object.entries(MATCHING)) {
  Deno.test(`a transcript takes ${name}`, () => {
    assertEquals(follow(patterns, exits), { taken: exits.length, isDone: true });
  });
}

const FAILING: Record<string, [ExitPattern[], Exit[], taken: number]> = {
  "another port": [[portOut(1)], [out(2, 0)], 0],
  "another direction": [[portOut(1)], [input(1)], 0],
  "another value": [[portOut(1, 5)], [out(1, 6)], 0],
  "another width": [[portOut(1, 5, 2)], [out(1, 5)], 0],
  "another width of a read": [[portIn(1, 2).returns(5)], [input(1)], 0],
  "a text in words": [[portOut(1, "AB")], [out(1, "AB", 2)], 0],
  "bytes of a wider access": [[portOut(1, [0x41, 0])], [out(1, [0x41, 0], 2)], 0],
  "a byte written as a dword": [[portOut(1, 0x41)], [out(1, [0x41, 0, 0, 0], 4)], 0],
  "three bytes of one exit, whose first is the number and the others 0": [
    [portOut(1, 0x41)],
    [out(1, [0x41, 0, 0])],
    0,
  ],
  "several accesses of one exit, where one is meant": [[portOut(1)], [out(1, [1, 2])], 0],
  "several accesses of one exit, one of which the function refuses": [
    [portOut(1, isOdd).times(2)],
    [out(1, [1, 2])],
    0,
  ],
  "a byte asked for as a dword": [[portIn(1).returns(0x1c)], [input(1, 4)], 0],
  "a text asked for in words": [[portIn(1).returns("ab")], [input(1, 2)], 0],
  "a byte of MMIO written as a dword": [[mmioWrite(8, 5)], [store(8, 5, 0, 0, 0)], 0],
  "a byte of MMIO asked for as a dword": [[mmioRead(8).returns(5)], [load(8, 4)], 0],
  "another address": [[mmioWrite(0x1000)], [store(0x1001, 0)], 0],
  "an MMIO read for a write": [[mmioWrite(1)], [load(1)], 0],
  "another width of MMIO": [[mmioRead(1, 4).returns(0)], [load(1, 8)], 0],
  "parts of MMIO at the same address": [[mmioWrite(1, [1, 1])], [store(1, 1), store(1, 1)], 1],
  "the second half of a text that differs": [[portOut(1, "ab")], [out(1, "a"), out(1, "c")], 1],
  "an exit in the middle of a text": [[portOut(1, "ab"), hlt()], [out(1, "a"), halted], 1],
  "an exit that reaches past a text": [[portOut(1, "ab"), portOut(1, "c")], [out(1, "abc")], 0],
  "a read that asks for more than the answer has": [[portIn(1).returns("ab")], [input(1, 1, 3)], 0],
  "a read too narrow for the answer's value": [[portIn(1).returns(0x1234)], [input(1)], 0],
  "the wrong order": [[portOut(1), portOut(2)], [out(2, 0), out(1, 0)], 0],
  "one time too few": [[portOut(1, 1).times(2), hlt()], [out(1, 1), halted], 1],
  "one time too many": [[portOut(1, 1).times(2), hlt()], [out(1, 1), out(1, 1), out(1, 1)], 2],
  "an early end": [[portOut(1), hlt()], [halted], 0],
  "what greed has taken": [[portOut(1).times({ atLeast: 0 }), portOut(1, 9)], [out(1, 9)], 1],
  "a function that says no": [[portOut(1, isOdd)], [out(1, 2)], 0],
  "a field that differs": [[exit("IO", { port: 5 })], [out(6, 0)], 0],
  "bytes of another length": [[exit("MMIO", { data: new Uint8Array([1]) })], [store(0, 1, 2)], 0],
};

for (const [name, [patterns, exits, taken]] of Object.entries(FAILING)) {
  Deno.test(`a transcript does not take ${name}`, () => {
    assertEquals(follow(patterns, exits), { taken, isDone: false });
  });
}

Deno.test("a mismatch leaves the cursor where it was", () => {
  const cursor = new TranscriptCursor([portOut(1, "ab"), hlt()]);
  cursor.offer(out(1, "a"), 1);
  assertEquals(cursor.offer(out(1, "x"), 2), { matches: false });
  assertEquals(cursor.offer(out(1, "b"), 3), { matches: true, complete: true });
  assertEquals(cursor.position, 1);
});

Deno.test("the answers are handed out in the order of the accesses", () => {
  const cursor = new TranscriptCursor([portIn(1).returns("abcd"), portIn(1).returns(7).times(4)]);
  const answers = [input(1, 1, 2), input(1, 1, 1), input(1, 1, 1), input(1, 1, 3), input(1, 1)].map(
    (exit, index) => {
      const match = cursor.offer(exit, index + 1);
      return match.matches && Array.from(match.answer!);
    },
  );
  assertEquals(answers, [[0x61, 0x62], [0x63], [0x64], [7, 7, 7], [7]]);
});

Deno.test("what is expected next is named, with every pattern that may come", () => {
  const cursor = new TranscriptCursor([
    portOut(0x80, "Hello").optional(),
    portIn(0x60).returns("ab").times({ atLeast: 1 }),
    hlt(),
  ]);
  assertEquals(
    cursor.expected,
    'IO out 0x80 byte "Hello" × 0 to 1, or IO in 0x60 byte → "ab" (2 bytes) × 1 or more',
  );
  cursor.offer(out(0x80, "He"), 1);
  assertEquals(cursor.expected, 'IO out 0x80 byte "Hello", from byte 2 on: "llo"');
  cursor.offer(out(0x80, "llo"), 2);
  cursor.offer(input(0x60), 3);
  assertEquals(cursor.expected, 'IO in 0x60 byte → "ab" (2 bytes), from byte 1 on: 0x62 "b"');
  cursor.offer(input(0x60), 4);
  assertEquals(cursor.expected, 'IO in 0x60 byte → "ab" (2 bytes) × 1 or more, or HLT');
});

Deno.test("a transcript names the ports and addresses that no device may take", () => {
  const cursor = new TranscriptCursor([
    portOut(1),
    portIn(2),
    mmioWrite(0x100, "ab"),
    mmioRead(0x200).returns([1, 2]),
    exit("IO", { port: 9 }),
    anyExit(),
  ]);
  const named = [out(1, 0), input(2), store(0x101, 0), load(0x201), out(9, 0), input(9)];
  const others = [input(1), out(2, 0), store(0x102, 0), load(0x101), load(0x202), halted];
  assertEquals(named.filter((exit) => !cursor.names(exit)), []);
  assertEquals(others.filter((exit) => cursor.names(exit)), []);
  const everywhere = new TranscriptCursor([portOut(any), mmioRead(any)]);
  assertEquals([out(3, 0), load(3)].every((exit) => everywhere.names(exit)), true);
});

Deno.test("a transcript is not done in the middle of a text, even of one that has come often enough", () => {
  const cursor = new TranscriptCursor([portOut(1, "ab").times({ atLeast: 1 })]);
  const states = ["a", "b", "a", "b"].map((character, index) => {
    cursor.offer(out(1, character), index + 1);
    return cursor.isDone;
  });
  assertEquals(states, [false, true, false, true]);
});

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
