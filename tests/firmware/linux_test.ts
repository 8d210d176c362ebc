import { boot, Image, type Machine } from "@vmexit/vmexit";
import {
  acpiTables,
  Cmos,
  Disk,
  pc,
  PciBus,
  TestClock,
  VirtioBlk,
  VirtioPci,
} from "@vmexit/vmexit/devices";
import { KVM_SYSTEM_EVENT } from "@vmexit/vmexit/abi";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { debianKernel, ext2, initramfs } from "./debian_kernel.ts";

const LABEL = "a disk of the test's";

/** Ends in a shell on the console. */
const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do insmod $module; done
head -n 1 /dev/vda
mount -t ext4 /dev/vda /mnt
exec sh
`;

/** Longer than the receiver's FIFO. */
const COMMAND = "echo $((6 * 7)) > /mnt/answer; umount /mnt; poweroff -f\n";

Deno.test("Debian's kernel boots to a shell, mounts a virtio disk, and turns the power off by ACPI", async () => {
  const parts = await debianKernel();
  const disk = new Disk(await ext2(parts.busybox, `${LABEL}\n`));
  const image = Image.open(parts.vmlinuz);
  const initrd = await initramfs(parts, INIT);
  const start = performance.now();
  using vm = boot(image, {
    irqchip: true,
    pit: true,
    unclaimed: "open-bus",
    devices: [...pc({ pic: false, pit: false }), new PciBus([new VirtioPci(new VirtioBlk(disk))])],
    kernel: { commandLine: "console=ttyS0 loglevel=6 printk.time=0 cryptomgr.notests", initrd },
    // The emulated machine's KVM does not see XSETBV (docs/limits.md), which the kernel complains of at length; and behind
    // a TSC deadline it gives the kernel no tick.
    cpuid: { hide: ["xsave", "tsc_deadline_timer"] },
    timeout: 15_000,
  });
  vm.memory.write(0xe_0000, acpiTables({ pci: {} }));

  runUntil(vm, `Linux version ${parts.kernel} `);
  const banner = performance.now();
  runUntil(vm, "/ # ");
  const shell = performance.now();
  assertStringIncludes(vm.serial.text, LABEL);
  vm.serial.send(COMMAND);
  const end = vm.run();
  const off = performance.now();

  assert(end.reason === "SYSTEM_EVENT" && end.type === KVM_SYSTEM_EVENT.SHUTDOWN, end.reason);
  assertStringIncludes(vm.serial.text, "reboot: Power down");
  const answers = disk.written.filter((sector) => startsWith(disk.read(sector, 1), "42\n\0"));
  assertEquals(answers.length, 1, `written: ${disk.written}`);
  const seconds = (time: number) => ((time - start) / 1000).toFixed(1);
  console.log(
    `banner after ${seconds(banner)} s, shell after ${seconds(shell)} s, off after ${
      seconds(off)
    } s`,
  );
});

/** What it says of the devices that it has found, and of its end without a root file system. */
const FOUND = [
  "Keep in PIC mode(8259)",
  "clocksource: acpi_pm: mask: 0xffffff ",
  "ttyS0 at I/O 0x3f8 (irq = 4, base_baud = 115200) is a 16550A",
  "serio: i8042 KBD port at 0x60,0x64 irq 1",
  "serio: i8042 AUX port at 0x60,0x64 irq 12",
  "input: AT Translated Set 2 keyboard",
  "rtc_cmos rtc_cmos: setting system clock to 2031-05-06T07:08:0",
  "(supports S0 S5)",
  "VFS: Unable to mount root fs",
];

Deno.test("Debian's kernel runs on the board's own PICs and timer, and resets by the 8042", async () => {
  const { vmlinuz } = await debianKernel();
  const cmos = new Cmos({ date: new Date("2031-05-06T07:08:00Z") });
  using vm = boot(Image.open(vmlinuz), {
    unclaimed: "open-bus",
    // Time passes with exits, so that a slow host's kernel has no more ticks than it can take.
    clock: new TestClock({ perExit: 20_000 }),
    devices: pc({ cmos }),
    kernel: {
      // What it would calibrate by loops without an exit it is told.
      commandLine:
        "console=ttyS0 printk.time=0 nolapic noapic lpj=4000000 tsc=reliable panic=-1 reboot=k",
    },
    cpuid: { hide: ["xsave"] },
    timeout: 15_000,
  });
  vm.memory.write(0xe_0000, acpiTables({ apics: false }));
  vm.run({ until: "reset" });
  for (const line of FOUND) assertStringIncludes(vm.serial.text, line);
});

/** Runs the guest until it has sent a text, and no more. */
function runUntil(vm: Machine, text: string): void {
  for (const exit of vm.exits()) {
    if (exit.exit.reason === "IO" && vm.serial.text.endsWith(text)) return;
  }
  throw new Error(`The guest ended, and did not send ${text}:\n${vm.serial.text}`);
}

function startsWith(bytes: Uint8Array, text: string): boolean {
  return new TextDecoder().decode(bytes).startsWith(text);
}
