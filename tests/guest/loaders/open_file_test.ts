import { asm, boot, type BootOptions, Image } from "@vmexit/vmexit";
import type { OpenOptions } from "@vmexit/vmexit";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { firstFrame, markedLine } from "../marked_line.ts";
import { AT_1_MIB, flat, inFolder, linked } from "./linked.ts";

const bytes = (size: number, patches: Record<number, readonly number[]> = {}) => {
  const file = new Uint8Array(size);
  for (const [offset, values] of Object.entries(patches)) file.set(values, Number(offset));
  return file;
};
const ascii = (text: string) => [...text].map((each) => each.charCodeAt(0));

/** A PE file of a subsystem. */
const pe = (subsystem: number) =>
  bytes(512, {
    0: ascii("MZ"),
    0x3c: [0x80],
    0x80: ascii("PE\0\0"),
    [0x80 + 24]: [0x0b, 0x02],
    [0x80 + 24 + 68]: [subsystem],
  });

Deno.test("a file that nobody can tell is a flat binary only by its origin", () => {
  const file = Uint8Array.of(0x90, 0xf4);
  assertThrows(() => Image.fromFile(file), TypeError, "For a flat binary give its `origin`");
  const image = Image.fromFile(file, { origin: 0x8000, bits: 32, symbols: { end: 0x8001 } });
  assertEquals([image.kind, image.entry, image.bits], ["flat", 0x8000n, 32]);
  assertEquals(image.description, "flat binary, 0x8000–0x8001, starts at 0x8000");
  using vm = boot(image);
  vm.run();
  assertEquals(vm.registers.rip, 0x8002n);
  const forced = Image.fromFile(bytes(512, { 510: [0x55, 0xaa] }), { kind: "flat", origin: 0x600 });
  assertEquals([forced.kind, forced.size], ["flat", 512]);
});

const FOREIGN: [what: string, file: Uint8Array, message: string][] = [
  [
    "an EFI application",
    pe(10),
    "it is an EFI application (PE, `Subsystem` 10), which UEFI firmware",
  ],
  ["an EFI driver", pe(12), "it is an EFI runtime driver"],
  ["a program of Windows", pe(3), "it is a program of Windows (PE, `Subsystem` 3)"],
  ["compressed by gzip", bytes(64, { 0: [0x1f, 0x8b] }), "it is compressed by gzip. Unpack it"],
  ["empty", bytes(0), "Cannot open the image: it has no header of ELF"],
  ["zeros", bytes(4096), "Cannot open the image: it has no header of ELF"],
];
for (const [what, file, message] of FOREIGN) {
  Deno.test(`a file that is ${what} is refused`, () => {
    assertThrows(() => Image.fromFile(file), TypeError, message);
  });
}

const kernel = linked(
  "bits 32\nsection .header\ndd 0x1badb002, 0, -0x1badb002\nsection .text\nglobal _start\n_start: hlt",
  { format: "elf32", script: AT_1_MIB },
);

Deno.test("the kind of a file can be said, and is checked", () => {
  assertEquals(Image.fromFile(kernel).kind, "multiboot");
  const elf = Image.fromFile(kernel, { kind: "elf" });
  assertEquals([elf.kind, elf.protocol], ["elf", undefined]);
  using vm = boot(elf, { mode: "long", origin: 0x10_0000 });
  vm.run();
  const open = (options: object, file: Uint8Array = kernel) => () =>
    Image.fromFile(file, options as OpenOptions);
  assertThrows(open({ kind: "multiboot2" }), RangeError, "there is no `magic` 0xe85250d6");
  assertThrows(open({ kind: "pvh" }), RangeError, "no note of Xen's");
  assertThrows(open({ kind: "linux" }), RangeError, "`header` at byte 514 is not HdrS");
  assertThrows(open({ kind: "multiboot" }, bytes(64)), RangeError, "no `magic` 0x1badb002");
  assertThrows(open({ kind: "elf" }, bytes(64)), TypeError, "does not start with 0x7f");
  assertThrows(open({ kind: "elfs" }), RangeError, 'Cannot open an image as "elfs"');
  assertThrows(open({ kinds: "elf" }), TypeError, "the option kinds");
  assertThrows(open({ origin: 0 }), TypeError, 'the option origin: a file of kind "multiboot"');
  assertThrows(open({ kind: "elf", bits: 32 }), TypeError, 'the option bits: a file of kind "elf"');
  assertThrows(
    () => Image.fromFile("kernel" as unknown as Uint8Array),
    TypeError,
    "give a Uint8Array",
  );
});

Deno.test("a file is opened from beside the test, and refused at the line that asks for it", () => {
  inFolder((folder) => {
    Deno.writeFileSync(`${folder}/kernel.elf`, kernel);
    assertEquals(Image.open(`${folder}/kernel.elf`).kind, "multiboot");
    assertEquals(Image.open(new URL(`file://${folder}/kernel.elf`)).kind, "multiboot");
  });
  const line = markedLine(import.meta.url, "OPEN");
  const error = assertThrows(() => {
    Image.open("no-such.elf"); // ; @OPEN
  }, Deno.errors.NotFound);
  assertStringIncludes(error.message, `${import.meta.dirname}/no-such.elf`);
  assertEquals(firstFrame(error), `${import.meta.url}:${line}`);
});

/** A header of multiboot with everything, in a file of its own. */
const multiboot = (fields: Record<number, number> = {}) => {
  const header = [
    ...[0x1badb002, 0x1_0004, 0, 0x10_0000, 0x10_0000, 0x10_0040, 0x10_1000, 0x10_0030],
    ...[1, 80, 25, 0],
  ];
  for (const [index, value] of Object.entries(fields)) header[Number(index)] = value;
  if (fields[2] === undefined) header[2] = -(header[0] + header[1]) >>> 0;
  const file = new Uint8Array(64);
  file.set(new Uint8Array(Uint32Array.from(header).buffer));
  return file;
};

const MULTIBOOT: [what: string, file: Uint8Array, message: string][] = [
  ["a wrong checksum", multiboot({ 2: 5 }), "`checksum` of its header at byte 0 is 0x5; with"],
  [
    "flags that nobody knows",
    multiboot({ 1: 0x1_0014 }),
    "`flags` of its header at byte 0 has bits 0x10",
  ],
  ["no address fields", multiboot({ 1: 4 }), "bit 16 of `flags` is clear"],
  [
    "load_addr above the header",
    multiboot({ 4: 0x10_0004 }),
    "`load_addr` of its header is 0x100004, above",
  ],
  [
    "load_addr before the file",
    multiboot({ 4: 0xf_fff0 }),
    "16 bytes below `header_addr`, but the header lies at byte 0",
  ],
  [
    "load_end_addr below load_addr",
    multiboot({ 5: 0xf_0000 }),
    "`load_end_addr` of its header is 0xf0000, not above",
  ],
  [
    "load_end_addr past the file",
    multiboot({ 5: 0x10_0041 }),
    "65 bytes are loaded from byte 0 of the file, which has 64",
  ],
  [
    "bss_end_addr in the file",
    multiboot({ 6: 0x10_0020 }),
    "`bss_end_addr` of its header is 0x100020, below the end",
  ],
  [
    "entry_addr outside",
    multiboot({ 7: 0x10_1000 }),
    "`entry_addr` of its header is 0x101000, outside of what is loaded",
  ],
  ["no room for its fields", multiboot().slice(0, 0x1c), "cut short before `entry_addr`"],
  ["no room for its video fields", multiboot().slice(0, 0x2c), "cut short before `depth`"],
];
for (const [what, file, message] of MULTIBOOT) {
  Deno.test(`a multiboot header with ${what} is refused by the field's name`, () => {
    assertThrows(() => Image.fromFile(file), RangeError, message);
  });
}

/** A header of multiboot 2: its tags, in a file of its own. */
const multiboot2 = (tags: string, { magic = "", architecture = 0, length = "end - header" } = {}) =>
  flat(`
  bits 32
  org 0x100000
  header:
  dd 0xe85250d6, ${architecture}, ${length}, ${
    magic || `-(0xe85250d6 + ${architecture} + (${length}))`
  }
  ${tags}
  end:
  times 64 db 0xf4
`);
const ADDRESS = "dw 2, 0\ndd 24, header, header, 0, 0\ndw 3, 0\ndd 12, end, 0";
const END = "dw 0, 0\ndd 8";

const MULTIBOOT2: [what: string, file: Uint8Array, message: string][] = [
  [
    "a wrong checksum",
    multiboot2(END, { magic: "1" }),
    "`checksum` of its header at byte 0 is 0x1",
  ],
  [
    "MIPS as its architecture",
    multiboot2(END, { architecture: 4 }),
    "`architecture` of its header is 4",
  ],
  [
    "a length of nothing",
    multiboot2(END, { length: "8" }),
    "`header_length` of its header at byte 0 is 8",
  ],
  [
    "a length past the file",
    multiboot2(END, { length: "4096" }),
    "`header_length` of its header at byte 0 is 4096, past",
  ],
  ["no address tag", multiboot2(END), "no address tag (type 2)"],
  [
    "no entry",
    multiboot2(`dw 2, 0\ndd 24, header, header, 0, 0\n${END}`),
    "no entry address tag (type 3)",
  ],
  ["no end tag", multiboot2(ADDRESS), "no end tag (type 0)"],
  [
    "a tag without a size",
    multiboot2(`dw 4, 0\ndd 0\n${END}`),
    "`size` of the tag at byte 16 (type 4) is 0",
  ],
  [
    "a tag past its end",
    multiboot2(`dw 4, 0\ndd 400\n${END}`),
    "`size` of the tag at byte 16 (type 4) is 400",
  ],
  [
    "an address tag cut short",
    multiboot2(`dw 2, 0\ndd 16, 0, 0\ndw 3, 0\ndd 12, 0, 0\n${END}`),
    "`size` of its address tag (type 2) is 16",
  ],
  [
    "a tag that nobody knows",
    multiboot2(`dw 77, 0\ndd 8\n${ADDRESS}\n${END}`),
    "a tag of `type` 77",
  ],
  [
    "a request for what there is not",
    multiboot2(`dw 1, 0\ndd 12, 10, 0\n${ADDRESS}\n${END}`),
    "`mbi_tag_types` of its information request asks for the APM table (tag 10)",
  ],
  [
    "a request for what no specification has",
    multiboot2(`dw 1, 0\ndd 12, 77, 0\n${ADDRESS}\n${END}`),
    "asks for tag 77, which the specification has not",
  ],
];
for (const [what, file, message] of MULTIBOOT2) {
  Deno.test(`a multiboot 2 header with ${what} is refused by the field's name`, () => {
    assertThrows(() => Image.fromFile(file), RangeError, message);
  });
}

Deno.test("optional tags of a multiboot 2 header may be unknown, and it may ask for what it likes", () => {
  const file = multiboot2(`dw 77, 1\ndd 8\ndw 1, 1\ndd 12, 15, 0\n${ADDRESS}\n${END}`);
  assertEquals(Image.fromFile(file).kind, "multiboot2");
});

Deno.test("kernels lie below 4 GiB, and start within their segments", () => {
  const link = (script: string, source: string) => () => {
    return Image.fromFile(linked(source, { format: "elf64", script }));
  };
  const source =
    "section .header\ndd 0x1badb002, 0, -0x1badb002\nsection .text\nglobal _start\n_start: hlt";
  assertThrows(
    link(AT_1_MIB.replace("0x100000", "0x100000000"), source),
    RangeError,
    "`p_paddr` of a segment is 0x100000000",
  );
  assertThrows(
    link(AT_1_MIB.replace("ENTRY(_start)", "ENTRY(away)\naway = 0x200000;"), source),
    RangeError,
    "`e_entry` is 0x200000, outside of its segments",
  );
});

Deno.test("the option kernel is of kernels with a boot protocol, and has what theirs has", () => {
  const image = Image.fromFile(kernel);
  const boots = (options: object, guest: Image = image) => () =>
    void boot(guest, options as BootOptions);
  const taken = "takes commandLine, modules";
  assertThrows(boots({ kernel: { initrd: "" } }), TypeError, taken);
  assertThrows(boots({ kernel: { cmdline: "" } }), TypeError, "kernel.cmdline");
  assertThrows(boots({ kernel: "quiet" }), TypeError, "with kernel quiet");
  assertThrows(boots({ kernel: { commandLine: "a\0b" } }), TypeError, "NUL");
  assertThrows(boots({ kernel: { commandLine: 5 } }), TypeError, "kernel.commandLine 5");
  assertThrows(boots({ kernel: { modules: "disk" } }), TypeError, "give a list");
  assertThrows(boots({ kernel: { modules: [{ name: "" }] } }), TypeError, "kernel.modules[0].name");
  assertThrows(boots({ kernel: { modules: [{ content: 5 }] } }), TypeError, "as bytes");
  assertThrows(
    boots({ kernel: {} }, asm`hlt`.assemble({ origin: 0x500 })),
    TypeError,
    "is told nothing",
  );
  assertThrows(boots({ mode: "long" }), TypeError, "Cannot boot a multiboot image in mode");
  assertThrows(boots({ stack: 0x1000 }), TypeError, "with the option stack");
  assertThrows(boots({ load: 0x1000 }), TypeError, "with the option load");
  assertThrows(boots({ memory: "64K" }), RangeError, "do not fit the machine's memory");
  assertThrows(
    boots({ memory: "2M", kernel: { modules: [{ content: new Uint8Array(2 ** 21) }] } }),
    RangeError,
    "Cannot place the module 0",
  );
});
