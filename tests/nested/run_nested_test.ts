import { assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import {
  NESTED_FAILURE,
  NESTED_TIMEOUT,
  NestedError,
  runNested,
  startNested,
} from "../../lib/nested/mod.ts";
import { isAlive, isolated } from "./isolated.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

Deno.test("a nested command's exit code, output, environment and folder are its own", async () => {
  await isolated(async (folder) => {
    const script = 'echo "to stdout $VALUE"; pwd; echo "to stderr" >&2; test -c /dev/kvm && exit 7';
    const result = await runNested(["sh", "-c", script], {
      cwd: `${folder}/not yet there`,
      env: { VALUE: "it's here" },
    });
    assertEquals(result.code, 7);
    assertEquals(text(result.stdout), `to stdout it's here\n${folder}/not yet there\n`);
    assertEquals(text(result.stderr), "to stderr\n");
  });
});

Deno.test("output comes while the command runs", async () => {
  await isolated(async () => {
    const times: number[] = [];
    await runNested(["sh", "-c", "echo a; sleep 1; echo b"], {
      cwd: "/",
      onStdout: () => times.push(performance.now()),
    });
    assertEquals(times.length, 2);
    assertEquals(times[1] - times[0] > 700, true);
  });
});

Deno.test("files and folders go in, and what is new comes out", async () => {
  await isolated(async (folder) => {
    await Deno.mkdir(`${folder}/in/a b`, { recursive: true });
    await Deno.writeTextFile(`${folder}/in/a b/file`, "content");
    await Deno.writeTextFile(`${folder}/in/run`, "#!/bin/sh\necho it runs\n");
    await Deno.chmod(`${folder}/in/run`, 0o755);
    await Deno.symlink("a b/file", `${folder}/in/link`);
    await Deno.writeTextFile(`${folder}/in/secret`, "left out");
    const script = "cat link; ./run; ls; mkdir -p ../out/deep; echo made > '../out/deep/a b'; " +
      "echo changed >> 'a b/file'";
    const { stdout, files } = await runNested(["sh", "-c", script], {
      cwd: `${folder}/in`,
      filesIn: [{ host: `${folder}/in`, exclude: (path) => path === "secret" }],
      filesOut: [`${folder}/out`, `${folder}/in`, `${folder}/nothing`],
    });
    assertEquals(text(stdout), "contentit runs\na b\nlink\nrun\n");
    assertEquals(files.sort(), [`${folder}/in/a b/file`, `${folder}/out/deep/a b`]);
    assertEquals(await Deno.readTextFile(`${folder}/out/deep/a b`), "made\n");
    assertEquals(await Deno.readTextFile(`${folder}/in/a b/file`), "contentchanged\n");
  });
});

Deno.test("two machines at once have the right time each, and draw other random numbers", async () => {
  await isolated(async () => {
    const command = ["sh", "-c", "date +%s; head -c 16 /dev/urandom | hexdump"];
    const outputs = await Promise.all([1, 2].map(async () => {
      const [time, ...random] = text((await runNested(command, { cwd: "/" })).stdout).split("\n");
      assertEquals(Math.abs(Number(time) - Date.now() / 1000) < 10, true, `it is ${time} inside`);
      return random.join();
    }));
    assertNotEquals(outputs[0], outputs[1]);
  });
});

Deno.test("a panic is an error with the end of the console", async () => {
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
  });
});

Deno.test("a machine that freezes is an error that says so, long before the time limit", async () => {
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

Deno.test("a machine that is killed is an error that says so", async () => {
  await isolated(async () => {
    await using session = await startNested();
    const kill = () => Deno.kill(session.pid, "SIGKILL");
    await assertRejects(
      () => session.run(["sh", "-c", "echo up; sleep 60"], { cwd: "/", onStdout: kill }),
      NestedError,
      "SIGKILL",
    );
  });
});

Deno.test("a command that does not end meets its limit, and the machine is gone", async () => {
  await isolated(async () => {
    let pid: number;
    {
      await using session = await startNested();
      pid = session.pid;
      const error = await assertRejects(
        () => session.run(["sleep", "600"], { cwd: "/", limit: 1 }),
        NestedError,
        "did not end within 1 seconds",
      );
      assertEquals(error.exitCode, NESTED_TIMEOUT);
    }
    assertEquals(isAlive(pid), false);
  });
});

Deno.test("an abort ends the command, the machine and its files", async () => {
  await isolated(async () => {
    const controller = new AbortController();
    const reason = new Error("enough");
    await assertRejects(
      () =>
        runNested(["sh", "-c", "echo up; sleep 60"], {
          cwd: "/",
          signal: controller.signal,
          onStdout: () => controller.abort(reason),
        }),
      Error,
      "enough",
    );
  });
});

Deno.test("a session takes one command", async () => {
  await isolated(async () => {
    await using session = await startNested();
    assertEquals((await session.run(["true"], { cwd: "/" })).code, 0);
    await assertRejects(() => session.run(["true"]), NestedError, "a session takes one");
  });
});
