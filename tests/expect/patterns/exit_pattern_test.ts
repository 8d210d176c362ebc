import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  any,
  exit,
  fault,
  hlt,
  mmioRead,
  mmioWrite,
  portIn,
  portOut,
  rdmsr,
  wrmsr,
} from "@vmexit/vmexit";

Deno.test("a pattern is immutable: repeating it makes another", () => {
  const once = portOut(0x80, "ab");
  const thrice = once.times(3);
  assertEquals([once.minimum, once.maximum], [1, 1]);
  assertEquals([thrice.minimum, thrice.maximum], [3, 3]);
  assert(once !== thrice);
});

Deno.test("a pattern's text has its port, width, data and repetition", () => {
  const texts = [
    portOut(0x80),
    portOut(any, "A"),
    portOut(0x80, 0x1234, 2).times(3),
    portOut(0x80, "Hello\n").optional(),
    portOut(0x80, [1, 2]).times({ atLeast: 2 }),
    portOut(0x80, function isOdd(bytes) {
      return bytes[0] % 2 === 1;
    }),
    portIn(0x60, 4),
    portIn(0x60).returns(0x1c),
    mmioWrite(0x2000, [0xaa]),
    mmioRead(any, 1).returns("x"),
    exit("IO", { port: 0x80, direction: "in", size: (size) => size > 1 }),
  ].map(({ text }) => text);
  assertEquals(texts, [
    "IO out 0x80 any value",
    'IO out any port byte 0x41 "A"',
    "IO out 0x80 word 0x1234 × 3",
    'IO out 0x80 byte "Hello\\n" × 0 to 1',
    "IO out 0x80 byte 01 02 × 2 or more",
    "IO out 0x80 isOdd",
    "IO in 0x60 dword",
    "IO in 0x60 byte → 0x1c",
    "MMIO write 0x2000 0xaa",
    'MMIO read any address 1 byte → 0x78 "x"',
    "IO (port 0x80, direction in, size size)",
  ]);
});

const REFUSED: Record<string, [call: () => unknown, message: string]> = {
  "no times": [
    () => hlt().times(0),
    "Cannot expect HLT 0 times: give a whole number from 1 up",
  ],
  "half a time": [() => hlt().times(1.5), "Cannot expect HLT 1.5 times"],
  "not-a-number times": [() => hlt().times(NaN), "Cannot expect HLT NaN"],
  "endless times": [() => hlt().times(Infinity), "Cannot expect HLT Infinity times"],
  "bounds the wrong way round": [
    () => hlt().times({ atLeast: 3, atMost: 2 }),
    "Cannot expect HLT 3 to 2 times",
  ],
};

for (const [name, [call, message]] of Object.entries(REFUSED)) {
  Deno.test(`a pattern refuses ${name}`, () => {
    assertThrows(call, RangeError, message);
  });
}

Deno.test("how often a pattern comes is said once, by bounds that have their names", () => {
  for (
    const call of [
      () => hlt().times(3).optional(),
      () => hlt().optional().times(3),
      () => hlt().times(2).times(3),
      () => hlt().times(1).optional(),
    ]
  ) assertThrows(call, TypeError, "it says already how often it comes");
  const wrong: [bounds: unknown, message: string][] = [
    [{}, "Cannot repeat HLT with {}: it names nothing"],
    [{ atleast: 3 }, "the nearest are atLeast"],
    [Promise.resolve({ atLeast: 3 }), "a promise"],
    [2n, "Cannot expect HLT 2 times, a bigint: give a number, or { atLeast, atMost }"],
    [null, "give a number, or { atLeast, atMost }"],
    ["2", "Cannot expect HLT 2 times, a string: give a number"],
  ];
  for (const [bounds, message] of wrong) {
    assertThrows(() => hlt().times(bounds as number), TypeError, message);
  }
});

Deno.test("a pattern that is refused says so at the test's line", () => {
  const calls: (() => unknown)[] = [
    () => portOut(0x10000),
    () => portIn(1, 3 as 1),
    () => portIn(1).returns(-1),
    () => mmioWrite(-1),
    () => mmioRead(-1),
    () => mmioRead(1).returns(-1),
    () => rdmsr("NONE" as never),
    () => rdmsr("LSTAR").returns(-1),
    () => wrmsr("LSTAR", -1),
    () => exit("NONE" as "HLT"),
    () => exit("HYPERCALL").returns(5 as never),
    () => fault("#XY" as never),
    () => hlt().times(-1),
    () => hlt().times(2n as never),
    () => rdmsr(undefined as never),
    () => portOut(0x80n as never),
    () => hlt().times(2).optional(),
  ];
  const frames = calls.map((call) => {
    const { stack, message } = assertThrows(call, Error);
    return [message, stack!.slice(stack!.indexOf("\n    at ")).split("\n")[1]];
  });
  const elsewhere = frames.filter(([, frame]) => !/exit_pattern_test\.ts:\d+/.test(frame));
  assertEquals(elsewhere, []);
});
