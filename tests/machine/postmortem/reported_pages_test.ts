import { asm, boot, type BootOptions, expect, hostileBoot, requires } from "@vmexit/vmexit";
import { Pic } from "@vmexit/vmexit/devices";
import { assertThrows } from "@std/assert";
import { assertPage } from "./pages.ts";

const BOOT_SECTOR: BootOptions = { mode: "real", origin: 0x7c00, memory: "8M" };
const HEALTHY = /OK\n$/;

/** What a test of a guest of guests/reported does; it throws where the guest is not healthy. */
type Body = (name: string, define: Record<string, number>) => void;

const reported = (name: string, define: Record<string, number>) =>
  asm.file(`../../../guests/reported/${name}.asm`, { define });

const runs: Body = (name, define) => {
  using vm = boot(reported(name, define), BOOT_SECTOR);
  vm.run();
  expect(vm).toHaveSerial(HEALTHY);
};

/** An interrupt of the second PIC comes twice. */
const beats: Body = (name, define) => {
  const pic = new Pic();
  using vm = boot(reported(name, define), { memory: "8M", devices: [pic] });
  for (let beat = 0; beat < 2; beat++) {
    vm.run({ until: "halted" });
    pic.setLine(8, true);
    pic.setLine(8, false);
  }
  vm.run({ until: "halted" });
  expect(vm).toHaveSerial(HEALTHY);
};

const onFirmwareOfAllKinds: Body = (name, define) =>
  hostileBoot(({ options }) => {
    using vm = boot(reported(name, define), options);
    vm.run();
    expect(vm).toHaveSerial(HEALTHY);
  });

/** The timer ticks in protected mode, where interrupts should be off: its loop waits for that. */
const ticks: Body = (name, define) => {
  using vm = boot(reported(name, define), BOOT_SECTOR);
  for (const _ of vm.exits()) {
    if (vm.log.total !== 2) continue;
    if (!vm.registers.rflags.if) return;
    vm.inject.interrupt(8);
  }
};

const GUESTS: Readonly<Record<string, Body>> = {
  mov_to_cs: runs,
  gdt_limit_unit: runs,
  page_directory_entry: runs,
  iretq_stale_ss: runs,
  sse_not_enabled: runs,
  second_pic_without_eoi: beats,
  registers_at_boot: onFirmwareOfAllKinds,
  interrupts_on_after_bios: ticks,
  int13_clobbers_dl: runs,
};

for (const [name, body] of Object.entries(GUESTS)) {
  Deno.test(requires({ singleStep: true }, `the page of a reported fault: ${name}`), () => {
    const { message } = assertThrows(() => body(name, {}), Error);
    assertPage(name, message, import.meta.filename!);
    body(name, { FIXED: 1 });
  });
}
