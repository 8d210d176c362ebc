import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { assemble } from "../../lib/nested/assemble.ts";
import { bochsConfiguration, withoutSavePlugin } from "../../lib/nested/bochs/bochs_machine.ts";
import { ADDRESS, BOOT_SECTOR, loadKernel, SECTOR } from "../../lib/nested/bochs/boot_disk.ts";
import { FrameSplitter } from "../../lib/nested/bochs/send_program.ts";
import { SAVE_PLUGIN_SOURCE } from "../../lib/nested/bochs/save_plugin.ts";
import { NestedError } from "../../lib/nested/nested_error.ts";

const decoder = new TextDecoder();

Deno.test("frames are put together from chunks of any size, in order, with their ports", () => {
  const stream = [0, 2, 0, 0x61, 0x62, 3, 0, 1, ...new Array(256).fill(0x7a), 1, 1, 0, 0x63];
  for (const size of [1, 2, 3, 5, stream.length]) {
    const splitter = new FrameSplitter();
    const frames = [];
    for (let start = 0; start < stream.length; start += size) {
      frames.push(...splitter.push(Uint8Array.from(stream.slice(start, start + size))));
    }
    assertEquals(frames.map(({ port, bytes }) => [port, decoder.decode(bytes)]), [
      [0, "ab"],
      [3, "z".repeat(256)],
      [1, "c"],
    ]);
  }
});

/** A bzImage of two setup sectors whose header ends at 0x268, and a kernel of three bytes. */
function bzImage(): Uint8Array {
  const image = new Uint8Array(3 * SECTOR + 3);
  image[0x1f1] = 2;
  image[0x201] = 0x66;
  image.set(new TextEncoder().encode("HdrS"), 0x202);
  image[0x267] = 0x77;
  image[0x268] = 0x88;
  image.set([1, 2, 3], 3 * SECTOR);
  return image;
}

Deno.test("a kernel is told its command line, its root and its memory", () => {
  const megabyte = 2 ** 20;
  const { parameters, kernel } = loadKernel(bzImage(), "quiet panic=-1", 64 * megabyte, 1234);
  assertEquals([...kernel], [1, 2, 3]);
  assertEquals(parameters[0x267], 0x77);
  assertEquals(parameters[0x268], 0, "what is behind the header is not copied");
  const view = new DataView(parameters.buffer);
  assertEquals(view.getUint32(0x218, true), ADDRESS.initramfs);
  assertEquals(view.getUint32(0x21c, true), 1234);
  assertEquals(view.getUint8(0x211) & 1, 1, "loaded above 1 MiB");
  const commandLine = view.getUint32(0x228, true) - ADDRESS.parameters;
  assertEquals(
    decoder.decode(parameters.subarray(commandLine, commandLine + 15)),
    "quiet panic=-1\0",
  );
  const map = Array.from({ length: view.getUint8(0x1e8) }, (_, index) => {
    const entry = 0x2d0 + 20 * index;
    return [
      Number(view.getBigUint64(entry, true)),
      Number(view.getBigUint64(entry + 8, true)),
      view.getUint32(entry + 16, true),
    ];
  });
  assertEquals(map[0], [0, 0x9fc00, 1]);
  assertEquals(map.slice(-2), [[megabyte, 62 * megabyte, 1], [63 * megabyte, megabyte, 2]]);
});

Deno.test("what is no bzImage is refused", () => {
  assertThrows(() => loadKernel(new Uint8Array(4096), "", 2 ** 30, 0), NestedError, "no bzImage");
});

Deno.test("the boot sector is one sector with its mark at the end", async () => {
  const parts = { PARAMETERS_SECTORS: 16, KERNEL_SECTORS: 30_000, INITRAMFS_SECTORS: 250_000 };
  const sector = await assemble("nasm", "boot_sector", BOOT_SECTOR, parts);
  assertEquals(sector.length, SECTOR);
  assertEquals([...sector.subarray(-2)], [0x55, 0xaa]);
});

Deno.test("the plugin that saves the state is a shared object for x86-64", async () => {
  const plugin = await assemble("nasm", "save_plugin", SAVE_PLUGIN_SOURCE);
  const view = new DataView(plugin.buffer);
  assertEquals(decoder.decode(plugin.subarray(1, 4)), "ELF");
  assertEquals([view.getUint16(16, true), view.getUint16(18, true)], [3, 62]);
  assert(decoder.decode(plugin).includes("\0libvmexit_plugin_entry\0"));
});

Deno.test("the configuration has the machine's memory and speed, and volatile disks", () => {
  const text = bochsConfiguration({ memory: 2 ** 30, instructionsPerSecond: 5_000_000 });
  assertMatch(text, /^memory: guest=1024, host=1024$/m);
  assertMatch(text, /^cpu: .*\bips=5000000\b/m);
  assertEquals(text.match(/mode=volatile/g)?.length, 2);
});

Deno.test("a restored machine has no plugin that saves", () => {
  assertEquals(
    withoutSavePlugin("plugin_ctrl: vmexit=true, voodoo=false\nmemory: host=1\n"),
    "plugin_ctrl: voodoo=false\nmemory: host=1\n",
  );
});
