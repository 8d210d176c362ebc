import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  bochsVmx,
  NESTED_TIMEOUT,
  NestedError,
  runNested,
  startNested,
} from "../../lib/nested/mod.ts";
import { isAlive, isolated } from "./isolated.ts";

/** Installing Bochs and making its image takes a minute: only where that machine is asked for. */
const ignore = Deno.env.get("VMEXIT_KVM") !== "bochs-vmx";
const machine = bochsVmx();

Deno.test({
  name: "a command in Bochs has kvm_intel, the right time, its output, its files and its exit code",
  ignore,
  fn: async () => {
    await isolated(async (folder) => {
      await Deno.writeTextFile(`${folder}/in`, "content");
      const script =
        "cat in; date +%s; ls /sys/module/kvm_intel/parameters/ept; echo made > out; " +
        "echo $VMEXIT_NESTED >&2; test -c /dev/kvm && exit 7";
      const result = await runNested(["sh", "-c", script], {
        machine,
        cwd: folder,
        filesIn: [`${folder}/in`],
        filesOut: [`${folder}/out`],
      });
      assertEquals(result.code, 7);
      const stdout = new TextDecoder().decode(result.stdout);
      assertMatch(stdout, /^content\d+\n\/sys\/module\/kvm_intel\/parameters\/ept\n$/);
      const time = Number(/^content(\d+)/.exec(stdout)?.[1]);
      assertEquals(Math.abs(time - Date.now() / 1000) < 30, true, `it is ${time} inside`);
      assertEquals(new TextDecoder().decode(result.stderr), "bochs-vmx\n");
      assertEquals(await Deno.readTextFile(`${folder}/out`), "made\n");
    });
  },
});

Deno.test({
  name: "Bochs, which ignores SIGTERM, is gone after a command that does not end",
  ignore,
  fn: async () => {
    await isolated(async () => {
      await using session = await startNested({ machine });
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
  },
});
