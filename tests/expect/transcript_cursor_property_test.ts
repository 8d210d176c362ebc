import { assert, assertEquals } from "@std/assert";
import {
  any,
  type Exit,
  exit as exitOf,
  hlt,
  mmioRead,
  mmioWrite,
  portIn,
  portOut,
} from "@vmexit/vmexit";
import fc from "fast-check";
import { definitionOf, ExitPattern } from "../../lib/expect/patterns/exit_pattern.ts";
import { TranscriptCursor } from "../../lib/expect/transcript_cursor.ts";
import { halted, input, load, out, shutDown, store } from "./recorded_exits.ts";

/** A pattern, with exits that it takes: some of them in parts, some of them repeated. */
interface Step {
  readonly pattern: ExitPattern;
  readonly exits: Exit[];
}

const port = fc.integer({ min: 0, max: 0xffff });
const address = fc.integer({ min: 0, max: 2 ** 40 });
const bytes = fc.array(fc.integer({ min: 0, max: 0xff }), { minLength: 1, maxLength: 8 });

const onePart = fc.oneof(
  fc.tuple(port, bytes).map(([at, data]): Step => ({
    pattern: portOut(at, data),
    exits: data.map((byte) => out(at, byte)),
  })),
  fc.tuple(port, bytes).map(([at, data]): Step => ({
    pattern: portOut(at, data),
    exits: [out(at, data)],
  })),
  fc.tuple(port, bytes).map(([at, data]): Step => ({
    pattern: portIn(at).returns(data),
    exits: [input(at, 1, data.length)],
  })),
  fc.tuple(address, bytes, fc.nat()).map(([at, data, cut]): Step => {
    const head = data.slice(0, cut % data.length);
    const parts = [{ at, data: head }, { at: at + head.length, data: data.slice(head.length) }];
    return {
      pattern: mmioWrite(at, data),
      exits: parts.filter(({ data }) => data.length > 0).map(({ at, data }) => store(at, ...data)),
    };
  }),
  fc.tuple(address, bytes).map(([at, data]): Step => ({
    pattern: mmioRead(at).returns(data),
    exits: [load(at, data.length)],
  })),
  fc.constant<Step>({ pattern: hlt(), exits: [halted] }),
);

const step = fc.tuple(onePart, fc.integer({ min: 1, max: 3 })).map((
  [{ pattern, exits }, count],
) => ({
  pattern: pattern.times(count),
  exits: Array.from({ length: count }, () => exits).flat(),
}));

const session = fc.array(step, { minLength: 1, maxLength: 12 });

function takenOf(patterns: ExitPattern[], exits: Exit[]): { taken: number; isDone: boolean } {
  const cursor = new TranscriptCursor(patterns);
  const refused = exits.findIndex((exit, index) => !cursor.offer(exit, index + 1).matches);
  return { taken: refused === -1 ? exits.length : refused, isDone: cursor.isDone };
}

Deno.test("a transcript made from exits takes those exits, all of them, and is done then and not before", () => {
  fc.assert(fc.property(session, (steps) => {
    const patterns = steps.map(({ pattern }) => pattern);
    const exits = steps.flatMap(({ exits }) => exits);
    assertEquals(takenOf(patterns, exits), { taken: exits.length, isDone: true });
    assertEquals(takenOf(patterns, exits.slice(0, -1)).isDone, false);
  }));
});

Deno.test("a transcript never takes an exit in which one thing was changed", () => {
  fc.assert(fc.property(session, fc.nat(), fc.nat(), (steps, which, change) => {
    const patterns = steps.map(({ pattern }) => pattern);
    const exits = steps.flatMap(({ exits }) => exits);
    const index = which % exits.length;
    const mutated = exits.with(index, mutation(exits[index], change));
    assertEquals(takenOf(patterns, mutated), { taken: index, isDone: false });
  }));
});

Deno.test("patterns that may be left out take nothing away from an exit that only the last one matches", () => {
  fc.assert(fc.property(session, (steps) => {
    const optional = steps.map(({ pattern }) =>
      new ExitPattern(definitionOf(pattern), 0, Infinity)
    );
    const last = exitOf("SHUTDOWN");
    assertEquals(takenOf([...optional, last], [shutDown]), { taken: 1, isDone: true });
  }));
});

function mutation(exit: Exit, change: number): Exit {
  const choices: Exit[] = [];
  if (exit.reason === "IO") {
    choices.push({ ...exit, port: exit.port ^ 1 });
    choices.push({ ...exit, direction: exit.direction === "in" ? "out" : "in" });
    const bytes = exit.size * exit.count;
    for (const size of [1, 2, 4]) {
      const isWidth = size !== exit.size && bytes % size === 0;
      if (isWidth) choices.push({ ...exit, size, count: bytes / size });
    }
    if (exit.direction === "out") choices.push({ ...exit, data: otherBytes(exit.data, change) });
  } else if (exit.reason === "MMIO") {
    choices.push({ ...exit, gpa: exit.gpa + 1 });
    choices.push({ ...exit, isWrite: !exit.isWrite });
    if (exit.isWrite) choices.push({ ...exit, data: otherBytes(exit.data, change) });
  }
  choices.push(shutDown);
  return choices[change % choices.length];
}

function otherBytes(data: Uint8Array, change: number): Uint8Array {
  const index = change % data.length;
  return data.with(index, data[index] ^ 1);
}

const place = fc.constantFrom(1, 1, 1, 2);
const size = fc.constantFrom(1, 1, 2, 4);
const value = fc.constantFrom(0, 1, 0x100, 0xffff_ffff, 0x1_0000_0000);
const given = fc.oneof(
  value,
  fc.constantFrom(any, "a", [1, 0], (bytes: Uint8Array) => bytes[0] === 1),
);

/** Patterns of accesses, of so few kinds that they often match the accesses below. */
const accessPattern = fc.oneof(
  fc.tuple(fc.oneof(place, fc.constant(any)), given, size).map(([port, data, size]) => {
    if (typeof data === "string" || Array.isArray(data)) return portOut(port, data);
    return typeof data === "number" && data >= 2 ** (8 * size)
      ? portOut(port)
      : portOut(port, data, size as 1);
  }),
  fc.tuple(place, given).map(([gpa, data]) => mmioWrite(gpa, data)),
  fc.tuple(place, value).map(([gpa, data]) => mmioWrite(gpa, data, 8)),
  fc.tuple(place, size).map(([port, size]) => portIn(port, size as 1)),
  fc.tuple(place, value).map(([port, answer]) =>
    answer < 2 ** 32 ? portIn(port).returns(answer) : portIn(port)
  ),
  fc.tuple(place, value).map(([gpa, answer]) => mmioRead(gpa).returns(answer)),
);

const access = fc.tuple(fc.boolean(), fc.boolean(), place, size, value);

Deno.test("an access that is taken before it is decoded is what it were as an exit: the match, the answer, what is waited for", () => {
  let taken = 0;
  const repeated = fc.tuple(
    accessPattern,
    fc.constantFrom(0, 1, 2),
    fc.constantFrom(1, 2, Infinity),
  )
    .map(([pattern, minimum, more]) =>
      new ExitPattern(definitionOf(pattern), minimum, Math.max(1, minimum - 1 + more))
    );
  const patterns = fc.array(repeated, { minLength: 1, maxLength: 5 });
  const accesses = fc.array(access, { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(patterns, accesses, (patterns, accesses) => {
      const decoded = new TranscriptCursor(patterns);
      const plain = new TranscriptCursor(patterns);
      for (const [index, [isMmio, isWrite, at, size, written]] of accesses.entries()) {
        const length = isMmio && size === 4 ? 8 : size;
        const data = isWrite ? written % 2 ** (8 * length) : 0;
        const bytes = Array.from(
          { length },
          (_, byte) => Math.floor(data / 2 ** (8 * byte)) % 256,
        );
        const exit = isMmio
          ? isWrite ? store(at, ...bytes) : load(at, length)
          : isWrite
          ? out(at, bytes, size)
          : input(at, size);
        const number = index + 1;
        const access = plain.takes(
          isMmio,
          isWrite,
          at,
          length,
          data % 2 ** 32,
          Math.floor(data / 2 ** 32),
          number,
        );
        if (access !== undefined) {
          taken++;
        }
        const match = decoded.offer(exit, number);
        const other = access === undefined ? plain.offer(exit, number) : {
          matches: true,
          answer: access.bytes,
        };
        assertEquals(other.matches, match.matches);
        if (match.matches) assertEquals("answer" in other ? other.answer : undefined, match.answer);
        const stateOf = ({ position, isDone, expected, progress }: TranscriptCursor) => ({
          position,
          isDone,
          expected,
          taken: progress.map(({ count, exits }) => ({ count, exits })),
        });
        assertEquals(stateOf(plain), stateOf(decoded));
      }
    }),
    { numRuns: 3_000 },
  );
  assert(taken > 200, `${taken} of them were taken so`);
});
