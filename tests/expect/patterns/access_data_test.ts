import { assert, assertThrows } from "@std/assert";
import { definitionOf } from "../../../lib/expect/patterns/exit_pattern.ts";
import {
  any,
  type Exit,
  exit,
  type ExpectedData,
  fault,
  hlt,
  mmioRead,
  mmioWrite,
  portIn,
  portOut,
  wrmsr,
} from "@vmexit/vmexit";

type Refusal = [call: () => unknown, message: string];

const OUT_OF_RANGE: Record<string, Refusal> = {
  "a port above the last": [
    () => portOut(0x10000),
    "Cannot expect port 65536: it is not a whole number from 0 to 0xffff",
  ],
  "a negative port": [() => portIn(-1), "Cannot expect port -1"],
  "half a port": [() => portIn(1.5), "Cannot expect port 1.5"],
  "a port of three bytes": [
    () => portOut(1, 1, 3 as 1),
    "Cannot expect an access of 3 bytes at port 0x1: the widths there are 1, 2, 4",
  ],
  "MMIO of nine bytes": [
    () => mmioRead(any, 9),
    "Cannot expect an access of 9 bytes at any address: the widths there are 1, 2, 3, 4, 5, 6, 7, 8",
  ],
  "an address that is none": [
    () => mmioWrite(-1),
    "Cannot expect an access at -1: it is not a guest physical address",
  ],
  "an address of more than 52 bits": [() => mmioRead(2 ** 52), "0xfffffffffffff"],
  "a negative value": [
    () => portOut(0x80, -1),
    "Cannot expect -1 at port 0x80: it is not a whole number from 0 up",
  ],
  "a value with a fraction": [() => mmioWrite(0x80, 0.5), "Cannot expect 0.5 at 0x80"],
  "a value that no `out` writes": [
    () => portOut(0x80, 2 ** 32),
    "Cannot expect 0x100000000 at port 0x80: it is wider than an access of 4 bytes",
  ],
  "a value wider than the access": [
    () => portOut(0x80, 0x100, 1),
    "Cannot expect 0x100 at port 0x80: it is wider than an access of 1 byte. Give bytes",
  ],
  "an MMIO value of more than 8 bytes": [() => mmioWrite(0, 2n ** 64n), "an access of 8 bytes"],
  "no bytes": [
    () => portOut(0x80, ""),
    "Cannot expect no bytes at port 0x80: leave the data out to accept any",
  ],
  "bytes that words do not carry": [
    () => portOut(0x80, "abc", 2),
    "Cannot expect 3 bytes at port 0x80: accesses of 2 bytes do not carry that many",
  ],
  "an element that is no byte": [() => portOut(0x80, [256]), "element 0 is not from 0 to 255"],
  "an answer that is too wide": [
    () => portIn(0x60, 1).returns(0x100),
    "Cannot answer 0x100 at port 0x60: it is wider than an access of 1 byte",
  ],
  "a negative answer": [() => mmioRead(0x60).returns(-1n), "Cannot answer -1 at 0x60"],
  "an answer of no bytes": [
    () => mmioRead(0x60).returns([]),
    "Cannot answer no bytes at 0x60: give at least one",
  ],
};

for (const [name, [call, message]] of Object.entries(OUT_OF_RANGE)) {
  Deno.test(`a pattern refuses ${name}`, () => {
    assertThrows(call, RangeError, message);
  });
}

for (const value of [null, true, {}, new Uint16Array(1)]) {
  Deno.test(`a pattern refuses ${Deno.inspect(value)} as data and as an answer`, () => {
    const data = value as unknown as ExpectedData & string;
    assertThrows(() => portOut(0x80, data), TypeError, "Cannot expect ");
    assertThrows(() => mmioWrite(0x80, data), TypeError, "at 0x80: give a number, a bigint");
    assertThrows(() => portIn(0x80).returns(data), TypeError, "Cannot answer ");
  });
}

const table: Record<string, number> = {};

const UNDEFINED: Record<string, () => unknown> = {
  "portOut's data": () => portOut(0x80, table.typo),
  "portOut's size": () => portOut(0x80, 1, table.typo as 1),
  "portIn's size": () => portIn(0x80, table.typo as 1),
  "mmioWrite's data": () => mmioWrite(0x80, table.typo),
  "mmioRead's size": () => mmioRead(0x80, table.typo),
  "wrmsr's value": () => wrmsr("LSTAR", table.typo),
  "exit's fields": () => exit("IO", undefined),
  "a field of exit": () => exit("IO", { port: table.typo }),
  "a field of fault": () => fault("#PF", { cr2: table.typo }),
  "a bound of times": () => hlt().times({ atLeast: table.typo }),
};

for (const [name, call] of Object.entries(UNDEFINED)) {
  Deno.test(`${name} as undefined is a mistake, and not anything`, () => {
    assertThrows(call, TypeError, "undefined: leave it out");
  });
}

Deno.test("a function that answers later, or nothing, judges nothing", () => {
  const io: Exit = {
    reason: "IO",
    number: 2,
    runFlags: { smm: false, busLock: false, guestMode: false },
    direction: "out",
    port: 0x80,
    size: 1,
    count: 1,
    data: new Uint8Array([1]),
  };
  const later = (() => Promise.resolve(false)) as never;
  for (const pattern of [portOut(0x80, later), exit("IO", { port: later })]) {
    assertThrows(() => definitionOf(pattern).begin().offer(io), TypeError, "it answered a promise");
  }
  const nothing = portOut(0x80, (() => {}) as never);
  assertThrows(() => definitionOf(nothing).begin().offer(io), TypeError, "it answered undefined");
  // @ts-expect-error: a promise is no boolean.
  const unused = portOut(0x80, async () => await Promise.resolve(true));
  assert(unused);
});
