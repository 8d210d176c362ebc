import {
  asm,
  boot,
  exit,
  expect,
  fault,
  hlt,
  interleavings,
  modes,
  portOut,
  requires,
} from "@vmexit/vmexit";
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";

class Fields {
  get port(): number {
    return 0x99;
  }
}

const NO_OBJECTS: readonly unknown[] = [
  0x99,
  "port",
  () => false,
  [],
  new Map([["port", 1]]),
  null,
  Promise.resolve({ port: 0x99 }),
  new Date(),
  new Fields(),
  Object.create({ port: 0x99 }),
  { [Symbol("port")]: 0x99 },
];

/** What takes an object of names, and would look at nothing where it has none. */
const CALLS: Record<string, (given: never) => unknown> = {
  "the fields of exit": (given) => exit("IO", given),
  "the fields of fault": (given) => fault("#GP", given),
  "the needs of a test": (given) => requires(given),
  "the options of boot": (given) => boot(asm`hlt`, given)[Symbol.dispose](),
};

for (const [name, call] of Object.entries(CALLS)) {
  Deno.test(`${name} are an object: of anything else nothing would be looked at`, () => {
    for (const given of NO_OBJECTS) {
      const error = assertThrows(() => call(given as never), TypeError, "give an object");
      const first = error.stack!.split("\n").find((line) => /^ +at /.test(line))!;
      assertMatch(first, /no_names_test/);
    }
  });
}

Deno.test("fields that name nothing are left out, and not given", () => {
  using vm = boot(asm`hlt`, { catchFaults: true });
  for (
    const call of [
      () => exit("IO", {}),
      () => fault("#GP", {}),
      () => expect(vm).toFault("#GP", {}),
      () => vm.exits({ call: { routine: "f", givn: { ax: 5 } } as never }),
    ]
  ) {
    const error = assertThrows(call, TypeError, "Cannot ");
    const first = error.stack!.split("\n").find((line) => /^ +at /.test(line))!;
    assertMatch(first, /no_names_test/);
  }
  for (
    const call of [
      () => fault("#GP", undefined),
      () => expect(vm).toFault("#GP", undefined, { timeout: 5 }),
    ]
  ) {
    assertThrows(call, TypeError, "fields undefined");
  }
  assertThrows(
    () => expect(vm).toFault("#GP", Promise.resolve({}) as never, { timeout: 5 }),
    TypeError,
    "a promise",
  );
  assert(!vm.hasRun);
});

Deno.test("interleavings of a function that boots no machine with its seed would all be the same", () => {
  const guest = asm`hlt`;
  let count = 0;
  const error = assertThrows(
    () =>
      interleavings(3, () => {
        count++;
        using vm = boot(guest, { cpus: [{}, {}], interleaving: { seed: 7 } });
        vm.run();
      }),
    TypeError,
    "Cannot try interleaving seed 0: the function has booted no machine with it",
  );
  assertMatch(error.stack!.split("\n").find((line) => /^ +at /.test(line))!, /no_names_test/);
  assertEquals(count, 1);
  assertThrows(
    () => interleavings({ first: 0, cuont: 3 } as never, () => {}),
    TypeError,
    "the nearest are count",
  );
});

Deno.test("the options of a run are an object", () => {
  using vm = boot(asm`hlt`);
  for (const given of NO_OBJECTS) {
    assertThrows(() => vm.run(given as never), TypeError, "give an object");
    assertThrows(() => expect(vm).toExit([hlt()], given as never), TypeError, "give an object");
    assertThrows(() => expect(vm).toHaveRegisters(given as never), TypeError);
  }
  assert(!vm.hasRun);
});

Deno.test("a transcript has a CPU's number as it is written, and no holes", () => {
  using vm = boot(asm`hlt`);
  const twice = { "00": [portOut(0x80)], 0: [hlt()] };
  assertThrows(() => expect(vm).toExit(twice as never), TypeError, "give a list of patterns");
  // deno-lint-ignore no-sparse-arrays -- that is what is refused
  const hole = [portOut(0x80), , hlt()];
  assertThrows(() => expect(vm).toExit(hole as never), TypeError, "element 1 is no pattern");
});

Deno.test("what is tried over nothing is refused at the line of the test", () => {
  for (
    const call of [
      () => interleavings(0, () => {}),
      () => interleavings(3, undefined as never),
      () => modes([]),
      () => modes("real" as never),
      () => modes(["reel" as never]),
      () => modes(["real", "long", "real"]),
      // deno-lint-ignore no-sparse-arrays -- that is what is refused
      () => modes(["real", , "long"] as never),
      () => modes([Promise.resolve("real") as never]),
      () => requires({ avx22: true } as never),
    ]
  ) {
    const error = assertThrows(call, Error, "Cannot ");
    const first = error.stack!.split("\n").find((line) => /^ +at /.test(line))!;
    assertMatch(first, /no_names_test/);
  }
});
