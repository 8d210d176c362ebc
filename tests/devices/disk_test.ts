import { Disk } from "@vmexit/vmexit/devices";
import { assertEquals, assertThrows } from "@std/assert";

Deno.test("a disk has whole sectors, of a copy of its content", () => {
  const content = new Uint8Array(513).fill(7);
  const disk = new Disk(content);
  content.fill(0);
  assertEquals(disk.sectors, 2);
  assertEquals([disk.bytes[512], disk.bytes[513], disk.bytes.length], [7, 0, 1024]);
  assertEquals(new Disk(1).bytes, new Uint8Array(512));
  for (const size of [0, -1, 1.5, NaN]) {
    assertThrows(() => new Disk(size), RangeError, "whole number");
  }
  assertThrows(() => new Disk(new Uint8Array()), RangeError, "0 bytes");
});

Deno.test("what is written to a disk is known by sector, once each", () => {
  const disk = new Disk(4 * 512);
  disk.write(2, new Uint8Array(1024).fill(1));
  disk.write(1, new Uint8Array(1024).fill(2));
  assertEquals(disk.written, [2, 3, 1]);
  assertEquals(disk.read(1, 3).filter((_, index) => index % 512 === 0), Uint8Array.of(2, 2, 1));
  const copy = disk.read(1, 1);
  copy.fill(9);
  assertEquals(disk.bytes[512], 2);
});

Deno.test("accesses that are not on a disk, or that it refuses, are errors", () => {
  const disk = new Disk(1024);
  for (const [lba, count] of [[2, 1], [0, 3], [-1, 1], [0.5, 1], [0, 0.5], [0, -1]]) {
    assertThrows(() => disk.read(lba, count), RangeError, "sectors 0 to 1");
  }
  assertThrows(() => disk.write(0, new Uint8Array(100)), RangeError, "whole ones");
  const readonly = new Disk(512, { readonly: true });
  assertThrows(() => readonly.write(0, new Uint8Array(512)), RangeError, "`readonly`");
  assertEquals(readonly.written, []);
  disk.badSectors.add(1);
  assertEquals([disk.firstBad(0, 2), disk.firstBad(0, 1)], [1, undefined]);
});
