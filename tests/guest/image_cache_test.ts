import { assert, assertEquals, assertThrows } from "@std/assert";
import { asm } from "../../lib/guest/asm.ts";
import { assemble } from "../../lib/guest/assemble.ts";
import { AssemblyError } from "../../lib/guest/diagnostic.ts";
import { type CacheEntry, DiskCache, ImageCache } from "../../lib/guest/image_cache.ts";
import type { ImageInit } from "../../lib/guest/image_init.ts";
import { type CountingAssembler, countingAssembler } from "./counting_assembler.ts";

/** A cache folder of its own, in place of the user's, until the end of the block. */
function ownCacheFolder(): { images: string } & Disposable {
  const path = Deno.makeTempDirSync({ prefix: "vmexit-cache-" });
  const before = Deno.env.get("XDG_CACHE_HOME");
  Deno.env.set("XDG_CACHE_HOME", path);
  return {
    images: `${path}/vmexit/images`,
    [Symbol.dispose]() {
      if (before === undefined) Deno.env.delete("XDG_CACHE_HOME");
      else Deno.env.set("XDG_CACHE_HOME", before);
      Deno.removeSync(path, { recursive: true });
    },
  };
}

const filesIn = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name);

const guest = asm`
  bits 16
  main: mov ax, main
  .loop: jmp .loop
  port equ 0x3f8
  mov al, 0x1234
  section .bss
  buffer: resb 8
`;

Deno.test("the same text for the same origin is assembled once", () => {
  const counting = countingAssembler({ memory: new ImageCache() });
  const first = assemble(guest, { origin: 0x100 }, counting);
  assertEquals(assemble(guest, { origin: 0x100 }, counting), first);
  assertEquals(counting.runs.length, 1);
  assemble(guest, { origin: 0x200 }, counting);
  assemble(guest, { origin: 0x100, bits: 32 }, counting);
  assertEquals(counting.runs.length, 3);
});

Deno.test("an image's bytes are its own: writing to them leaves the cache alone", () => {
  const counting = countingAssembler({ memory: new ImageCache() });
  const first = assemble(guest, {}, counting);
  const before = first.bytes.slice();
  first.bytes.fill(0xcc);
  first.segments[0].bytes.fill(0xcc);
  assertEquals(assemble(guest, {}, counting).bytes, before);
});

Deno.test("another process finds the whole image on the disk", () => {
  using _folder = ownCacheFolder();
  const cold = countingAssembler({ memory: new ImageCache(), disk: new DiskCache() });
  const image = assemble(guest, { origin: 0x100 }, cold);
  const warm = countingAssembler({ memory: new ImageCache(), disk: new DiskCache() });
  const again = assemble(guest, { origin: 0x100 }, warm);
  assertEquals(warm.runs.length, 0);
  assertEquals(again, image);
  assertEquals([...again.segments], [...image.segments]);
  assertEquals(again.lines, image.lines);
  assertEquals(again.symbolAt(0x104), image.symbolAt(0x104));
});

Deno.test("what came from the disk is kept in memory", () => {
  using folder = ownCacheFolder();
  assemble(guest, {}, countingAssembler({ disk: new DiskCache() }));
  const counting = countingAssembler({ memory: new ImageCache(), disk: new DiskCache() });
  assemble(guest, {}, counting);
  Deno.removeSync(folder.images, { recursive: true });
  assemble(guest, {}, counting);
  assertEquals(counting.runs.length, 0);
});

Deno.test("what is on the disk does not count once a file that it was made from has changed", () => {
  using folder = ownCacheFolder();
  const include = `${folder.images}.inc`;
  Deno.mkdirSync(folder.images, { recursive: true });
  Deno.writeTextFileSync(include, "db 1");
  const text = `%include "${include}"\n`;
  const source = { text, folders: [], declaredBits: undefined };
  const byteBy = (counting: CountingAssembler) => assemble(source, {}, counting).bytes[0];
  assertEquals(byteBy(countingAssembler({ disk: new DiskCache() })), 1);
  const warm = countingAssembler({ disk: new DiskCache() });
  assertEquals([byteBy(warm), warm.runs.length], [1, 0]);
  Deno.writeTextFileSync(include, "db 2");
  assertEquals(byteBy(warm), 2);
  Deno.removeSync(include);
  assertThrows(() => byteBy(warm), AssemblyError);
});

const DAMAGES: [what: string, damage: (content: string) => string][] = [
  ["empty", () => ""],
  ["cut short", (content) => content.slice(0, content.length / 2)],
  ["changed in one place", (content) => content.replace("00000000", "00000001")],
  ["something else", () => "not an image\n{}"],
];
for (const [what, damage] of DAMAGES) {
  Deno.test(`an image on the disk that is ${what} is assembled anew and written again`, () => {
    using folder = ownCacheFolder();
    const counting = countingAssembler({ disk: new DiskCache() });
    const image = assemble(guest, {}, counting);
    const [name] = filesIn(folder.images);
    const path = `${folder.images}/${name}`;
    const content = Deno.readTextFileSync(path);
    const damaged = damage(content);
    assert(damaged !== content);
    Deno.writeTextFileSync(path, damaged);

    assertEquals(assemble(guest, {}, counting), image);
    assertEquals(counting.runs.length, 2);
    assertEquals(Deno.readTextFileSync(path), content);
    assertEquals(filesIn(folder.images), [name]);
  });
}

Deno.test("a disk that cannot be written costs the cache and nothing else", () => {
  using folder = ownCacheFolder();
  Deno.mkdirSync(folder.images.replace(/\/images$/, ""), { recursive: true });
  Deno.writeTextFileSync(folder.images, "a file where the folder should be");
  const counting = countingAssembler({ disk: new DiskCache() });
  assemble(guest, {}, counting);
  assemble(guest, {}, counting);
  assertEquals(counting.runs.length, 2);
});

Deno.test("what a killed process left behind is removed, what another writes now is not", () => {
  using folder = ownCacheFolder();
  Deno.mkdirSync(folder.images, { recursive: true });
  const old = `${folder.images}/x.1.old.new`;
  const fresh = `${folder.images}/x.2.fresh.new`;
  Deno.writeTextFileSync(old, "");
  Deno.utimeSync(old, new Date(0), new Date(0));
  Deno.writeTextFileSync(fresh, "");
  assemble(guest, {}, countingAssembler({ disk: new DiskCache() }));
  const names = filesIn(folder.images);
  assert(!names.includes("x.1.old.new"));
  assert(names.includes("x.2.fresh.new"));
});

Deno.test({
  name: "without permissions nothing is read from or written to the disk, and nobody is asked",
  permissions: { ffi: true, run: ["nasm"], env: true },
  fn() {
    const counting = countingAssembler({ disk: new DiskCache() });
    assemble(guest, {}, counting);
    assemble(guest, {}, counting);
    assertEquals(counting.runs.length, 2);
  },
});

Deno.test("what reads the clock or the environment is not kept", () => {
  const counting = countingAssembler({ memory: new ImageCache() });
  for (const source of [asm`db __TIME__`, asm`db "%!HOME"`, asm`dq __?POSIX_TIME?__`]) {
    const runs = counting.runs.length;
    assemble(source, {}, counting);
    assemble(source, {}, counting);
    assertEquals(counting.runs.length, runs + 2, source.text);
  }
});

Deno.test("the cache in memory is bounded, and keeps what was used last", () => {
  const cache = new ImageCache();
  const image: CacheEntry<ImageInit> = { value: { segments: [] }, dependencies: [] };
  cache.set("used", image);
  for (let index = 0; index < 1000; index++) {
    cache.set(`other ${index}`, image);
    assertEquals(cache.get("used"), image);
  }
  assertEquals(cache.get("other 0"), undefined);
  const bytes = new Uint8Array(9 << 20);
  cache.set("large", {
    value: { segments: [{ address: 0n, bytes, size: bytes.length }] },
    dependencies: [],
  });
  assertEquals(cache.get("large"), undefined);
});

/** The least of several times, in milliseconds: what it takes when nothing else is in the way. */
function best(times: number, work: () => void): number {
  const durations = Array.from({ length: times }, () => {
    const start = performance.now();
    work();
    return performance.now() - start;
  });
  return Math.min(...durations);
}

Deno.test("a warm assemble is quick: under a millisecond from memory, a few from the disk", () => {
  using _folder = ownCacheFolder();
  const rows = Array.from({ length: 100 }, (_, index) => index);
  const source = asm`
    ${
    rows.reduce((body, index) =>
      asm`
      ${body}
      mov ax, ${index}
    `, asm`nop`)
  }
  `;
  const memory = countingAssembler({ memory: new ImageCache(), disk: new DiskCache() });
  const disk = countingAssembler({ disk: new DiskCache() });
  assemble(source, {}, memory);
  // Generous, for slow and nested machines: what is measured on a desktop is a tenth of it.
  const scale = Number(Deno.env.get("VMEXIT_TIMEOUT_SCALE") ?? "1");
  const fromMemory = best(20, () => assemble(source, {}, memory));
  const fromDisk = best(20, () => assemble(source, {}, disk));
  assertEquals(memory.runs.length, 1);
  assertEquals(disk.runs.length, 0);
  assert(fromMemory < 5 * scale, `from memory ${fromMemory} ms`);
  assert(fromDisk < 20 * scale, `from the disk ${fromDisk} ms`);
});
