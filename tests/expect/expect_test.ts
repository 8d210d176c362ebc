import { assertStringIncludes, assertThrows } from "@std/assert";
import { asm, boot, expect, hlt, type Machine, type RegisterValues } from "@vmexit/vmexit";
import { failureOf } from "./messages.ts";

/** One halted guest for all tests that only look. */
let halted: Machine;

Deno.test.beforeAll(() => {
  halted = boot(
    asm`
    mov eax, 0x12345678
    stc
    mov dx, 0x80
    mov al, 'o'
    out dx, al
    mov al, 'k'
    out dx, al
    mov dx, 0x3f8
    mov al, 'h'
    out dx, al
    mov al, 'i'
    out dx, al
    mov dword [0x800], 0x04030201
    hlt
  `,
    { exitPort: 0xf4 },
  );
  halted.ports.on(0x80, { write() {} });
  halted.run();
});

Deno.test.afterAll(() => halted[Symbol.dispose]());

const HOLDING: Record<string, (vm: Machine, not: boolean) => void> = {
  "toHaveRegisters": (vm, not) => on(vm, not).toHaveRegisters({ ax: 0x5669 }),
  "toHaveFlags": (vm, not) => on(vm, not).toHaveFlags({ cf: true }),
  "toHaveMemory": (vm, not) => on(vm, not).toHaveMemory(0x800, [1, 2, 3, 4]),
  "toHaveLinearMemory": (vm, not) =>
    on(vm, not).toHaveLinearMemory(0x800, new Uint8Array([1, 2, 3])),
  "toHavePortOutput": (vm, not) => on(vm, not).toHavePortOutput(0x80, "ok"),
  "toHavePortOutput of nothing": (vm, not) => on(vm, not).toHavePortOutput(0x81, ""),
  "toHaveSerial": (vm, not) => on(vm, not).toHaveSerial("hi"),
  "toHaveSerial with an expression": (vm, not) => on(vm, not).toHaveSerial(/^h/g),
  "toHaveSerialContaining": (vm, not) => on(vm, not).toHaveSerialContaining("i"),
  "toBeHalted": (vm, not) => on(vm, not).toBeHalted(),
};

const DIFFERING: typeof HOLDING = {
  "toHaveRegisters": (vm, not) => on(vm, not).toHaveRegisters({ "cs.base": 1 }),
  "toHaveFlags": (vm, not) => on(vm, not).toHaveFlags({ zf: true }),
  "toHaveMemory": (vm, not) => on(vm, not).toHaveMemory(0x800, [1, 2, 3, 5]),
  "toHaveLinearMemory": (vm, not) => on(vm, not).toHaveLinearMemory(0x800, "abc"),
  "toHavePortOutput": (vm, not) => on(vm, not).toHavePortOutput(0x80, "o"),
  "toHaveSerial": (vm, not) => on(vm, not).toHaveSerial("h"),
  "toHaveSerial with an expression": (vm, not) => on(vm, not).toHaveSerial(/^i/),
  "toHaveSerialContaining": (vm, not) => on(vm, not).toHaveSerialContaining("ho"),
  "toBeShutDown": (vm, not) => on(vm, not).toBeShutDown(),
};

function on(vm: Machine, not: boolean) {
  return not ? expect(vm).not : expect(vm);
}

for (const [name, call] of Object.entries(HOLDING)) {
  Deno.test(`${name} accepts what is so, again and again, and refuses it after .not`, () => {
    call(halted, false);
    call(halted, false);
    assertStringIncludes(failureOf(() => call(halted, true)).message, "expect(vm).not.to");
  });
}

for (const [name, call] of Object.entries(DIFFERING)) {
  Deno.test(`${name} refuses what is not so, and accepts it after .not`, () => {
    call(halted, true);
    assertStringIncludes(failureOf(() => call(halted, false)).message, "expect(vm).to");
  });
}

type Refusal = [call: () => void, kind: new () => Error, message: string];

const REFUSED: Record<string, Refusal> = {
  "something that is no machine": [
    () => expect({} as Machine),
    TypeError,
    "Cannot expect anything of that: it is not a machine that boot() made",
  ],
  "no registers": [() => expect(halted).toHaveRegisters({}), TypeError, "none is named"],
  "registers that are all left out": [
    () => expect(halted).toHaveRegisters({ rax: undefined, rdx: 0 }),
    TypeError,
    "Cannot expect rax as undefined",
  ],
  "a register of flags without flags": [
    () => expect(halted).toHaveRegisters({ ax: 0x5669, rflags: {} }),
    TypeError,
    "Cannot expect rflags as {}",
  ],
  "a vector without lanes": [
    () => expect(halted).toHaveRegisters({ ax: 0x5669, xmm0: {} }),
    TypeError,
    "Cannot expect xmm0 as {}",
  ],
  "true for a whole register": [
    () => expect(halted).toHaveRegisters({ al: true as never }),
    TypeError,
    "only a flag is true or false",
  ],
  "an MSR as undefined": [
    () => expect(halted).toHaveMsrs({ LSTAR: undefined }),
    TypeError,
    "Cannot expect LSTAR as undefined",
  ],
  "several values after .not": [
    () => expect(halted).not.toHaveRegisters({ ax: 0, bx: 0x1234 }),
    TypeError,
    "Write an `expect(vm).not` for each",
  ],
  "a time in which no guest gets to its end": [
    () => expect(halted).toRunOutOfTime({ timeout: 0.5 }),
    RangeError,
    "give it at least 5 ms",
  ],
  "a flag as 2": [
    () => expect(halted).not.toHaveFlags({ cf: 2 as never }),
    RangeError,
    "Cannot expect rflags.cf as 0x2: a flag is true or false, 1 or 0",
  ],
  "an option of toExit that there is not": [
    () => expect(halted).toExit([hlt()], { than: "silence" } as never),
    TypeError,
    "Cannot run the machine with the option than: there is none of that name; the nearest are then",
  ],
  "an option of toFault that there is not": [
    () => expect(halted).toFault("#GP", {}, { until: "shutdown", tiemout: 5 } as never),
    TypeError,
    "the option tiemout",
  ],
  "an option of toRunOutOfTime that there is not": [
    () => expect(halted).toRunOutOfTime({ tiemout: 5 } as never),
    TypeError,
    "the nearest are timeout",
  ],
  "registers as a number": [
    () => expect(halted).toHaveRegisters(5 as never),
    TypeError,
    "Cannot expect registers as 5: give an object of them",
  ],
  "a register that does not exist": [
    () => expect(halted).toHaveRegisters({ rxa: 1 } as RegisterValues),
    RangeError,
    'Cannot find a register "rxa"',
  ],
  "a flag that does not exist": [
    () => expect(halted).toHaveFlags({ qf: true } as never),
    RangeError,
    "rflags.qf",
  ],
  "a value of a register that is none": [
    () => expect(halted).toHaveRegisters({ rax: null } as never),
    TypeError,
    "Cannot expect rax as null: it is not a number, bigint, boolean or label",
  ],
  "a text for a register that is no label": [
    () => expect(halted).toHaveRegisters({ rax: "5" }),
    RangeError,
    "Cannot find the symbol 5",
  ],
  "a value too wide for its register": [
    () => expect(halted).toHaveRegisters({ al: 0x100 }),
    RangeError,
    "Cannot expect al as 0x100: it is not a whole number of 8 bits",
  ],
  "a negative value": [
    () => expect(halted).toHaveRegisters({ ax: -2 }),
    RangeError,
    "Cannot expect ax as -0x2: it is not a whole number of 16 bits; its two's complement is 0xfffe",
  ],
  "a number above what numbers hold": [
    () => expect(halted).toHaveRegisters({ rax: 2 ** 60 }),
    RangeError,
    "give a bigint",
  ],
  "no bytes of memory": [
    () => expect(halted).toHaveMemory(0x800, []),
    RangeError,
    "Cannot expect no bytes at physical 0x800: give at least one",
  ],
  "memory that is not there": [
    () => expect(halted).toHaveMemory(2 ** 30, "a"),
    RangeError,
    "no memory is there. The slots are ",
  ],
  "an element that is no byte": [
    () => expect(halted).toHaveMemory(0x800, [-1]),
    RangeError,
    "element 0 is not from 0 to 255",
  ],
  "a port that does not exist": [
    () => expect(halted).toHavePortOutput(-1, ""),
    RangeError,
    "Cannot expect output of port -1: it is not a whole number from 0 to 0xffff",
  ],
  "an exit status that no `out` writes": [
    () => expect(halted).toHaveExitStatus(2 ** 32),
    RangeError,
    "Cannot expect 4294967296 as an exit status: it is not a whole number from 0 to 0xffffffff",
  ],
  "a serial text that is none": [
    () => expect(halted).toHaveSerial(5 as never),
    TypeError,
    "Cannot expect a serial line to be number: give a string or a regular expression",
  ],
  "an expression that every serial text matches": [
    () => expect(halted).toHaveSerial(/x*/),
    RangeError,
    "Cannot expect a serial line to match /x*/: every text does",
  ],
  "memory of words": [
    () => expect(halted).toHaveMemory(0x800, new Uint16Array([0x201]) as never),
    TypeError,
    "Cannot take [object Uint16Array] as bytes",
  ],
  "a part of a serial text that is none": [
    () => expect(halted).toHaveSerialContaining(/h/ as never),
    TypeError,
    "a regular expression to toHaveSerial",
  ],
  "an empty part of a serial text": [
    () => expect(halted).toHaveSerialContaining(""),
    RangeError,
    "every text does",
  ],
};

for (const [name, [call, kind, message]] of Object.entries(REFUSED)) {
  Deno.test(`a matcher refuses ${name}, at the line of the test`, () => {
    const { stack, message: told } = assertThrows(call, kind, message);
    assertStringIncludes(
      stack!.slice(stack!.indexOf(told) + told.length).split("\n")[1],
      "expect_test.ts",
    );
  });
}

Deno.test("what a guest has not done says nothing before it has run", () => {
  using vm = boot(asm`hlt`, { exitPort: 0xf4 });
  const calls = [
    () => expect(vm).not.toBeShutDown(),
    () => expect(vm).not.toBeHalted(),
    () => expect(vm).not.toHaveSerialContaining("panic"),
    () => expect(vm).not.toHaveSerial("panic"),
    () => expect(vm).toHaveSerial(""),
    () => expect(vm).toHavePortOutput(0x80, ""),
    () => expect(vm).not.toHavePortOutput(0x80, "x"),
    () => expect(vm).not.toHaveExitStatus(1),
  ];
  for (const call of calls) assertThrows(call, TypeError, "the guest has not run");
  vm.run();
  for (const call of calls.slice(0, 1).concat(calls.slice(2, -1))) call();
  assertThrows(calls.at(-1)!, TypeError, "the guest has not written to its exit port");
});
