import { assertEquals, assertRejects } from "@std/assert";
import { moduleDependencies, moduleName, resolveModules } from "../../lib/nested/kernel_modules.ts";
import { NestedError } from "../../lib/nested/nested_error.ts";

Deno.test("a module's name has underscores and no ending", () => {
  for (const file of ["kvm-amd.ko", "a/b/kvm-amd.ko.xz", "kvm_amd.ko.zst", "kvm-amd.ko.gz"]) {
    assertEquals(moduleName(file), "kvm_amd");
  }
});

const modinfo = (depends: string) =>
  new TextEncoder().encode(`\x7fELF license=GPL\0depends=${depends}\0name=x\0`);

Deno.test("a module's dependencies are read from its .modinfo", () => {
  assertEquals(moduleDependencies(modinfo("")), []);
  assertEquals(moduleDependencies(modinfo("kvm,virtio-ring")), ["kvm", "virtio_ring"]);
});

Deno.test("modules come after those they need, each once, without those built in", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/kernel/deep`, { recursive: true });
    await Deno.writeTextFile(`${folder}/modules.builtin`, "kernel/fs/ext4/ext4.ko\n");
    await Deno.writeFile(`${folder}/kernel/a.ko`, modinfo("b,c"));
    await Deno.writeFile(`${folder}/kernel/deep/b.ko.xz`, modinfo("c,ext4"));
    await Deno.writeFile(`${folder}/kernel/deep/c.ko`, modinfo(""));
    const asIs = (bytes: Uint8Array) => Promise.resolve(bytes);
    const modules = await resolveModules(folder, ["ext4", "a", "c"], asIs);
    assertEquals(modules.map(({ name }) => name), ["c", "b", "a"]);
    await assertRejects(() => resolveModules(folder, ["d"], asIs), NestedError, "no module d");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
