import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { asm, boot, expect, hlt, portIn } from "@vmexit/vmexit";

/** Squares what is at 0x900; of 77 it says something else. */
const SQUARE = asm`
    mov al, [0x900]
    cmp al, 77
    je wrong
    xor ah, ah
    mul al
    hlt
  wrong:
    mov ax, 1
    hlt
`;

Deno.test("each input begins where the machine stood, and afterwards it is what it was", () => {
  using vm = boot(SQUARE);
  vm.memory.write(0x900, [3]);
  const tried: number[] = [];
  vm.forEachInput([0, 1, 255], (number, index) => {
    assertEquals([index, vm.memory.u8(0x900), vm.hasRun], [tried.length, 3, false]);
    tried.push(number);
    vm.memory.write(0x900, [number]);
    vm.run();
    expect(vm).toHaveRegisters({ ax: number * number });
  });
  assertEquals(tried, [0, 1, 255]);
  assertEquals([vm.hasRun, vm.memory.u8(0x900), vm.log.total], [false, 3, 0]);
});

Deno.test("inputs can be answers of a transcript, of a guest that has run before", () => {
  using vm = boot(asm`
    hlt
    in  al, 0x60
    inc al
    hlt
  `);
  vm.run();
  vm.forEachInput(new Set([1, 2]), (key) => {
    expect(vm).toExit([portIn(0x60).returns(key), hlt()]);
    expect(vm).toHaveRegisters({ al: key + 1 });
  });
  assertEquals(vm.hasRun, true);
});

Deno.test("an input that fails is named by an expression that gives it again, and the machine is what it was", () => {
  using vm = boot(SQUARE);
  const error = assertThrows(
    () =>
      vm.forEachInput([new Uint8Array([5]), new Uint8Array([77])], ([number]) => {
        vm.memory.write(0x900, [number]);
        vm.run();
        expect(vm).toHaveRegisters({ ax: number * number });
      }),
    Error,
    "Input 1 fails (alone: forEachInput([new Uint8Array([0x4d])], …)): expect(vm).toHaveRegisters(",
  );
  assertStringIncludes(error.message, "mov ax, 1");
  assertMatch(error.stack!, /^AssertionError: Input 1 fails/);
  assertEquals(vm.log.total, 0);
  vm.forEachInput([5], (number) => {
    vm.memory.write(0x900, [number]);
    vm.run();
  });
});

Deno.test("a property of fast-check shrinks to the input that fails", () => {
  using vm = boot(SQUARE);
  const property = fc.property(fc.nat({ max: 255 }), (number) =>
    vm.forEachInput([number], () => {
      vm.memory.write(0x900, [number]);
      vm.run();
      expect(vm).not.toHaveRegisters({ ax: 1 });
    }));
  // 1 squared is 1, too: what is found by chance shrinks to that, or is 77.
  const found = fc.check(property, { seed: 1, numRuns: 400, verbose: false });
  assertEquals(found.failed, true);
  assertMatch(String(found.counterexample), /^(1|77)$/);
});

const LONG = new Uint8Array(100).fill(7);

const WRONG: readonly [what: string, inputs: unknown, body: unknown, message: RegExp][] = [
  ["no inputs", [], () => {}, /^Cannot try inputs: there are none/],
  ["inputs that are no list", 5, () => {}, /^Cannot try number as inputs: give a list/],
  ["no function", [1], 5, /^Cannot try inputs with number: give a function/],
  [
    "a function that does not run the guest",
    ["a"],
    () => {},
    /^Input 0 fails \(alone: forEachInput\(\["a"\], …\)\): Cannot tell whether the guest takes its input/,
  ],
  [
    "an async function",
    [{ a: 1 }],
    async () => {},
    /^Input 0 fails \(alone: forEachInput\(\[\{ a: 1 \}\], …\)\): Cannot try an input by an async function/,
  ],
  [
    "a long input",
    [LONG],
    () => {
      throw new Error("on purpose");
    },
    new RegExp(
      `\\[Uint8Array\\.fromBase64\\("${LONG.toBase64()}"\\)\\], …\\)\\): on purpose`.replace(
        /\+/g,
        "\\+",
      ),
    ),
  ],
];

for (const [what, inputs, body, message] of WRONG) {
  Deno.test(`inputs are refused: ${what}`, () => {
    using vm = boot(SQUARE);
    const error = assertThrows(
      () => vm.forEachInput(inputs as number[], body as () => void),
      Error,
    );
    assertMatch(error.message, message);
    assertMatch(error.stack!.split("\n").find((line) => /^\s+at /.test(line))!, /inputs_test\.ts/);
  });
}

Deno.test("of a disposed machine no inputs are tried", () => {
  const vm = boot(SQUARE);
  vm[Symbol.dispose]();
  assertThrows(() => vm.forEachInput([1], () => {}), TypeError, "the machine is disposed");
});
