/**
 * Puts faults into the library, one at a time, and tells which of them no test notices:
 *
 *     deno test -A tests/mutation/mutate.ts -- [--count=200] [--seed=1] [--near] [folders, files or file:line of lib/ ...]
 *
 * (`deno test`, since it alone gives programs the syntax tree of `Deno.lint.runPlugin`.) Works on a copy of the commit that is checked out. For each fault the tests of the file's own folder run first, since
 * they notice most, and then all others. A run that fails or does not end within the limit has noticed it. The last line
 * is the share, with `--near` the share that the tests of the file's own folders notice; a fault that was not noticed is printed with its place, to be read: it may change nothing that anyone can
 * see.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { dirname, join } from "node:path";
import { cacheFolder } from "@vmexit/vmexit/nested";
import { mutate, type Mutation, mutationsOf } from "./mutations.ts";

/** Seconds that a run of tests may take, several times what one file, one folder and the whole suite need. */
const LIMITS = { file: 120, folder: 300, all: 900 };

/** The line of a scope that is one line of a file. */
const LINE = /:\d+$/;

const { values: { count, seed, near }, positionals } = parseArgs({
  options: {
    count: { type: "string", default: "200" },
    seed: { type: "string", default: "1" },
    near: { type: "boolean", default: false },
  },
  allowPositionals: true,
});
const scope = positionals.length > 0 ? positionals : ["lib/machine/run", "lib/kvm", "lib/expect"];

const { denoDir } = JSON.parse(await run(Deno.execPath(), ["info", "--json"], "."));
const root = join(import.meta.dirname!, "../..");
const copy = Deno.makeTempDirSync({ prefix: "vmexit-mutation-" });
/** Apart, since a fault in what an image is made of makes other images. */
const cache = Deno.makeTempDirSync({ prefix: "vmexit-mutation-cache-" });
let noticed = 0;
let done = 0;
try {
  await run("git", ["worktree", "add", "--quiet", "--detach", copy], root);
  await run("cp", ["--archive", cacheFolder(), cache], root);
  const paths = scope.map((place) => place.replace(LINE, ""));
  const files = (await run("git", ["ls-files", ...paths], root)).split("\n").filter((path) =>
    path.endsWith(".ts") && !path.endsWith("mod.ts")
  );
  const chosen = choose(files, Number(count), Number(seed));
  if (chosen.length === 0) throw new Error(`No mutations in ${scope.join(", ")}.`);
  for (const { path, source, mutation } of chosen) {
    Deno.writeTextFileSync(join(copy, path), mutate(source, mutation));
    const by = await noticedBy(path);
    Deno.writeTextFileSync(join(copy, path), source);
    done++;
    if (by !== undefined) noticed++;
    const line = source.slice(0, mutation.start).split("\n").length;
    const text = source.split("\n")[line - 1].trim();
    console.log(`${by ?? "NOT NOTICED"}\t${path}:${line}\t${mutation.what}\t${text}`);
  }
} finally {
  await run("git", ["worktree", "remove", "--force", copy], root);
  await Deno.remove(cache, { recursive: true });
}
console.log(`${noticed} of ${done} noticed (${(100 * noticed / done).toFixed(1)} %), seed ${seed}`);

/** As many mutations as asked for, drawn from all of all files, at most one a line. */
function choose(files: readonly string[], count: number, seed: number) {
  const all: { path: string; source: string; mutation: Mutation }[] = [];
  for (const path of files) {
    const source = Deno.readTextFileSync(join(copy, path));
    const lines = new Map<number, Mutation[]>();
    for (const mutation of mutationsOf(path, source)) {
      const line = source.slice(0, mutation.start).split("\n").length;
      if (scope.every((place) => LINE.test(place) && place !== `${path}:${line}`)) continue;
      lines.set(line, [...lines.get(line) ?? [], mutation]);
    }
    for (const each of lines.values()) {
      all.push({ path, source, mutation: each[Math.floor(random() * each.length)] });
    }
  }
  for (let last = all.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [all[last], all[other]] = [all[other], all[last]];
  }
  return all.slice(0, count);

  /** Park and Miller's minimal standard generator: the same draw for the same seed. */
  function random(): number {
    seed = seed * 48_271 % 0x7fff_ffff;
    return seed / 0x7fff_ffff;
  }
}

/** Which tests noticed the fault in the copy, those first that are nearest to it; nothing where none did. */
async function noticedBy(path: string): Promise<string | undefined> {
  const nearest = path.replace(/^lib/, "tests").replace(/\.ts$/, "_test.ts");
  for (let tests = nearest; tests !== "tests"; tests = dirname(tests)) {
    const limit = tests === nearest ? LIMITS.file : LIMITS.folder;
    if (await exists(join(copy, tests)) && !await passes(limit, tests)) return tests;
  }
  return near || await passes(LIMITS.all) ? undefined : "all tests";
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/** Whether the tests pass; false as well where they do not end. */
async function passes(limit: number, ...paths: readonly string[]): Promise<boolean> {
  const { success } = await new Deno.Command("timeout", {
    args: [
      `--kill-after=5`,
      String(limit),
      Deno.execPath(),
      "test",
      "--allow-all",
      "--no-check",
      "--quiet",
      "--fail-fast",
      ...paths,
    ],
    cwd: copy,
    env: { XDG_CACHE_HOME: cache, DENO_DIR: denoDir },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).output();
  return success;
}

async function run(program: string, args: readonly string[], cwd: string): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args: [...args], cwd })
    .output();
  if (code !== 0) throw new Error(new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}
