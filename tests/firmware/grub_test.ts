import { boot, expect, guestTests, Image } from "@vmexit/vmexit";
import { Bios, FwCfg, IdeDisk, pc, PciBus, Pic, piix, TextScreen } from "@vmexit/vmexit/devices";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { linkGuest } from "../guests/build_guest.ts";
import { firmwareFile } from "./firmware_file.ts";
import { grubDisk } from "./grub_disk.ts";

/** The kernel of `guests/c_kernel`. */
function kernel(defines: readonly string[]): Uint8Array {
  const files = ["main.c", "descriptors.c", "timer.c", "boot_information.c"];
  const script = "kernel32.ld";
  return linkGuest("c_kernel", ["start32.asm", "traps.asm", ...files], {
    bits: 32,
    script,
    defines,
  });
}

/** A menu whose only entry is booted at once. */
const menu = (loader: string) => `
  set timeout=0
  menuentry "a kernel in C" {
    echo "GRUB's ${loader} loads it."
    ${loader} /kernel test=all quiet
  }
`;

/** Memory above 1 MiB, of which SeaBIOS keeps 8 KiB for its tables. */
const UPPER_KIB = 15 * 1024 - 8;

Deno.test("GRUB comes from a disk by SeaBIOS, and boots a kernel in C by its multiboot loader", async (t) => {
  const serial = "serial --unit=0\nterminal_input serial\nterminal_output serial\n";
  const disk = await grubDisk(serial + menu("multiboot"), {
    kernel: kernel([`UPPER_KIB=${UPPER_KIB}`]),
  });
  // Without a video BIOS, whose first mode would take a quarter of the time.
  const files = { "etc/boot-menu-wait": Uint8Array.of(0, 0) };
  using vm = boot(Image.fromFile(await firmwareFile("bios-256k.bin")), {
    memory: "PC",
    unclaimed: "open-bus",
    timeout: 5_000,
    devices: [
      ...pc(),
      new FwCfg({ files }),
      new PciBus([piix()], { resources: "unassigned" }),
      new IdeDisk(disk),
    ],
  });
  assertEquals(await guestTests(vm, t), "5 ticks");
  assertStringIncludes(vm.serial.text, "Booting `a kernel in C'");
  assertStringIncludes(vm.serial.text, "GRUB's multiboot loads it.");
  expect(vm).toBeHalted();
});

Deno.test("GRUB comes by the board's own BIOS, and boots a kernel in C by its multiboot 2 loader", async (t) => {
  const disk = await grubDisk(menu("multiboot2"), { kernel: kernel(["MULTIBOOT2"]) });
  const screen = new TextScreen();
  const bios = new Bios({ disks: { 0x80: disk }, screen });
  using vm = boot(Image.fromFile(disk.bytes), {
    memory: "16M",
    unclaimed: "open-bus",
    timeout: 5_000,
    devices: [...pc({ pic: new Pic({ vectors: [0x08, 0x70] }) }), screen, bios],
  });
  assertEquals(await guestTests(vm, t), "5 ticks");
  expect(vm).toHaveScreen(/Booting `a kernel in C'\n\nGRUB's multiboot2 loads it\.$/);
  expect(vm).toBeHalted();
});
