import { asm, boot, type BootOptions, expect, hlt } from "@vmexit/vmexit";
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";

/** The first line of an error's trace: where its reader looks. */
function place(error: Error): string {
  return error.stack!.split("\n    at ")[1];
}

const refused: [options: unknown, message: RegExp][] = [
  [null, /^Cannot boot with options null: give an object/],
  ["4K", /^Cannot boot with options 4K: give an object/],
  [{ memroy: "4K" }, /^Cannot boot with the option memroy: .* memory/],
  [{ mode: "long", ip: 0 }, /^Cannot boot mode long with the option ip: it is one of real/],
  [{ pit: true }, /^Cannot boot with a PIT/],
  [{ mode: "rael" }, /^Cannot boot in mode "rael"/],
  [{ cpus: "two" }, /^Cannot boot with cpus "two"/],
  [{ cpus: 2, irqchip: false }, /^Cannot boot 2 CPUs with `irqchip: false`/],
  [{ convention: "linux" }, /^Cannot boot mode real by the convention "linux"/],
  [{ registers: { al: NaN } }, /^Cannot set al as NaN: /],
  [{ registers: { al: 1.5 } }, /^Cannot set al as 1.5: /],
  [{ msrs: { LSTAR: NaN } }, /^Cannot .* as NaN: /],
  [{ recordExits: NaN }, /^Cannot record NaN exits/],
];

Deno.test("what boot is given wrongly is told at the test's line", () => {
  for (const [options, message] of refused) {
    const error = assertThrows(() => boot(asm`hlt`, options as BootOptions), Error);
    assertMatch(error.message, message);
    assertMatch(place(error), /refused_at_line_test\.ts/, error.stack);
  }
  for (const guest of [undefined, null, "hlt"]) {
    const error = assertThrows(() => boot(guest as never), TypeError, "it is no guest");
    assertMatch(place(error), /refused_at_line_test\.ts/);
  }
});

Deno.test("a guest that does not fit its memory is told in one message, without causes", () => {
  const error = assertThrows(
    () => boot(asm`times 0x1000 nop`, { memory: "4K" }),
    RangeError,
    "Cannot load 4096 bytes of the guest at linear 0x500: they do not fit the machine's memory.",
  );
  assertEquals(error.cause, undefined);
  assertEquals(error.message.split("\n").length, 1);
  assertMatch(place(error), /refused_at_line_test\.ts/);
});

const reads = asm`
  in al, 0x60
  hlt
`;

const wrong: [value: unknown, shown: string][] = [
  [0x1ff, "as 0x1ff: "],
  [-1, "as -0x1: "],
  [NaN, "as NaN: "],
  [1.5, "as 1.5: "],
  [undefined, "as undefined: "],
];

Deno.test("what a handler answers wrongly is told at the line that runs the guest", () => {
  for (const [value, shown] of wrong) {
    const runs = [
      (vm: ReturnType<typeof boot>) => void vm.run(),
      (vm: ReturnType<typeof boot>) => void vm.step(),
      (vm: ReturnType<typeof boot>) => expect(vm).toExit([hlt()]),
    ];
    for (const run of runs) {
      using vm = boot(reads, { ports: { 0x60: { read: () => value as number } } });
      const error = assertThrows(() => run(vm), RangeError, shown);
      assertMatch(place(error), /refused_at_line_test\.ts/, error.stack);
    }
  }
});

Deno.test("what a handler throws keeps its own place", () => {
  using vm = boot(reads, { ports: { 0x60: { read: () => vm.memory.u8(-1) } } });
  const error = assertThrows(() => vm.run(), RangeError, "Cannot use -1 as a physical address");
  assert(error.stack!.includes("refused_at_line_test.ts"));
  assertMatch(error.stack!, /\n {4}at .*read/);
});

Deno.test("handlers of MSRs and of other exits are told likewise", () => {
  using vm = boot(asm`
    mov ecx, 0x10
    rdmsr
    hlt
  `);
  vm.msrs.on(0x10, { read: () => NaN });
  const error = assertThrows(() => vm.run(), RangeError, "as NaN: ");
  assertMatch(place(error), /refused_at_line_test\.ts/, error.stack);
});
