import { boot, expect, Image, type Machine } from "@vmexit/vmexit";
import { Bios, pc, PciBus, Pic, piix, TextScreen } from "@vmexit/vmexit/devices";
import { assertEquals } from "@std/assert";
import { firmwareFile } from "./firmware_file.ts";

/** A PC with a BIOS of the host's, for programs that pretend to be Linux kernels. */
function bootPc(image: Image, mode?: "real") {
  const screen = new TextScreen();
  const bios = new Bios({ screen });
  const vm = boot(image, {
    ...mode === undefined ? {} : { mode },
    memory: "32M",
    unclaimed: "open-bus",
    timeout: 2_000,
    devices: [
      ...pc({ pic: new Pic({ vectors: [0x08, 0x70] }) }),
      new PciBus([piix()]),
      screen,
      bios,
    ],
  });
  return { vm, bios, screen };
}

/** How many exits go by between two looks at the screen. */
const EXITS_PER_LOOK = 16;

/** Runs the guest until something is to be seen. */
function runUntil(vm: Machine, isSeen: () => boolean): void {
  for (const { number } of vm.exits()) {
    if (number % EXITS_PER_LOOK === 0 && isSeen()) return;
  }
  throw new Error("The guest ended before");
}

// Behind that it waits for the RTC's interrupts, 1024 in a second, of which a slow host does nothing else.
Deno.test("iPXE starts by its 16-bit set-up code, unpacks itself, and speaks by the BIOS", async () => {
  const image = Image.fromFile(await firmwareFile("ipxe.lkrn"));
  assertEquals([image.kind, image.bits, image.entry], ["linux", 16, 0x9_0200n]);
  const { vm, bios } = bootPc(image);
  using _vm = vm;
  runUntil(vm, () => bios.printed.includes("iPXE initialising devices..."));
});

for (const mode of ["real", undefined] as const) {
  const how = mode === undefined ? "64-bit entry" : "16-bit set-up code";
  Deno.test(`Memtest86+ starts by its ${how}, and draws its screen`, async () => {
    const { vm, screen } = bootPc(Image.fromFile(await firmwareFile("memtest.bin")), mode);
    using _vm = vm;
    runUntil(vm, () => screen.text.includes("to start testing"));
    expect(vm).toHaveScreen(/^ *Memtest86\+ v\d[^]*Memory *: *3[12](\.\d)? *MB/);
  });
}
