import { assert, assertEquals, assertRejects } from "@std/assert";
import { findImage } from "../../lib/kvm/remote/machine_image.ts";
import { libc } from "../../lib/ffi/real_libc.ts";
import {
  bochsVmx,
  cacheFolder,
  exportKvmImage,
  findProgram,
  importKvmImage,
  NestedError,
  QEMU,
  requireKvmImage,
  startNested,
} from "../../lib/nested/mod.ts";
import { isolated } from "./isolated.ts";

const qemu = await findProgram(QEMU.program);
const ignore = qemu === undefined;

async function run(program: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command(program, { args }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
}

/** A cache of its own, with the kernel, so that the network is not needed, and with a damaged image. */
async function withDamagedCache(body: () => Promise<void>): Promise<void> {
  await isolated(async (folder) => {
    await requireKvmImage(qemu!, () => {});
    const image = findImage(libc())!.folder;
    const cache = `${folder}/cache/vmexit`;
    await Deno.mkdir(`${cache}/machines`, { recursive: true });
    for await (const { name } of Deno.readDir(cacheFolder())) {
      if (!name.startsWith("boot-qemu")) continue;
      await run("cp", "-a", `${cacheFolder()}/${name}`, cache);
    }
    await run("cp", "-a", "--sparse=always", image, `${cache}/machines/`);
    await withVariable("XDG_CACHE_HOME", `${folder}/cache`, async () => {
      const copy = findImage(libc())!.folder;
      await Deno.writeTextFile(`${copy}/state`, "not what it was");
      // What a builder that was killed leaves.
      await Deno.mkdir(`${copy}.new/half`, { recursive: true });
      await body();
    });
  });
}

async function withVariable(
  name: string,
  value: string,
  body: () => Promise<void>,
): Promise<void> {
  const before = Deno.env.get(name);
  Deno.env.set(name, value);
  try {
    await body();
  } finally {
    if (before === undefined) Deno.env.delete(name);
    else Deno.env.set(name, before);
  }
}

Deno.test({
  name: `a damaged image is made anew, by one of two at once, without the network${
    ignore ? " (skipped: no QEMU)" : ""
  }`,
  ignore,
  fn: async () => {
    await withDamagedCache(async () => {
      const said: string[] = [];
      const make = () => requireKvmImage(qemu!, (line) => said.push(line));
      await Promise.all([make(), make()]);
      assertEquals(said, ["booting the emulated machine for the first time"]);
      const image = findImage(libc());
      assert(image !== undefined);
      assertEquals(image.program, qemu);
      assert(await sizeOnDisk(image.folder) <= 150e6, `${await sizeOnDisk(image.folder)} bytes`);
      const left = [...Deno.readDirSync(`${image.folder}/..`)].map(({ name }) => name);
      assertEquals(left.some((name) => name.endsWith(".new")), false);
      // Another QEMU may not understand its state.
      const getenv = (name: string) => Deno.env.get(name);
      assertEquals(findImage(libc(), { getenv, modified: () => "newer" }), undefined);
    });
  },
});

async function sizeOnDisk(folder: string): Promise<number> {
  let size = 0;
  for await (const { name } of Deno.readDir(folder)) {
    size += ((await Deno.stat(`${folder}/${name}`)).blocks ?? 0) * 512;
  }
  return size;
}

Deno.test("a program that is missing is named with the command that installs it", async () => {
  await isolated(async (folder) => {
    // An apt-get that finds nothing, as on a machine with no network.
    await Deno.writeTextFile(
      `${folder}/apt-get`,
      `#!/bin/sh\necho "$@" >> ${folder}/asked\nexit 100\n`,
    );
    await Deno.chmod(`${folder}/apt-get`, 0o755);
    const before = Deno.env.get("PATH");
    Deno.env.set("PATH", `${folder}:${before}`);
    try {
      const machine = { ...bochsVmx(), program: "bochs-of-nowhere", packages: ["bochs-package"] };
      const said: string[] = [];
      await assertRejects(
        () => startNested({ machine, onProgress: (line) => said.push(line) }),
        NestedError,
        "apt-get update && apt-get install -y --no-install-recommends bochs-package",
      );
      if (Deno.uid() !== 0) return;
      assertEquals(said[0], "installing bochs-package with apt-get (this host has no usable KVM)");
      const asked = (await Deno.readTextFile(`${folder}/asked`)).trim().split("\n");
      const verbs = asked.map((line) => /\b(install|update)\b/.exec(line)?.[1]);
      assertEquals(verbs, ["install", "update", "install"]);
    } finally {
      Deno.env.set("PATH", before ?? "");
    }
  });
});

Deno.test("a QEMU that does not start the machine is an error with what it said", async () => {
  await isolated(async (folder) => {
    const old = `${folder}/qemu`;
    await Deno.writeTextFile(old, "#!/bin/sh\necho unsupported machine type >&2\nexit 1\n");
    await Deno.chmod(old, 0o755);
    const before = Deno.env.get("XDG_CACHE_HOME");
    await requireKvmImage(qemu ?? old, () => {}).catch(() => {});
    await assertRejects(
      () => requireKvmImage(old, () => {}),
      NestedError,
      "unsupported machine type",
    );
    assertEquals(Deno.env.get("XDG_CACHE_HOME"), before);
  });
});

Deno.test({
  name: `an image is carried to another host in a file${ignore ? " (skipped: no QEMU)" : ""}`,
  ignore,
  fn: async () => {
    await isolated(async (folder) => {
      await requireKvmImage(qemu!, () => {});
      const file = `${folder}/machine.tar.gz`;
      await exportKvmImage(file);
      const before = Deno.env.get("XDG_CACHE_HOME");
      Deno.env.set("XDG_CACHE_HOME", `${folder}/cache`);
      try {
        await importKvmImage(file, qemu!, () => {});
        const said: string[] = [];
        await requireKvmImage(qemu!, (line) => said.push(line));
        assertEquals(said, [], "it was made anew");
        assertEquals(findImage(libc())?.program, qemu);
        // Another QEMU's state is not taken, but its kernel is: nothing need be fetched.
        const other = `${folder}/qemu`;
        await Deno.writeTextFile(other, "#!/bin/sh\necho QEMU of nowhere\n");
        await Deno.chmod(other, 0o755);
        await Deno.remove(`${folder}/cache`, { recursive: true });
        await importKvmImage(file, other, () => {});
        assertEquals(findImage(libc()), undefined);
        await Deno.writeTextFile(file, "no archive");
        await assertRejects(
          () => importKvmImage(file, qemu!, () => {}),
          NestedError,
          "Cannot unpack",
        );
      } finally {
        if (before === undefined) Deno.env.delete("XDG_CACHE_HOME");
        else Deno.env.set("XDG_CACHE_HOME", before);
      }
    });
  },
});
