import { assertEquals } from "@std/assert";
import {
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
