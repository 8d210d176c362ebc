import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import {
  asm,
  boot,
  fuzz,
  FuzzError,
  type FuzzOptions,
  type FuzzResult,
  type Machine,
} from "@vmexit/vmexit";
import { bootParser, MAX_LENGTH, parse, SEED } from "./parser.ts";

const OPTIONS: FuzzOptions = { seeds: [SEED], maxLength: MAX_LENGTH };

/** What is found in the parser. */
function found(options: Partial<FuzzOptions>): FuzzResult {
  using vm = bootParser();
  const target = (input: Uint8Array) => parse(vm, input);
  try {
    return fuzz(vm, target, { ...OPTIONS, ...options });
  } catch (error) {
    if (error instanceof FuzzError) return error.result;
    throw error;
  }
}

/** A folder that is removed afterwards. */
function withFolder(body: (folder: string) => void): void {
  const folder = Deno.makeTempDirSync({ prefix: "vmexit-fuzz-" });
  try {
    body(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** What each of the parser's faults is told as, and by which command it is found. */
const FAULTS: Readonly<Record<string, { command: string; told: RegExp }>> = {
  "a division by zero": { command: "D", told: /^GuestFaultError.*\n.*#DE/ },
  "an endless loop": { command: "L", told: /^TimeLimitError/ },
  "a write far behind a table": { command: "W", told: /^UnhandledExitError.*\n.*MMIO write/ },
  "a sum that is wrong": { command: "S", told: /^AssertionError.*\n.*the sum/ },
  "a return address that is overwritten": {
    command: "C",
    told: /^(GuestFaultError|UnhandledExitError).*\n.*(#UD|#GP|#PF|INTERNAL_ERROR)/,
  },
};

Deno.test("five faults of five kinds are found, each told with a small input that shows it", () => {
  const { failures, reached, inputs } = found({ runs: 500, seed: 1 });
  for (const [what, { command, told }] of Object.entries(FAULTS)) {
    const failure = failures.find(({ what, error, input }) =>
      told.test(`${what}\n${(error as Error).message}`) &&
      new TextDecoder("latin1").decode(input).startsWith(`VX${command}`)
    );
    assert(failure !== undefined, `${what} is not among ${failures.map(({ what }) => what)}`);
    assert(failure.input.length <= 5, `${what}: ${failure.input}`);
  }
  // Nearly all lines, from one seed that has one command.
  assert(reached! > 60, `${reached} lines`);
  assert(inputs > 2, `${inputs} inputs`);
});

Deno.test("what is found follows from the seed", () => {
  const hunt = (seed: number) => {
    const { failures, runs, inputs, reached } = found({ runs: 60, seed });
    return {
      failures: failures.map(({ what, input }) => [what, [...input]]),
      runs,
      inputs,
      reached,
    };
  };
  assertEquals(hunt(3), hunt(3));
});

Deno.test("inputs that led somewhere new, and those that failed, are kept and tried first the next time", () => {
  withFolder((folder) => {
    const first = found({ runs: 150, seed: 2, corpus: folder });
    assert(first.failures.length > 0);
    for (const { path, input } of first.failures) assertEquals(Deno.readFileSync(path!), input);
    const kept = [...Deno.readDirSync(folder)].filter(({ isFile }) => isFile);
    assertEquals(kept.length, first.inputs - 1);
    const again = found({ corpus: folder });
    assertEquals(again.runs, 1 + kept.length + first.failures.length);
    assertEquals(
      again.failures.map(({ path }) => path).sort(),
      first.failures.map(({ path }) => path).sort(),
    );
    assertEquals(again.reached, undefined);
  });
});

Deno.test("a target that takes all of its inputs passes, and says what was tried", () => {
  const { runs, inputs, failures } = found({ seeds: [SEED, new Uint8Array()] });
  assertEquals([runs, inputs, failures], [2, 2, []]);
});

Deno.test("the error has each failure with its input as an expression, and the guest's page", () => {
  using vm = bootParser();
  const input = new Uint8Array([0x56, 0x58, 0x44]);
  const error = assertThrows(
    () => fuzz(vm, (input) => parse(vm, input), { ...OPTIONS, seeds: [SEED, input] }),
    FuzzError,
  );
  assertMatch(
    error.message,
    /^1 failures in 2 runs\n\nGuestFaultError at 0x[0-9a-f]+, IO: new Uint8Array\(\[0x56, 0x58, 0x44\]\)\n {4}#DE/,
  );
  assertStringIncludes(error.message, "the fault");
  assertEquals((error.cause as Error).name, "GuestFaultError");
});

const asBody = (body: unknown) => body as () => void;

const WRONG: readonly [what: string, run: () => unknown, message: RegExp][] = [
  ["no seeds", () => found({ seeds: [] }), /Cannot fuzz without seeds/],
  ["a number of runs that is none", () => found({ runs: 0.5 }), /Cannot fuzz with runs 0\.5/],
  ["no time", () => found({ time: 0 }), /Cannot fuzz for 0 seconds/],
  [
    "a seed longer than the buffer",
    () => found({ seeds: [new Uint8Array(65)] }),
    /Cannot try a seed: it has 65 bytes, and the guest's buffer \(maxLength\) 64/,
  ],
  [
    "a seed that is a text",
    () => found({ seeds: ["help"] as unknown as Uint8Array[] }),
    /^Cannot fuzz with a seed of type string: give bytes, .*TextEncoder/,
  ],
  [
    "a word that is a number",
    () => found({ dictionary: [5 as unknown as string] }),
    /^Cannot fuzz with a word of type number: give a text or bytes/,
  ],
  ["words without a list", () => found({ dictionary: "GET" as never }), /^Cannot fuzz with words /],
  [
    "a corpus without a name",
    () => found({ corpus: "" }),
    /^Cannot use "" as a corpus: give a path or a file: URL/,
  ],
  [
    "a corpus that is a number",
    () => found({ corpus: 5 as never }),
    /^Cannot use 5 as a corpus: give a path or a file: URL/,
  ],
  [
    "a corpus on another machine",
    () => found({ corpus: new URL("https://example.org/corpus") }),
    /^Cannot use https:\/\/example\.org\/corpus as a corpus: it is no file of this machine/,
  ],
  ["no length", () => found({ maxLength: undefined }), /^Cannot fuzz with maxLength undefined/],
  [
    "no machine",
    () => fuzz(undefined as unknown as Machine, () => {}, OPTIONS),
    /^Cannot fuzz undefined: give a machine/,
  ],
  [
    "a hunt without coverage",
    () => {
      using vm = boot(asm`hlt`);
      fuzz(vm, () => vm.run(), { ...OPTIONS, runs: 1 });
    },
    /coverage/,
  ],
  [
    "a target that does not run the guest",
    () => {
      using vm = boot(asm`hlt`);
      fuzz(vm, () => {}, OPTIONS);
    },
    /Cannot tell whether the guest takes its input: the function has not run it/,
  ],
  [
    "a target that is wrong itself",
    () => {
      using vm = boot(asm`hlt`);
      fuzz(vm, () => void vm.memory.write("nowhere", [1]), OPTIONS);
    },
    /nowhere/,
  ],
  [
    "an async target",
    () => {
      using vm = boot(asm`hlt`);
      fuzz(vm, asBody(async () => {}), OPTIONS);
    },
    /Cannot try an input by an async function/,
  ],
  [
    "no target",
    () => {
      using vm = boot(asm`hlt`);
      fuzz(vm, asBody(5), OPTIONS);
    },
    /Cannot fuzz number: give a function/,
  ],
];

for (const [what, run, message] of WRONG) {
  Deno.test(`fuzzing is refused: ${what}`, () => {
    const error = assertThrows(run, Error);
    assert(!(error instanceof FuzzError));
    assertMatch(error.message, message);
    assertMatch(error.stack!.split("\n").find((line) => /^\s+at /.test(line))!, /fuzz_test\.ts/);
  });
}

Deno.test("a corpus that is a file, or cannot be made, is an error with its path, before anything is tried", () => {
  withFolder((folder) => {
    const file = join(folder, "file");
    Deno.writeTextFileSync(file, "");
    for (const runs of [0, 5]) {
      const error = assertThrows(() => found({ corpus: file, runs }), Error);
      assertMatch(error.message, /Cannot (read the|keep) inputs in /);
      assertStringIncludes(error.message, file);
    }
  });
});
