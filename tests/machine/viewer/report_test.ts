import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import {
  asm,
  AssertionError,
  boot,
  expect,
  hlt,
  mmioWrite,
  portIn,
  portOut,
  UnhandledExitError,
} from "@vmexit/vmexit";
import { TextScreen } from "@vmexit/vmexit/devices";
import { wantReports } from "../../../lib/machine/viewer/reports_wanted.ts";
import type { TraceReport } from "../../../lib/machine/viewer/trace_report.ts";

/** Runs `body` with a folder for reports, and gives those that it has then, by name. */
function reported(body: (folder: string) => void, { all = false } = {}): Map<string, string> {
  const folder = Deno.makeTempDirSync({ prefix: "vmexit-report-" });
  wantReports({ folder, all });
  try {
    body(folder);
    return new Map(
      [...Deno.readDirSync(folder)].map((
        { name },
      ) => [name, Deno.readTextFileSync(`${folder}/${name}`)]),
    );
  } finally {
    wantReports();
    Deno.removeSync(folder, { recursive: true });
  }
}

/** The report among files, of which there is one. */
function reportIn(files: Map<string, string>): TraceReport {
  const [name, ...others] = [...files.keys()].filter((each) => /(?<!perfetto)\.json$/.test(each));
  assertEquals(others, []);
  return JSON.parse(files.get(name)!);
}

const HELLO = asm`
  bits 32
  mov esp, 0x8000
  mov edx, 0x3f8
  mov al, '<'
  out dx, al
  mov word [0xb8000], 0x0741
  push eax
  mov dword [0xd0000000], 5
  in al, 0x60
  mov [0x9000], al
last:
  out 0x80, al
  hlt
`;

/** A test of it that fails at its last exit but one. */
function fails(): string {
  using vm = boot(HELLO, { memory: "1M", devices: [new TextScreen()] });
  return assertThrows(
    () =>
      expect(vm).toExit([
        mmioWrite(0xd000_0000, [5, 0, 0, 0]),
        portIn(0x60).returns(7),
        portOut(0x80, 8),
        hlt(),
      ]),
    AssertionError,
  ).message;
}

Deno.test("a report has each exit with the registers and the memory that changed, its source, and who answered", () => {
  let message = "";
  const files = reported(() => message = fails());
  const report = reportIn(files);
  assertMatch(report.title, /report_test\.ts:\d+$/);
  assertMatch(message, /\n\nreport: .*report_test\.ts_\d+\.html$/);
  assertStringIncludes(report.failure!, "expected IO out 0x80 byte 0x8");
  assertEquals(report.exits.map(({ number, text, answeredBy }) => [number, text, answeredBy]), [
    [1, 'IO out 0x3f8 byte 0x3c "<"', "COM1"],
    [2, "MMIO write 0xd0000000 4 bytes 0x5", "transcript"],
    [3, "IO in 0x60 byte", "transcript"],
    [4, "IO out 0x80 byte 0x7", undefined],
  ]);
  const [first, second, third, fourth] = report.exits;
  assertEquals(first.registers.rsp, "0x8000");
  assertEquals(second.registers.rsp, "0x7ffc");
  assertEquals("rdx" in second.registers, false);
  assertEquals(second.memory, [
    { gpa: "0x7ffc", before: "00", after: "3c" },
    { gpa: "0xb8000", before: "00 00", after: "41 07" },
  ]);
  assertEquals(second.screen, "A");
  assertEquals([first.serial, second.serial], [0, 1]);
  assertEquals(third.value, "0x7");
  assertEquals(fourth.memory, [{ gpa: "0x9000", before: "00", after: "07" }]);
  assertEquals(fourth.place?.symbol, "last");
  assertEquals(fourth.place?.code[0].text, "out 0x80,al");
  const { file, line } = fourth.place!;
  const excerpt = report.sources[file!].find(({ first, lines }) =>
    first <= line! && line! < first + lines.length
  )!;
  assertEquals(excerpt.lines[line! - excerpt.first].trim(), "out 0x80, al");
});

Deno.test("each way of failing has one report, and a test that passes has none", () => {
  assertEquals(
    reported(() => {
      using vm = boot(asm`hlt`);
      vm.run();
    }).size,
    0,
  );
  const guest = asm`in al, 0x60`;
  for (
    const run of [
      (vm) => vm.run(),
      (vm) => [...vm.exits()],
      (vm) => vm.step(),
      (vm) => vm.call(0x1_0000),
    ] as ((vm: ReturnType<typeof boot>) => unknown)[]
  ) {
    let error: Error | undefined;
    const { failure, exits } = reportIn(reported(() => {
      using vm = boot(guest, { memory: "1M" });
      error = assertThrows(() => run(vm), Error);
    }));
    assertStringIncludes(error!.message, failure!);
    assertStringIncludes(error!.stack!, "\n\nreport: ");
    assertEquals(exits.at(-1)?.text, "IO in 0x60 byte");
  }
});

Deno.test("asked for all, tests that pass have one, too; the index has them all", () => {
  const files = reported(() => {
    using vm = boot(asm`hlt`);
    vm.run();
    using unused = boot(asm`hlt`);
    assertEquals(unused.hasRun, false);
  }, { all: true });
  const report = reportIn(files);
  assertEquals([report.failure, report.exits.map(({ text }) => text)], [undefined, ["HLT"]]);
  assertMatch(files.get("reports.js")!, /^add\(.*"total":1,.*\);\n$/);
});

Deno.test("asked for all, a machine that has failed has one report, and another if its guest goes on", () => {
  const names = (goesOn: boolean) =>
    [
      ...reported(() => {
        using vm = boot(asm`
        hlt
        hlt
      `);
        vm.run();
        assertThrows(() => expect(vm).toHaveRegisters({ al: 1 }), AssertionError);
        if (goesOn) vm.run();
      }, { all: true }).keys(),
    ].filter((name) => /^(?!index).*\.html$/.test(name));
  assertEquals(names(false).length, 1);
  assertEquals(names(true).length, 2);
});

Deno.test("a report is appended to its folder's list, however many there are", () => {
  const files = reported((folder) => {
    const lists = [1, 2, 3].map(() => {
      using vm = boot(asm`hlt`);
      vm.run();
      vm[Symbol.dispose]();
      return Deno.statSync(`${folder}/reports.js`).ino;
    });
    assertEquals(new Set(lists).size, 1);
  }, { all: true });
  assertEquals(files.get("reports.js")!.trimEnd().split("\n").length, 3);
});

Deno.test("nothing of a guest or a test ends an element of the page", () => {
  const [page] = [...reported(() => {
    using vm = boot(
      asm`
      mov dx, 0x3f8
      mov esi, text
      mov ecx, 20
      rep outsb
      out 0x80, al
      text: db "</script><script>1//"
    `,
      { memory: "1M" },
    );
    assertThrows(() => vm.run(), UnhandledExitError);
  })].filter(([name]) => name.endsWith(".html") && name !== "index.html").map(([, text]) => text);
  assertEquals(page.match(/<script/g)?.length, 2);
  assertEquals(page.match(/<\/script/g)?.length, 2);
});

Deno.test("a report has so many exits at most, and says how many there were; registers behind a gap are what they were", () => {
  const files = reported(() => {
    using vm = boot(
      asm`
      mov ecx, 2200
    again:
      cmp ecx, 1800
      jne same
      mov ebx, 7
    same:
      out 0x80, al
      loop again
      out 0x81, al
    `,
      { memory: "64K" },
    );
    vm.ports.on(0x80, { write() {} });
    assertThrows(() => vm.run(), UnhandledExitError);
  });
  const { total, exits } = reportIn(files);
  assertEquals([total, exits.length], [2_201, 1_201]);
  const [before, behind, next] = exits.slice(199);
  assertEquals([exits[0].number, before.number, behind.number, exits.at(-1)!.number], [
    1,
    200,
    1_201,
    2_201,
  ]);
  const { traceEvents } = JSON.parse(
    [...files].find(([name]) => name.endsWith(".perfetto.json"))![1],
  );
  const runs = (traceEvents as TraceEvent[]).filter(({ ph }) => ph === "X");
  assertEquals(
    runs.length,
    exits.length - 2,
    "nothing is said of what lies between exits that were left out",
  );
  assertEquals([behind.registers.rbx, behind.registers.rdx], ["0x7", "0x0"]);
  assertEquals("rbx" in next.registers, false);
});

Deno.test("a triple fault shows the CPU before the instruction that failed", () => {
  const { exits } = reportIn(reported(() => {
    using vm = boot(
      asm`
      bits 64
      mov esi, 5
      out 0x80, al
      mov edi, 6
    fails:
      ud2
    `,
      { memory: "1M", ports: { 0x80: { write() {} } } },
    );
    assertThrows(() => vm.run());
  }));
  const [, last] = exits;
  assertEquals([last.reason, last.place?.symbol, last.place?.code[0].text], [
    "SHUTDOWN",
    "fails",
    "ud2",
  ]);
  assertEquals([last.registers.rdi, last.registers.rsi], ["0x6", undefined]);
  assertStringIncludes(last.note!, "as it was before the instruction that failed");
});

Deno.test("a folder that cannot be written is told, and the test's failure is not lost", () => {
  const file = Deno.makeTempFileSync();
  wantReports({ folder: `${file}/below`, all: false });
  try {
    const message = fails();
    assertStringIncludes(message, "expected IO out 0x80 byte 0x8");
    assertMatch(
      message,
      /\n\nno report: Cannot write the report of .*report_test\.ts:\d+ to .*\/below: /,
    );
  } finally {
    wantReports();
    Deno.removeSync(file);
  }
});

/** An event of the Trace Event Format, as far as its kinds are used here. */
interface TraceEvent {
  readonly ph: string;
  readonly name: string;
  readonly pid: number;
  readonly tid?: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly s?: string;
  readonly args: Readonly<Record<string, unknown>>;
}

/** What Perfetto's importer wants of an event: a name and a process; of those in time a thread, and microseconds. */
function checkTraceEvent({ ph, name, pid, tid, ts, dur, s, args }: TraceEvent): void {
  assert(["M", "X", "i"].includes(ph) && name !== "" && Number.isInteger(pid));
  if (ph === "M") return assertMatch(args.name as string, /./);
  assert(Number.isInteger(tid) && ts! >= 0);
  if (ph === "X") assert(dur! >= 0);
  else assert(["g", "p", "t"].includes(s!));
}

Deno.test("Perfetto's trace has a track for each CPU, on which the guest runs between its exits", () => {
  const files = reported(() => {
    using vm = boot(
      asm`
      out 0x80, al
      hlt
    second:
      out 0x81, al
      out 0x82, al
      hlt
    `,
      { cpus: [{}, { entry: "second" }] },
    );
    vm.ports.on([0x80, 0x81], { write() {} });
    assertThrows(() => vm.run(), UnhandledExitError);
  });
  const [, text] = [...files].find(([name]) => name.endsWith(".perfetto.json"))!;
  const { traceEvents } = JSON.parse(text) as { traceEvents: TraceEvent[] };
  for (const event of traceEvents) checkTraceEvent(event);
  const tracks = traceEvents.filter(({ name }) => name === "thread_name");
  assertEquals(tracks.length, 2);
  const of = (tid: number, ph: string) =>
    traceEvents.filter((each) => each.tid === tid && each.ph === ph);
  assertEquals(of(1, "i").map(({ name }) => name), [
    "IO out 0x81 byte 0x0",
    "IO out 0x82 byte 0x0",
  ]);
  assertEquals(of(1, "X").length, 1);
});

const CHROMIUM = "chromium";
const hasChromium = await new Deno.Command(CHROMIUM, {
  args: ["--version"],
  stdout: "null",
  stderr: "null",
}).output()
  .then(({ success }) => success, () => false);

/** The page of a test that fails, as a browser has it once `script` has run behind the page's own. */
async function browsed(hash: string, script = ""): Promise<string> {
  const files = reported(fails);
  const name = [...files.keys()].find((each) => /^(?!index).*\.html$/.test(each))!;
  return await dumped(files, name, { hash, script });
}

async function dumped(
  files: ReadonlyMap<string, string>,
  name: string,
  { hash = "", script = "" },
): Promise<string> {
  const folder = Deno.makeTempDirSync({ prefix: "vmexit-report-" });
  try {
    for (const [each, text] of files) Deno.writeTextFileSync(`${folder}/${each}`, text);
    Deno.writeTextFileSync(
      `${folder}/page.html`,
      files.get(name)!.replace("</body>", `<script>{${script}}</script></body>`),
    );
    const { stdout } = await new Deno.Command(CHROMIUM, {
      args: [
        ...["--headless", "--no-sandbox", "--disable-gpu", `--user-data-dir=${folder}/profile`],
        ...["--virtual-time-budget=2000", "--dump-dom", `file://${folder}/page.html${hash}`],
      ],
      stderr: "null",
    }).output();
    return new TextDecoder().decode(stdout);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test({
  name: "a browser shows the exit that a link names (needs chromium)",
  ignore: !hasChromium,
  fn: async () => {
    const dom = await browsed("#exit=2");
    assertMatch(
      dom,
      /<li[^>]*aria-selected="true"[^>]*><span[^>]*>2<\/span> MMIO write 0xd0000000 4 bytes 0x5/,
    );
    assertEquals(dom.match(/<li /g)?.length, 4);
    assertMatch(dom, /<main id="detail"><h1>2 {2}MMIO write 0xd0000000 4 bytes 0x5<\/h1>/);
    assertMatch(
      dom,
      /<td>0xb8000<\/td><td class="faint">00 00<\/td><td class="changed">41 07<\/td>/,
    );
    assertMatch(dom, /<span class="here">[^<]*mov dword \[0xd0000000\], 5/);
    assertMatch(dom, /<pre class="screen">A<\/pre>/);
    assertMatch(dom, /<span id="written">&lt;<\/span>/);
    assertMatch(dom, /IO in 0x60 byte → 0x7/);
    assertEquals(dom.match(/<rect /g)?.length, 4);
  },
});

Deno.test({
  name: "the list tells tests that fail from those that pass by their colours (needs chromium)",
  ignore: !hasChromium,
  fn: async () => {
    const files = reported(() => {
      fails();
      using vm = boot(asm`hlt`);
      vm.run();
    }, { all: true });
    const script = `
      for (const row of document.querySelectorAll("tr")) {
        const { color } = getComputedStyle(row.cells[1]);
        row.title = (row.className || "failed") + " " + color;
      }`;
    const dom = await dumped(files, "index.html", { script });
    assertEquals([...dom.matchAll(/<tr[^>]*title="([^"]*)"/g)].map(([, title]) => title).sort(), [
      "failed rgb(179, 38, 30)",
      "passed rgb(27, 127, 59)",
    ]);
  },
});

Deno.test({
  name: "the page is used by keys, clicks and a search (needs chromium)",
  ignore: !hasChromium,
  fn: async () => {
    const dom = await browsed(
      "#exit=2",
      `
      const seen = [];
      const see = (what) => seen.push([what, location.hash, document.querySelector("#detail h1").textContent]);
      const press = (key) => dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));
      for (const key of ["j", "ArrowUp", "Home", "k", "End", "j"]) { press(key); see(key); }
      document.querySelector("#exits li").click();
      see("click");
      document.querySelector('#timeline rect[data-index="2"]').dispatchEvent(new MouseEvent("click"));
      see("timeline");
      press("/");
      see(document.activeElement.id);
      const search = document.getElementById("search");
      search.value = "0x80 last";
      search.dispatchEvent(new InputEvent("input"));
      see(document.getElementById("found").textContent);
      const theme = () => document.documentElement.dataset.theme;
      const before = theme();
      document.getElementById("theme").click();
      see([before, theme()].sort().join());
      location.hash = "#exit=1";
      setTimeout(() => {
        see("link" + document.querySelectorAll("#exits li").length);
        const shown = document.createElement("pre");
        shown.id = "seen";
        shown.textContent = JSON.stringify(seen);
        document.body.append(shown);
      }, 100);
      `,
    );
    const [, text] = /<pre id="seen">(.*?)<\/pre>/.exec(dom)!;
    const [first, second, third, fourth] = [
      'IO out 0x3f8 byte 0x3c "<"',
      "MMIO write 0xd0000000 4 bytes 0x5",
      "IO in 0x60 byte → 0x7",
      "IO out 0x80 byte 0x7",
    ].map((words, index) => [`#exit=${index + 1}`, `${index + 1}  ${words}`]);
    assertEquals(JSON.parse(text.replaceAll("&lt;", "<")), [
      ["j", ...third],
      ["ArrowUp", ...second],
      ["Home", ...first],
      ["k", ...first],
      ["End", ...fourth],
      ["j", ...fourth],
      ["click", ...first],
      ["timeline", ...third],
      ["search", ...third],
      ["1 of 4", ...fourth],
      ["dark,light", ...fourth],
      ["link4", ...first],
    ]);
  },
});
