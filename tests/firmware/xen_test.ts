import { boot, Image } from "@vmexit/vmexit";
import { acpiTables, Bios, pc, TextScreen } from "@vmexit/vmexit/devices";
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { firmwareFile } from "./firmware_file.ts";

/** The last line of the memory map that Xen has asked the BIOS for, by its real-mode trampoline. */
const LAST_RAM = "[0000000000100000, 0000000007ffffff] (usable)";

Deno.test("Xen boots by multiboot 2, asks the BIOS for its memory, and has its banner on COM1", async () => {
  const packed = new Blob([await firmwareFile("xen.gz")]).stream();
  const unpacked = packed.pipeThrough(new DecompressionStream("gzip"));
  const image = Image.fromFile(new Uint8Array(await new Response(unpacked).arrayBuffer()));
  assertEquals(image.kind, "multiboot2");
  const screen = new TextScreen();
  const bios = new Bios({ screen });
  using vm = boot(image, {
    memory: "128M",
    irqchip: true,
    pit: true,
    unclaimed: "open-bus",
    timeout: 2_000,
    devices: [...pc({ pic: false, pit: false }), screen, bios],
    kernel: { commandLine: "com1=115200,8n1 console=com1", modules: [{ content: "dom0" }] },
    cpuid: { hide: ["xsave"] },
  });
  vm.memory.write(0xe_0000, acpiTables());
  for (const { exit } of vm.exits()) {
    if (exit.reason === "IO" && vm.serial.text.endsWith(LAST_RAM)) break;
  }
  assertStringIncludes(vm.serial.text, LAST_RAM);
  assertMatch(vm.serial.text, /\(XEN\) Xen version 4\.\d+/);
  assertStringIncludes(vm.serial.text, "(XEN) Bootloader: vmexit");
  assertStringIncludes(vm.serial.text, "VGA is text mode 80x25");
});
