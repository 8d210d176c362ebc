import { assertEquals, assertRejects } from "@std/assert";
import { cacheFolder, NestedError, qemuSvm, runNested, startNested } from "../../lib/nested/mod.ts";
import { isolated } from "./isolated.ts";

const SPARSE_COPY = ["-a", "--sparse=always"];

async function run(program: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command(program, { args }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
}

/** A copy of the cache, so that it can be damaged; its parts need no network. */
async function withOwnCache(body: (cache: string) => Promise<void>): Promise<void> {
  await isolated(async (folder) => {
    // It must be there to be copied.
    await runNested(["true"], { cwd: "/" });
    const cache = `${folder}/cache`;
    await Deno.mkdir(`${cache}/vmexit/machines`, { recursive: true });
    for await (const { name } of Deno.readDir(cacheFolder())) {
      if (name.startsWith("boot-")) {
        await run("cp", ...SPARSE_COPY, `${cacheFolder()}/${name}`, `${cache}/vmexit/`);
      }
    }
    const ages = (await snapshots(cacheFolder())).map((path) => {
      const used = Deno.statSync(path).mtime?.getTime() ?? 0;
      return { path, used };
    });
    const { path } = ages.sort((one, other) => other.used - one.used)[0];
    await run("cp", ...SPARSE_COPY, path, `${cache}/vmexit/machines/`);
    const before = Deno.env.get("XDG_CACHE_HOME");
    Deno.env.set("XDG_CACHE_HOME", cache);
    try {
      await body(`${cache}/vmexit`);
    } finally {
      if (before === undefined) Deno.env.delete("XDG_CACHE_HOME");
      else Deno.env.set("XDG_CACHE_HOME", before);
    }
  });
}

async function snapshots(cache: string): Promise<string[]> {
  const folders = await Array.fromAsync(Deno.readDir(`${cache}/machines`));
  return folders.filter(({ isDirectory }) => isDirectory).map(({ name }) =>
    `${cache}/machines/${name}`
  );
}

Deno.test("a damaged cache is made anew without the network, by one of two runs at once", async () => {
  await withOwnCache(async (cache) => {
    for (const folder of await snapshots(cache)) {
      await Deno.writeTextFile(`${folder}/state`, "not what it was");
      // What a builder that was killed leaves.
      await Deno.mkdir(`${folder}.new/half`, { recursive: true });
    }
    const said: string[] = [];
    const runs = await Promise.all(
      [1, 2].map(() =>
        runNested(["sh", "-c", "exit 3"], { cwd: "/", onProgress: (line) => said.push(line) })
      ),
    );
    assertEquals(runs.map(({ code }) => code), [3, 3]);
    assertEquals(said.filter((line) => line.includes("for the first time")).length, 1);
    assertEquals(said.some((line) => line.includes("download")), false);
    assertEquals((await snapshots(cache)).some((name) => name.endsWith(".new")), false);
  });
});

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
      const machine = { ...qemuSvm(), program: "qemu-of-nowhere", packages: ["qemu-package"] };
      const said: string[] = [];
      await assertRejects(
        () => startNested({ machine, onProgress: (line) => said.push(line) }),
        NestedError,
        "apt-get update && apt-get install -y --no-install-recommends qemu-package",
      );
      if (Deno.uid() !== 0) return;
      assertEquals(said[0], "installing qemu-package with apt-get (this host has no usable KVM)");
      const asked = (await Deno.readTextFile(`${folder}/asked`)).trim().split("\n");
      const verbs = asked.map((line) => /\b(install|update)\b/.exec(line)?.[1]);
      assertEquals(verbs, ["install", "update", "install"]);
    } finally {
      Deno.env.set("PATH", before ?? "");
    }
  });
});

Deno.test("a machine that does not boot is an error with what QEMU said", async () => {
  await isolated(async () => {
    const machine = qemuSvm({ processors: 100_000 });
    await assertRejects(() => startNested({ machine }), NestedError, "SMP CPUs");
  });
});
