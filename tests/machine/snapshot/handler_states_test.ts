import { asm, boot, type Machine } from "@vmexit/vmexit";
import type { StatefulHandler } from "@vmexit/vmexit/devices";
import { assertEquals, assertMatch, assertThrows } from "@std/assert";

/** Everywhere a handler can have state of its own. */
const PLACES: Readonly<Record<string, (vm: Machine, state: StatefulHandler) => Disposable>> = {
  "ports 0x60": (vm, state) => vm.ports.on(0x60, { read: () => 0, ...state }),
  "all other ports": (vm, state) => vm.ports.otherwise({ read: () => 0, ...state }),
  "physical addresses 0xe0000000": (vm, state) =>
    vm.mmio.on(0xe000_0000, { read: () => 0, ...state }),
  "HLT": (vm, state) => vm.on("HLT", { answer: () => {}, ...state }),
  "MSR 0x12345": (vm, state) => vm.msrs.on(0x12345, { read: () => 0, ...state }),
  "unknown MSRs": (vm, state) => vm.msrs.onUnknown({ read: () => 0, ...state }),
};

for (const [place, on] of Object.entries(PLACES)) {
  Deno.test(`what is saved of a handler is a copy, and so is what it gets back: ${place}`, () => {
    using vm = boot(asm`hlt`);
    let list = [1];
    const saved = {
      save: () => list,
      restore: (state: unknown) => void (list = state as number[]),
    };
    on(vm, saved);
    const start = vm.snapshot();
    for (let again = 0; again < 3; again++) {
      list.push(2);
      vm.restore(start);
      assertEquals(list, [1]);
    }
  });

  Deno.test(`a handler whose state could not be brought back is refused: ${place}`, () => {
    using vm = boot(asm`hlt`);
    const refused = (state: object, message: RegExp) => {
      const error = assertThrows(() => on(vm, state), TypeError);
      assertMatch(error.message, message);
      assertMatch(error.message, new RegExp(`^Cannot handle ${place}\\b`));
      assertMatch(error.stack!.split("\n")[1], /handler_states_test\.ts/);
    };
    refused({ save: () => 1 }, /its save is a function, and its restore missing/);
    refused({ restore: () => {} }, /its save is missing, and its restore a function/);
    refused({ save: 5, restore: () => {} }, /its save is of type number/);
    on(vm, {})[Symbol.dispose]();
  });

  Deno.test(`a state that cannot be kept, or is not there yet, is refused: ${place}`, () => {
    using vm = boot(asm`hlt`);
    const tried = (state: StatefulHandler) => {
      using _handler = on(vm, state);
      vm.restore(vm.snapshot());
    };
    const restore = () => {};
    assertThrows(() => tried({ save: () => () => {}, restore }), TypeError, "is no plain data");
    const later = { save: () => Promise.resolve(1), restore };
    assertThrows(() => tried(later), TypeError, "it returned a promise");
    const late = { save: () => 1, restore: async () => await Promise.resolve() };
    assertThrows(() => tried(late), TypeError, "it returned a promise");
    tried({ save: () => new Map([[1, Uint8Array.of(2)]]), restore });
  });
}

Deno.test("a handler that stands elsewhere by now, or was replaced, keeps its state", () => {
  using vm = boot(asm`hlt`);
  let count = 1;
  const handler = {
    answer: () => {},
    save: () => count,
    restore: (state: unknown) => void (count = state as number),
  };
  const on = vm.on("HLT", handler);
  const start = vm.snapshot();
  count = 2;
  on[Symbol.dispose]();
  vm.restore(start);
  assertEquals(count, 2);
  const another = vm.on("HLT", { ...handler });
  vm.restore(start);
  assertEquals(count, 2);
  another[Symbol.dispose]();
  vm.on("HLT", handler);
  vm.restore(start);
  assertEquals(count, 1);
});

Deno.test("a handler of exits that is an object is called as its method, and has its name in the log", () => {
  using vm = boot(asm`
    hlt
    hlt
    out 0x10, al
  `);
  const halts = {
    name: "the halts",
    count: 0,
    answer() {
      this.count++;
    },
  };
  vm.on("HLT", halts);
  vm.ports.on(0x10, { write: () => vm.stop() });
  vm.run();
  assertEquals(halts.count, 2);
  assertEquals(vm.log.records()[0].answeredBy, "the halts");
  for (const wrong of [{}, { answer: 5 }, null, undefined, 5]) {
    assertThrows(() => vm.on("DEBUG", wrong as never), TypeError, "give a function of the exit");
  }
});
