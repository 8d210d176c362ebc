import * as stock from "@vmexit/vmexit/devices";
import { Unikernel } from "@vmexit/vmexit/devices";
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { SplitMix32 } from "../../lib/x86/split_mix.ts";
import { BenchBoard } from "./bench_board.ts";
import { BUFFER, call, PATH, type Subject, SUBJECTS } from "./saved_subjects.ts";

/** An access by chance to one of the ranges that devices have. */
function access(random: SplitMix32, board: BenchBoard, values: readonly number[]): unknown {
  const ranges = [
    ...board.ports.ranges.map((each) => ({ ...each, sizes: [1, 2, 4] as const })),
    ...board.mmio.ranges.map((each) => ({ ...each, sizes: [1, 4, 8] as const })),
  ].sort((one, other) => one.first - other.first);
  const { first, last, handler, sizes } = ranges[random.below(ranges.length)];
  const size = sizes[random.below(3)];
  const address = first + random.below(last - first + 1);
  const at = Math.floor(address / size) * size;
  if (at < first || at + size - 1 > last) return undefined;
  if (random.below(3) === 0) return [at, size, handler.read?.(at, size as 1)];
  const kinds = [
    values[random.below(Math.max(1, values.length))] ?? 0,
    random.below(256),
    random.next(),
    2 ** random.below(32),
  ];
  const value = BigInt.asUintN(8 * Math.min(size, 4), BigInt(kinds[random.below(kinds.length)]));
  return [
    at,
    value,
    handler.write?.(at, (size === 8 ? value : Number(value)) as number, size as 1),
  ];
}

const STEPS = 250;
const SEEDS = [1, 2, 3, 4, 5];

/** Drives devices by chance, and gives what they and the board have shown, a line each. */
function drive(seed: number, board: BenchBoard, subject: Subject): string[] {
  const random = new SplitMix32(seed);
  const { deeds = [], values = [], noAccesses } = subject;
  const act = () => {
    const kind = random.below(8);
    if (kind === 0) return board.pass(random.below(3_000_000));
    if (kind === 1) return board.acknowledge();
    if (deeds.length > 0 && (noAccesses || kind < 4)) {
      return deeds[random.below(deeds.length)](random, board);
    }
    return access(random, board, values);
  };
  const shown: string[] = [];
  for (let step = 0; step < STEPS; step++) {
    board.log = [];
    let outcome: unknown;
    try {
      outcome = act();
    } catch (error) {
      outcome = `${error}`;
    }
    shown.push(`${step} ${inWords(outcome)} ${inWords(board.log)}`);
  }
  const objects = [...subject.devices, ...subject.parts ?? []];
  return [...shown, inWords(board.bytes), ...objects.map((each) => inWords(propertiesOf(each)))];
}

/** A value as text: where it is another one, the text is. */
function inWords(value: unknown): string {
  return JSON.stringify(value, (_key, each) => {
    if (each instanceof Uint8Array) return `bytes ${each.toHex()}`;
    if (each instanceof Map || each instanceof Set) return [...each];
    return typeof each === "bigint" ? `${each}n` : each;
  }) ?? "undefined";
}

/** @throws When a line is another one: with that line, of which there may be a megabyte. */
function assertSame(actual: readonly string[], expected: readonly string[]): void {
  const line = expected.findIndex((each, index) => each !== actual[index]);
  if (line < 0 && actual.length === expected.length) return;
  const at = [...expected[line] ?? ""].findIndex((each, index) => each !== actual[line][index]);
  assertEquals(actual[line].slice(at - 40, at + 200), expected[line].slice(at - 40, at + 200));
}

/** What an object's getters give. */
function propertiesOf(object: object): Record<string, unknown> {
  const all: Record<string, unknown> = {};
  for (let each = object; each !== Object.prototype; each = Object.getPrototypeOf(each)) {
    for (const [name, { get }] of Object.entries(Object.getOwnPropertyDescriptors(each))) {
      if (get === undefined) continue;
      all[name] = get.call(object);
    }
  }
  return all;
}

function prepared(name: string): { board: BenchBoard; subject: Subject } {
  const subject = SUBJECTS[name]();
  const board = new BenchBoard(subject.devices);
  subject.prepare?.(board);
  return { board, subject };
}

Deno.test.each(Object.keys(SUBJECTS).map((name) => ({ name })))(
  "$name saved, and driven on, and restored, does the same once more, and so does another one",
  ({ name }) => {
    let isOther = false;
    for (const seed of SEEDS) {
      const { board, subject } = prepared(name);
      drive(seed, board, subject);
      const saved = board.save();
      const states = subject.devices.map((device) => device.save?.());
      const before = inWords(states);
      assertEquals(inWords(structuredClone(states)), before, "a saved state is plain data");
      const expected = drive(~seed >>> 0, board, subject);
      assertEquals(inWords(states), before, "a saved state is no longer the device's");
      isOther ||= inWords(drive(~seed >>> 0, board, subject)) !== inWords(expected);

      board.restore(saved, saved.nanoseconds);
      assertSame([inWords(board.save())], [inWords(saved)]);
      assertSame(drive(~seed >>> 0, board, subject), expected);

      // On another board, whose time is later by whole seconds.
      const other = prepared(name);
      drive(seed + 100, other.board, other.subject);
      other.board.restore(saved, saved.nanoseconds + 3e9);
      assertSame(drive(~seed >>> 0, other.board, other.subject), expected);
    }
    assert(isOther, "what it has done before makes no difference to it: it is not driven enough");
  },
);

/** Parts of devices that are among them, and the machine's own port. */
const PARTS = ["Virtqueue", "ConfigSpace", "ExitPort"];

Deno.test("every class of the stock devices with a state is among them", () => {
  const all = Object.keys(SUBJECTS).flatMap((name) => {
    const { devices, parts = [] } = SUBJECTS[name]();
    return [...devices, ...parts];
  });
  for (const [name, value] of Object.entries<unknown>(stock)) {
    const prototype = typeof value === "function" ? value.prototype ?? {} : {};
    if (!("attach" in prototype || "save" in prototype)) continue;
    if (PARTS.includes(name)) continue;
    assert(all.some((each) => each instanceof (value as typeof Object)), `${name} is not`);
  }
});

Deno.test("a unikernel's files of a folder are opened again where they were; one that is gone is an error", () => {
  const folder = Deno.makeTempDirSync();
  using _folder = { [Symbol.dispose]: () => Deno.removeSync(folder, { recursive: true }) };
  Deno.writeTextFileSync(`${folder}/a`, "abcdefghijklmnopqrstuvwxyz");
  using unikernel = new Unikernel({ folder });
  const board = new BenchBoard([unikernel]);
  const read = () => {
    call(board, "read", 3, BigInt(BUFFER), 3n);
    return new TextDecoder().decode(board.bytes.subarray(BUFFER, BUFFER + 3));
  };
  board.bytes[Number(PATH)] = "a".charCodeAt(0);
  call(board, "open", PATH, 0, 0);
  assertEquals(read(), "abc");
  const saved = board.save();
  assertEquals(read(), "def");
  call(board, "close", 3);
  board.restore(saved, 0);
  assertEquals(read(), "def");
  assertNotEquals(read(), "def");
  Deno.removeSync(`${folder}/a`);
  assertThrows(() => board.restore(saved, 0), Deno.errors.NotFound, "a cannot be opened any more");
});
