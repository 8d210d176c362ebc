import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../lib/cli/main.ts", import.meta.url));

/** A started command line. */
export interface Started {
  /** Its process. */
  child: Deno.ChildProcess;
  /** Its end: exit code and output. */
  output(): Promise<{ code: number; stdout: string; stderr: string }>;
  /** Waits until its standard output has had a text. */
  saw(text: string): Promise<void>;
}

/** A project in a folder of its own, with another's command line, as its users have it. */
export async function withProject(
  files: Record<string, string>,
  body: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "vmexit-project-" });
  try {
    await Deno.mkdir(`${folder}/tmp`);
    for (const [name, text] of Object.entries(files)) {
      await Deno.mkdir(`${folder}/p/${name}`.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.writeTextFile(`${folder}/p/${name}`, text);
    }
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Starts the command line in a project, with TMPDIR in the project's folder, on the nested machine. */
export function start(folder: string, ...args: string[]): Started {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", "--no-check", MAIN, ...args],
    cwd: `${folder}/p`,
    env: { TMPDIR: `${folder}/tmp`, VMEXIT_KVM: "nested", NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const decoder = new TextDecoder();
  let stdout = "";
  let heard = () => {};
  const reading = (async () => {
    for await (const chunk of child.stdout) {
      stdout += decoder.decode(chunk, { stream: true });
      heard();
    }
    heard();
  })();
  const complaints = new Response(child.stderr).text();
  return {
    child,
    async output() {
      const { code } = await child.status;
      await reading;
      return { code, stdout, stderr: await complaints };
    },
    async saw(text) {
      while (!stdout.includes(text)) {
        const more = new Promise<void>((resolve) => heard = resolve);
        const ended = await Promise.race([more.then(() => false), child.status.then(() => true)]);
        if (ended && !stdout.includes(text)) {
          throw new Error(`It ended without "${text}": ${stdout}`);
        }
      }
    },
  };
}

/** What is left in the temporary folder of a project, but for Deno's own. */
export function leftovers(folder: string): string[] {
  return [...Deno.readDirSync(`${folder}/tmp`)].map(({ name }) => name).filter((name) =>
    name.startsWith("vmexit-")
  );
}

/** Processes whose command line has a text in it. */
export function processesWith(text: string): number[] {
  return [...Deno.readDirSync("/proc")].flatMap(({ name }) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const words = Deno.readTextFileSync(`/proc/${name}/cmdline`);
      const cwd = Deno.readLinkSync(`/proc/${name}/cwd`);
      return words.includes("qemu") && cwd.includes(text) ? [Number(name)] : [];
    } catch {
      return []; // it has just ended
    }
  });
}
