import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { withProject } from "./project.ts";

/** What people use around tests works with plain `deno test`, whatever KVM there is. */
const MOD = import.meta.resolve("../../mod.ts");

const PROJECT = {
  "deno.json": `{ "imports": { "@vmexit/vmexit": "${MOD}" } }`,
  "device.ts": `export function answer(port: number): number {
  return port === 0x60 ? 0x1c : 0;
}
`,
  "first_test.ts": `import { asm, boot } from "@vmexit/vmexit";
import { answer } from "./device.ts";
Deno.test("a handler answers", () => {
  using vm = boot(asm\`
    in al, 0x60
    hlt
  \`, { timeout: 50 });
  vm.ports.on(0x60, {
    read(port) {
      return answer(port);
    },
  });
  vm.run();
  if (vm.registers.al !== 0x1c) throw new Error("wrong");
});
`,
};

function deno(folder: string, ...args: string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args,
    cwd: `${folder}/p`,
    env: { NO_COLOR: "1", TMPDIR: `${folder}/tmp` },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Ends a process, if it has not ended. */
function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
}

/** Gathers a stream's text, and waits for texts in it. */
class Heard {
  text = "";
  #changed = () => {};

  constructor(stream: ReadableStream<Uint8Array>) {
    (async () => {
      for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
        this.text += chunk;
        this.#changed();
      }
    })();
  }

  /** Waits until the pattern has matched what came since `from`. */
  async saw(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    const late = AbortSignal.timeout(30_000);
    for (;;) {
      const found = pattern.exec(this.text.slice(from));
      if (found !== null) return found;
      late.throwIfAborted();
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
        setTimeout(resolve, 100);
      });
    }
  }
}

Deno.test("plain deno test, with --coverage into lcov", async () => {
  await withProject(PROJECT, async (folder) => {
    const child = deno(folder, "test", "-A", "--no-check", "--coverage=cov");
    const { code, stdout } = await child.output();
    assertEquals(code, 0, new TextDecoder().decode(stdout));
    const lcov = await Deno.readTextFile(`${folder}/p/cov/lcov.info`);
    assertMatch(lcov, /SF:.*device\.ts\n[^]*?DA:2,1\n/);
  });
});

Deno.test("--watch runs the tests again after a change, without piling anything up", async () => {
  await withProject(PROJECT, async (folder) => {
    const child = deno(folder, "test", "-A", "--no-check", "--watch");
    const stdout = new Heard(child.stdout);
    const stderr = new Heard(child.stderr);
    const handles = () =>
      [...Deno.readDirSync(`/proc/${child.pid}/fd`)].map(({ name }) => {
        try {
          return Deno.readLinkSync(`/proc/${child.pid}/fd/${name}`);
        } catch {
          return "";
        }
      }).filter((target) => /vmexit|socket/.test(target)).length;
    const windows = () =>
      Deno.readTextFileSync(`/proc/${child.pid}/maps`).split("\n")
        .filter((line) => line.includes("vmexit-kvm")).length;
    try {
      const counts: [number, number][] = [];
      let seen = 0;
      for (let round = 0; round < 4; round++) {
        const { index, 0: { length } } = await stdout.saw(/1 passed \| 0 failed/, seen);
        seen += index + length;
        await stderr.saw(/Test finished/);
        counts.push([handles(), windows()]);
        await new Promise((resolve) => setTimeout(resolve, 300));
        await Deno.writeTextFile(`${folder}/p/device.ts`, `${PROJECT["device.ts"]}// ${round}\n`);
      }
      assertEquals(counts[3], counts[1], JSON.stringify(counts));
    } finally {
      child.kill("SIGKILL");
      await child.status;
    }
  });
});

/** A debugger of one process, by the inspector's protocol. */
class Debugger {
  readonly #socket: WebSocket;
  #id = 0;
  readonly #answers = new Map<number, (result: Record<string, unknown>) => void>();
  readonly paused: Record<string, unknown>[] = [];

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.method === "Debugger.paused") this.paused.push(message.params);
      this.#answers.get(message.id)?.(message.result);
    };
  }

  static async connect(url: string): Promise<Debugger> {
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = reject;
    });
    return new Debugger(socket);
  }

  async say(
    method: string,
    params: Record<string, unknown> = {},
  ): Promise<Record<string, unknown>> {
    const id = ++this.#id;
    const answer = new Promise<Record<string, unknown>>((resolve) =>
      this.#answers.set(id, resolve)
    );
    this.#socket.send(JSON.stringify({ id, method, params }));
    return await answer;
  }

  async until(isThere: () => boolean): Promise<void> {
    for (const late = AbortSignal.timeout(30_000); !isThere();) {
      late.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async nextPause(count: number): Promise<Record<string, unknown>> {
    await this.until(() => this.paused.length >= count);
    return this.paused[count - 1];
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#socket.onclose = resolve);
    this.#socket.close();
    await closed;
  }
}

for (const flag of ["--inspect-wait", "--inspect-brk"]) {
  Deno.test(`${flag}: a breakpoint in a handler holds the guest as long as a person looks, past any limit`, async () => {
    await withProject(PROJECT, async (folder) => {
      const child = deno(folder, "test", "-A", "--no-check", `${flag}=127.0.0.1:0`);
      const stdout = new Heard(child.stdout);
      const stderr = new Heard(child.stderr);
      try {
        const [, url] = await stderr.saw(/listening on (ws:\S+)/);
        // A debugger that comes before the modules are loaded makes `deno test --inspect-brk` of Deno 2.9 hang, whatever it tests.
        if (flag === "--inspect-brk") await new Promise((resolve) => setTimeout(resolve, 2_000));
        const inspector = await Debugger.connect(url);
        await inspector.say("Runtime.enable");
        await inspector.say("Debugger.enable");
        await inspector.say("Debugger.setBreakpointByUrl", {
          urlRegex: "/p/device\\.ts$",
          lineNumber: 1,
        });
        await inspector.say("Runtime.runIfWaitingForDebugger");
        let pauses = 1;
        if (flag === "--inspect-brk") {
          await inspector.nextPause(pauses++);
          await inspector.say("Debugger.resume");
        }
        const { callFrames } = await inspector.nextPause(pauses);
        const [frame, caller] = callFrames as { callFrameId: string; functionName: string }[];
        assertEquals([frame.functionName, caller.functionName], ["answer", "read"]);
        const { result } = await inspector.say("Debugger.evaluateOnCallFrame", {
          callFrameId: frame.callFrameId,
          expression: "port",
        });
        assertEquals((result as { value: number }).value, 0x60);
        // Longer than the limit of 50 ms, in the slowest machine's time.
        await new Promise((resolve) => setTimeout(resolve, 1_500));
        await inspector.say("Debugger.resume");
        // The summary comes once the debugger has gone.
        await stdout.saw(/a handler answers \.\.\. (ok|FAILED)/);
        await inspector.close();
        await stdout.saw(/1 passed \| 0 failed/);
        const { code } = await child.status;
        assertEquals(code, 0, stdout.text + stderr.text);
      } finally {
        kill(child);
      }
    });
  });
}

Deno.test("several files at once, with --parallel, --shuffle and --fail-fast", async () => {
  const files = Object.fromEntries(
    [1, 2, 3, 4].map((number) => [`${number}_test.ts`, PROJECT["first_test.ts"]]),
  );
  await withProject({ ...PROJECT, ...files }, async (folder) => {
    const args = ["test", "-A", "--no-check", "--parallel", "--shuffle", "--fail-fast"];
    const { code, stdout } = await deno(folder, ...args).output();
    const text = new TextDecoder().decode(stdout);
    assertEquals(code, 0, text);
    assertStringIncludes(text, "5 passed");
    assert(!text.includes("FAILED"));
  });
});
