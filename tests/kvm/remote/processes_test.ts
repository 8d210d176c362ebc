import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { emulatedMachine } from "../../../lib/kvm/remote/kvm_choice.ts";
import { gone, isAlive, machinesOf } from "./remote_processes.ts";

const ignore = emulatedMachine() !== "qemu-svm";
const test = (text: string, fn: () => void | Promise<void>) =>
  Deno.test({
    name: ignore ? `${text} (skipped: KVM is not an emulated machine's)` : text,
    ignore,
    fn,
  });

const MOD = import.meta.resolve("../../../mod.ts");
const GUESTS = `import { asm, boot, expect, hlt, portOut } from "${MOD}";\n`;

/** Files in a folder of their own, which is also the temporary folder of what runs there. */
async function withFiles(
  files: Readonly<Record<string, string>>,
  body: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "vmexit-processes-" });
  try {
    await Deno.mkdir(`${folder}/tmp`);
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${folder}/${name}`, text);
    }
    await body(folder);
    assertEquals([...Deno.readDirSync(`${folder}/tmp`)], []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function start(
  folder: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: folder,
    env: { TMPDIR: `${folder}/tmp`, NO_COLOR: "1", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function deno(
  folder: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Output> {
  const { code, stdout, stderr } = await start(folder, args, env).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

const RUN = ["run", "-A", "--no-check", "--no-config"];
const TEST = ["test", "-A", "--no-check", "--no-config"];

/** A test file with some tests of its own, by number. */
const testFile = (number: number, count = 3) =>
  GUESTS + Array.from({ length: count }, (_, index) => `
Deno.test("${number}.${index}", () => {
  using vm = boot(asm\`
    mov al, ${number * 16 + index}
    out 0x10, al
    hlt
  \`);
  expect(vm).toExit([portOut(0x10, ${number * 16 + index}), hlt()]);
});`).join("");

test("test files of one process share a machine, and those of parallel threads have one each", async () => {
  const say = `
import { machinesOf } from "${import.meta.resolve("./remote_processes.ts")}";
Deno.test("machines", () => {
  using _vm = boot(asm\`hlt\`);
  console.log("machines:", machinesOf(Deno.pid).map(({ machine }) => machine).join());
});`;
  const names = Array.from({ length: 6 }, (_, number) => `${number}_test.ts`);
  const files = Object.fromEntries(
    names.map((name, number) => [name, testFile(number) + say]),
  );
  await withFiles(files, async (folder) => {
    const one = await deno(folder, TEST);
    assertEquals(one.code, 0, one.stdout + one.stderr);
    const machines = [...one.stdout.matchAll(/machines: (.*)/g)].map(([, list]) => list);
    assertEquals([machines.length, new Set(machines).size], [6, 1]);
    assertMatch(machines[0], /^\d+$/);
    const parallel = await deno(folder, [...TEST, "--parallel"], { DENO_JOBS: "3" });
    assertEquals(parallel.code, 0, parallel.stdout + parallel.stderr);
    assertStringIncludes(parallel.stdout, "24 passed");
    const most = Math.max(
      ...[...parallel.stdout.matchAll(/machines: (.*)/g)].map(([, list]) => list.split(",").length),
    );
    assert(most >= 2 && most <= 3, `${most} machines`);
  });
});

test("a file that leaves a machine undisposed does the next no harm", async () => {
  const leaves = `${GUESTS}
const vm = boot(asm\`jmp $\`, { memory: "64M" });
Deno.test("leaves", () => { vm.memory.setU8(0, 1); });`;
  await withFiles({ "a_test.ts": leaves, "b_test.ts": testFile(1) }, async (folder) => {
    const { code, stdout } = await deno(folder, TEST);
    assertEquals([code, /4 passed/.test(stdout)], [0, true], stdout);
  });
});

test("two processes at once, and workers, each have a machine of their own", async () => {
  const worker = `${GUESTS}
using vm = boot(asm\`
  mov al, 7
  out 0x10, al
  hlt
\`);
expect(vm).toExit([portOut(0x10, 7), hlt()]);
self.postMessage("ok");
self.close();`;
  const main = `${GUESTS}
for (let round = 0; round < 3; round++) {
  using _vm = boot(asm\`hlt\`);
  const workers = [1, 2].map(() => new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
  const said = await Promise.all(workers.map((worker) =>
    new Promise((resolve) => worker.onmessage = ({ data }) => resolve(data))));
  console.log(said.join());
}
const { machinesOf } = await import("${import.meta.resolve("./remote_processes.ts")}");
console.log("machines:", machinesOf(Deno.pid).length);`;
  await withFiles({ "main.ts": main, "worker.ts": worker }, async (folder) => {
    const both = await Promise.all([1, 2].map(() => deno(folder, [...RUN, "main.ts"])));
    for (const { code, stdout, stderr } of both) {
      assertEquals(code, 0, stdout + stderr);
      // Those of workers that have ended are taken over by the next: they do not add up.
      assertMatch(stdout, /^ok,ok\nok,ok\nok,ok\nmachines: [2-4]\n$/);
    }
  });
});

test("Deno.exit in a handler ends the process with its code, and nothing is left", async () => {
  const script = `${GUESTS}
const { machinesOf } = await import("${import.meta.resolve("./remote_processes.ts")}");
using vm = boot(asm\`
  out 0x10, al
  jmp $
\`);
vm.ports.on(0x10, { write() {
  const [{ machine, supervisor }] = machinesOf(Deno.pid);
  console.log(machine, supervisor);
  Deno.exit(7);
} });
vm.run();`;
  await withFiles({ "main.ts": script }, async (folder) => {
    const { code, stdout } = await deno(folder, [...RUN, "main.ts"]);
    assertEquals(code, 7);
    const pids = stdout.trim().split(" ").map(Number);
    assertEquals(pids.length, 2);
    assert(await gone(pids));
  });
});

test("SIGINT and SIGKILL at any moment leave no process, and no file", async () => {
  const script = `${GUESTS}
for (;;) {
  using vm = boot(asm\`
  again:
    out 0x10, al
    jmp again
  \`);
  let count = 0;
  vm.ports.on(0x10, { write() { if (++count === 100) vm.stop(); } });
  vm.run();
}`;
  const ROUNDS = 25;
  const shared = () => [...Deno.readDirSync("/dev/shm")].length;
  const before = shared();
  await withFiles({ "main.ts": script }, async (folder) => {
    const seen = new Set<number>();
    // As long as it takes here, on a host with other work, until there is a machine, and as long again.
    const first = start(folder, [...RUN, "main.ts"]);
    const began = performance.now();
    while (machinesOf(first.pid).length === 0) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const longest = 2 * (performance.now() - began);
    first.kill("SIGKILL");
    await first.output();
    const disturb = async (signal: Deno.Signal, wait: number) => {
      const child = start(folder, [...RUN, "main.ts"]);
      await new Promise((resolve) => setTimeout(resolve, wait));
      const pids = machinesOf(child.pid).flatMap((
        { machine, supervisor },
      ) => [machine, supervisor]);
      child.kill(signal);
      await child.output();
      for (const pid of pids) seen.add(pid);
      assert(await gone(pids), `${signal} after ${wait} ms: ${pids.filter(isAlive)}`);
    };
    for (let round = 0; round < ROUNDS; round++) {
      const wait = round * longest / ROUNDS;
      await Promise.all([disturb("SIGINT", wait), disturb("SIGKILL", wait)]);
    }
    assert(seen.size > 20, "it was too slow to be disturbed");
  });
  assertEquals(shared(), before);
});

test("without QEMU and without an image, boot says what to type", async () => {
  const script = `${GUESTS}
boot(asm\`hlt\`);`;
  await withFiles({ "main.ts": script }, async (folder) => {
    await Deno.mkdir(`${folder}/bin`);
    for (const program of ["nasm", "ndisasm"]) {
      const path =
        (await new Deno.Command("sh", { args: ["-c", `command -v ${program}`] }).output())
          .stdout;
      await Deno.symlink(new TextDecoder().decode(path).trim(), `${folder}/bin/${program}`);
    }
    const env = { PATH: `${folder}/bin`, XDG_CACHE_HOME: `${folder}/cache`, VMEXIT_KVM: "nested" };
    const { code, stderr } = await deno(folder, [...RUN, "main.ts"], env);
    assertEquals(code, 1);
    assertStringIncludes(stderr, "vmexit: qemu-system-x86 would have to be installed for a KVM");
    assertStringIncludes(stderr, "Cannot use KVM: VMEXIT_KVM says so");
    assertStringIncludes(stderr, "Type vmexit setup");
    assertMatch(stderr, /main\.ts:\d/);
  });
});

test("the machine that only runs whole commands is refused by name", async () => {
  await withFiles({ "main.ts": `${GUESTS}boot(asm\`hlt\`);` }, async (folder) => {
    const { code, stderr } = await deno(folder, [...RUN, "main.ts"], { VMEXIT_KVM: "bochs-vmx" });
    assertEquals(code, 1);
    assertStringIncludes(stderr, "Cannot use the KVM of bochs-vmx from outside");
    const wrong = await deno(folder, [...RUN, "main.ts"], { VMEXIT_KVM: "xen" });
    assertStringIncludes(wrong.stderr, '"xen" is not one of host, nested, qemu-svm, bochs-vmx');
  });
});

test("FFI and running NASM are all that it takes", async () => {
  await withFiles({ "a_test.ts": testFile(1) }, async (folder) => {
    const permissions = ["--allow-ffi", "--allow-run=nasm,ndisasm", "--no-prompt"];
    const args = ["test", "--no-check", "--no-config", ...permissions];
    const { code, stdout } = await deno(folder, args);
    assertEquals([code, /3 passed/.test(stdout)], [0, true], stdout);
    const without = await deno(folder, ["test", "--no-check", "--no-config", "--no-prompt"]);
    assertEquals(without.code, 1);
    assertStringIncludes(without.stdout, "FFI is not permitted");
  });
});

test("Deno's sanitizers have nothing to complain about", async () => {
  const file = `${GUESTS}
Deno.test({ name: "clean", sanitizeOps: true, sanitizeResources: true, sanitizeExit: true, fn() {
  using vm = boot(asm\`hlt\`);
  vm.run();
} });
Deno.test({ name: "exits", sanitizeExit: true, fn() {
  using vm = boot(asm\`
    out 0x10, al
    hlt
  \`);
  vm.ports.on(0x10, { write: () => Deno.exit(0) });
  vm.run();
} });`;
  await withFiles({ "a_test.ts": file }, async (folder) => {
    const { code, stdout } = await deno(folder, TEST);
    assertEquals(code, 1);
    assertMatch(stdout, /clean \.\.\. ok/);
    assertStringIncludes(stdout, "1 passed | 1 failed");
    assertStringIncludes(stdout, "Test case attempted to exit with exit code: 0");
  });
});
