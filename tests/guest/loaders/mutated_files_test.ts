import { Image } from "@vmexit/vmexit";
import { planBoot } from "../../../lib/machine/boot/boot_plan.ts";
import { assert } from "@std/assert";
import fc from "fast-check";
import { AT_1_MIB, flat, linked } from "./linked.ts";

const CODE = "\nsection .text\nglobal _start\n_start: hlt\nsection .data\ndq _start\n";
const MULTIBOOT =
  "section .header\ndd 0x1badb002, 4, -(0x1badb002 + 4), 0, 0, 0, 0, 0, 1, 80, 25, 0";
const MULTIBOOT2 =
  "section .header\nalign 8\nh: dd 0xe85250d6, 0, e - h, -(0xe85250d6 + e - h)\ndw 1, 0\ndd 16, 1, 6\ndw 0, 0\ndd 8\ne:";
const PVH = 'section .note.Xen note alloc align=4\ndd 4, 4, 18\ndb "Xen", 0\ndd 0x100000';
const PIE = ["-pie", "--no-dynamic-linker", "-z", "notext"];

function multibootFields(): Uint8Array {
  const file = new Uint8Array(64);
  file.set(
    new Uint8Array(
      Uint32Array.of(
        ...[0x1badb002, 0x1_0004, -(0x1badb002 + 0x1_0004) >>> 0],
        ...[0x10_0000, 0x10_0000, 0, 0x10_1000, 0x10_0030, 1, 80, 25, 0],
      ).buffer,
    ),
  );
  return file;
}

function patched(size: number, patches: Record<number, readonly number[]>): Uint8Array {
  const file = new Uint8Array(size);
  for (const [offset, values] of Object.entries(patches)) file.set(values, Number(offset));
  return file;
}

/** A bzImage with an address for its 32-bit code, or none. */
const linuxFile = (code32: readonly number[]) =>
  patched(2048, {
    0x1f1: [1],
    0x1fe: [0x55, 0xaa, 0xeb, 0x6a, 0x48, 0x64, 0x72, 0x53, 0x0f, 0x02],
    0x211: [1],
    0x214: code32,
    0x22c: [0xff, 0xff, 0xff, 0x7f],
    0x234: [1, 21, code32[2] === 0 ? 0 : 1, 0, 0xff],
    0x258: [0, 0, 0x10],
    0x260: [0, 0, 1],
  });

/** A file of each kind, and where it has the bytes that a loader looks at. */
const FILES: Readonly<Record<string, { file: Uint8Array; from?: number; length?: number }>> = {
  "ELF of 32 bits": { file: linked(CODE, { format: "elf32", script: AT_1_MIB }) },
  "position-independent ELF": { file: linked(CODE, { format: "elf64", args: PIE }) },
  "multiboot in ELF": { file: linked(MULTIBOOT + CODE, { format: "elf32", script: AT_1_MIB }) },
  "multiboot without ELF": { file: multibootFields() },
  "multiboot 2 in ELF": { file: linked(MULTIBOOT2 + CODE, { format: "elf64", script: AT_1_MIB }) },
  "multiboot 2 without ELF": {
    file: flat(
      "bits 32\norg 0x100000\nh: dd 0xe85250d6, 0, e - h, -(0xe85250d6 + e - h)\ndw 2, 0\ndd 24, h, h, 0, 0\n" +
        "dw 3, 0\ndd 12, e, 0\ndw 0, 0\ndd 8\ne: hlt",
    ),
  },
  "PVH": { file: linked(PVH + CODE, { format: "elf64", script: AT_1_MIB }) },
  "Linux": { file: linuxFile([0, 0, 0x10]), from: 0x1f0, length: 0x80 },
  "Linux of 16 bits": { file: linuxFile([0, 0, 0]), from: 0x1f0, length: 0x80 },
  "ROM": { file: patched(8192, { 0x1ff0: [0xea, 0, 0, 0, 0xf0] }), from: 0x1ff0, length: 16 },
  "boot sector": { file: patched(512, { 510: [0x55, 0xaa] }), from: 500, length: 12 },
};

/** What an error of ours may be: anything else is a fault of the reader's. */
function isRefusal(error: unknown): boolean {
  return (error instanceof TypeError || error instanceof RangeError) &&
    /^Cannot /.test(error.message);
}

/** Opens a file, and plans to boot it: all that happens before memory is allocated. */
function readsOrRefuses(file: Uint8Array): boolean {
  try {
    const image = Image.fromFile(file);
    assert(image.description.length < 300);
    const filled = image.segments.reduce((sum, { bytes }) => sum + bytes.length, 0);
    // What is read is never more than the file, however large its segments say that they are in memory.
    assert(filled <= 2 * file.length);
    const { slots, state } = planBoot(image, { memory: "32M" });
    assert(slots.reduce((sum, { size }) => sum + size, 0) <= 64 * 2 ** 20);
    assert(state.writes.reduce((sum, { bytes }) => sum + bytes.length, 0) < 2 ** 20);
    return true;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return false;
  }
}

for (const [what, { file, from = 0, length = file.length }] of Object.entries(FILES)) {
  Deno.test(`whatever becomes of a file, it loads or is refused in our words: ${what}`, () => {
    assert(readsOrRefuses(file), "it loads as it is");
    const interesting = fc.constantFrom(0, 1, 0x7f, 0x80, 0xff);
    const mutation = fc.tuple(
      fc.nat(Math.min(length, 4096) - 1),
      fc.oneof(interesting, fc.nat(255)),
      fc.constantFrom(1, 1, 4, 8),
    );
    fc.assert(
      fc.property(
        fc.array(mutation, { maxLength: 6 }),
        fc.option(fc.nat(file.length), { freq: 5 }),
        (mutations, cut) => {
          const changed = file.slice();
          for (const [at, value, width] of mutations) {
            changed.fill(value, from + at, from + at + width);
          }
          readsOrRefuses(changed.slice(0, cut ?? undefined));
        },
      ),
      { numRuns: 1000 },
    );
  });
}
