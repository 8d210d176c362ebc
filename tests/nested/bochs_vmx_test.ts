import { assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import {
  NESTED_FAILURE,
  NESTED_TIMEOUT,
  NestedError,
  runNested,
  startNested,
} from "../../lib/nested/mod.ts";
import { isAlive } from "../kvm/remote/remote_processes.ts";
import { isolated } from "./isolated.ts";

/** Installing Bochs and making its image takes a minute: `deno task test:intel` does that, and runs these. */
const ignore = Deno.env.get("VMEXIT_KVM") !== "bochs-vmx";

function test(text: string, fn: () => Promise<void>): void {
  const name = ignore ? `${text} (skipped: VMEXIT_KVM does not ask for Bochs)` : text;
  Deno.test({ name, ignore, fn });
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

test("a command inside has kvm_intel, the right time, its output as it comes, its folder, files and exit code", async () => {
  await isolated(async (folder) => {
    await Deno.mkdir(`${folder}/in/a b`, { recursive: true });
    await Deno.writeTextFile(`${folder}/in/a b/file`, "content");
    await Deno.writeTextFile(`${folder}/in/run`, "#!/bin/sh\necho it runs\n");
    await Deno.chmod(`${folder}/in/run`, 0o755);
    await Deno.symlink("a b/file", `${folder}/in/link`);
    await Deno.writeTextFile(`${folder}/in/secret`, "left out");
    const script = [
      "cat link; ./run; ls; mkdir -p ../out/deep; echo made > '../out/deep/a b'",
      "echo changed >> 'a b/file'; echo \"to stderr $VALUE\" >&2; sleep 1; date +%s",
      "head -c 16 /dev/urandom | hexdump; ls /sys/module/kvm_intel/parameters/ept",
      "echo $VMEXIT_NESTED; test -c /dev/kvm && exit 7",
    ].join("; ");
    const parts: string[] = [];
    const options = {
      cwd: `${folder}/in`,
      env: { VALUE: "it's here" },
      filesIn: [{ host: `${folder}/in`, exclude: (path: string) => path === "secret" }],
      filesOut: [`${folder}/out`, `${folder}/in`, `${folder}/nothing`],
    };
    const onStdout = (chunk: Uint8Array) => void parts.push(text(chunk));
    const { code, stderr, files } = await runNested(["sh", "-c", script], { ...options, onStdout });
    assertEquals(code, 7);
    assertEquals(text(stderr), "to stderr it's here\n");
    assertEquals(parts.length > 1, true, "the output came in one piece");
    const [listing, time, random, rest] =
      /^(contentit runs\na b\nlink\nrun\n)(\d+)\n(.*)\n\/sys\/module\/(.*)$/s.exec(parts.join(""))!
        .slice(1);
    assertEquals(listing.endsWith("run\n"), true);
    assertEquals(Math.abs(Number(time) - Date.now() / 1000) < 30, true, `it is ${time} inside`);
    assertEquals(rest, "kvm_intel/parameters/ept\nbochs-vmx\n");
    assertEquals(files.sort(), [`${folder}/in/a b/file`, `${folder}/out/deep/a b`]);
    assertEquals(await Deno.readTextFile(`${folder}/out/deep/a b`), "made\n");
    assertEquals(await Deno.readTextFile(`${folder}/in/a b/file`), "contentchanged\n");
    // Another resume of the same state draws other numbers.
    const again = await runNested(["sh", "-c", "head -c 16 /dev/urandom | hexdump"], { cwd: "/" });
    assertNotEquals(text(again.stdout).trim(), random.trim());
  });
});

test("a panic is an error with the end of the console, and a session takes one command", async () => {
  await isolated(async () => {
    await using session = await startNested();
    const error = await assertRejects(
      () => session.run(["sh", "-c", "echo c > /proc/sysrq-trigger; sleep 9"], { cwd: "/" }),
      NestedError,
      "stopped by itself",
    );
    assertMatch(error.message, /Kernel panic - not syncing/);
    assertEquals(error.exitCode, NESTED_FAILURE);
    assertEquals(isAlive(session.pid), false);
    await assertRejects(() => session.run(["true"]), NestedError, "a session takes one");
  });
});

test("a machine that freezes is an error that says so, long before any time limit", async () => {
  await isolated(async () => {
    await using session = await startNested();
    const freeze = () => Deno.kill(session.pid, "SIGSTOP");
    const error = await assertRejects(
      () =>
        session.run(["sh", "-c", "echo now; sleep 99"], { cwd: "/", silence: 5, onStdout: freeze }),
      NestedError,
      "is frozen: it said nothing for 5 seconds",
    );
    assertEquals(error.exitCode, NESTED_TIMEOUT);
    await session[Symbol.asyncDispose]();
    assertEquals(isAlive(session.pid), false);
  });
});

test("a machine that is killed is an error that says so; an abort ends the command, the machine and its files", async () => {
  await isolated(async () => {
    await using session = await startNested();
    const kill = () => Deno.kill(session.pid, "SIGKILL");
    await assertRejects(
      () => session.run(["sh", "-c", "echo up; sleep 60"], { cwd: "/", onStdout: kill }),
      NestedError,
      "SIGKILL",
    );
    const controller = new AbortController();
    const onStdout = () => controller.abort(new Error("enough"));
    const options = { cwd: "/", signal: controller.signal, onStdout };
    await assertRejects(
      () => runNested(["sh", "-c", "echo up; sleep 60"], options),
      Error,
      "enough",
    );
  });
});

test("Bochs, which ignores SIGTERM, is gone after a command that does not end within its limit", async () => {
  await isolated(async () => {
    await using session = await startNested();
    const command = ["sh", "-c", "trap '' TERM; while :; do :; done"];
    const error = await assertRejects(
      () => session.run(command, { cwd: "/", limit: 3 }),
      NestedError,
      "did not end within 3 seconds",
    );
    assertEquals(error.exitCode, NESTED_TIMEOUT);
    await session[Symbol.asyncDispose]();
    assertEquals(isAlive(session.pid), false);
  });
});
