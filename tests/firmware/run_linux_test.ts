import { run } from "../../lib/cli/run.ts";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { debianKernel, ext2, initramfs } from "./debian_kernel.ts";

const LABEL = "a disk on PIIX's IDE";

/** Finds the disk with Linux's own driver, and turns the power off. */
const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do insmod $module; done
head -n 1 /dev/sda
mount -t ext4 /dev/sda /mnt && echo $((6 * 7)) > /mnt/answer && umount /mnt
mount -t ext4 /dev/sda /mnt && echo "the answer is $(cat /mnt/answer)" && umount /mnt
poweroff -f
`;

Deno.test("vmexit run boots Debian's kernel with a disk, to a shell and its power off", async () => {
  const parts = await debianKernel();
  const folder = await Deno.makeTempDir({ prefix: "vmexit-run-linux-" });
  try {
    const disk = await ext2(parts.busybox, `${LABEL}\n`);
    await Deno.writeFile(`${folder}/disk`, disk);
    await Deno.writeFile(`${folder}/initrd`, await initramfs(parts, INIT));
    let text = "";
    const lines: string[] = [];
    // deno-fmt-ignore
    const code = await run([
      parts.vmlinuz, "--initrd", `${folder}/initrd`, "--disk", `${folder}/disk`,
      "--append", "console=ttyS0 quiet loglevel=4 cryptomgr.notests", "--timeout", "240",
    ], { write: (bytes) => text += new TextDecoder().decode(bytes), writeError: (line) => lines.push(line) });
    assertEquals(code, 0, `${text}\n${lines.join("\n")}`);
    assertStringIncludes(text, `${LABEL}\r\n`);
    assertStringIncludes(text, "the answer is 42");
    assertStringIncludes(lines.join("\n"), "the guest turned the power off");
    // What it writes stays in memory.
    assertEquals(await Deno.readFile(`${folder}/disk`), disk);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
