import { boot, Image, type Machine } from "@vmexit/vmexit";
import { acpiTables, Disk, pc, PciBus, VirtioBlk, VirtioPci } from "@vmexit/vmexit/devices";
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
    kernel: { commandLine: "console=ttyS0 loglevel=6 cryptomgr.notests", initrd },
    cpuid: {
      // It boots without, too. But a kernel that knows of KVM and of the deadline timer need not measure TSC and local APIC
      // by other timers, which on an emulated machine takes twice as long, and up to a minute where that is busy.
      hypervisor: "KVMKVMKVM",
      show: ["tsc_deadline_timer"],
      // The emulated machine's KVM does not see XSETBV (docs/limits.md), which the kernel complains of at length.
      hide: ["xsave"],
    },
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
