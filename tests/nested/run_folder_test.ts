import { assertEquals } from "@std/assert";
import { RunFolder } from "../../lib/nested/run_folder.ts";
import { isolated } from "./isolated.ts";

/** Makes run folders one after the other, holds each for a moment, and prints how many were gone by then. */
const MAKER = `
  import { RunFolder } from ${
  JSON.stringify(import.meta.resolve("../../lib/nested/run_folder.ts"))
};
  let gone = 0;
  for (let count = 0; count < 100; count++) {
    await using folder = await RunFolder.create();
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (!await Deno.stat(folder.path + "/lock").then(() => true, () => false)) gone++;
  }
  console.log(gone);
`;

Deno.test("a run's folder is there as long as it is held, however many runs start beside it", async () => {
  await isolated(async () => {
    const makers = Array.from({ length: 4 }, async () => {
      const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["eval", "--no-config", MAKER],
      }).output();
      if (!success) throw new Error(new TextDecoder().decode(stderr));
      return Number(new TextDecoder().decode(stdout));
    });
    assertEquals(await Promise.all(makers), [0, 0, 0, 0]);
  });
});

Deno.test("what killed processes left is removed by the next run, and what others hold is not", async () => {
  await isolated(async (own) => {
    const folder = `${own}/tmp`;
    const minutesAgo = (minutes: number) => new Date(Date.now() - minutes * 60_000);
    await Deno.mkdir(`${folder}/vmexit-run-dead`);
    await Deno.writeTextFile(`${folder}/vmexit-run-dead/lock`, "");
    for (const [name, minutes] of [["old", 90], ["new", 1]] as const) {
      await Deno.mkdir(`${folder}/vmexit-making-run-${name}`);
      await Deno.utime(
        `${folder}/vmexit-making-run-${name}`,
        minutesAgo(minutes),
        minutesAgo(minutes),
      );
    }
    await using held = await RunFolder.create();
    {
      await using _other = await RunFolder.create();
    }
    const left = [...Deno.readDirSync(folder)].map(({ name }) => `${folder}/${name}`);
    assertEquals(left.sort(), [`${folder}/vmexit-making-run-new`, held.path].sort());
    await Deno.remove(`${folder}/vmexit-making-run-new`);
  });
});
