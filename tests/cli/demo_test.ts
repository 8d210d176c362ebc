import { asm, hlt, portIn, portOut, shutdown } from "@vmexit/vmexit";
import { demo, type DemoOptions, kvmInUse, processorAndKernel } from "../../lib/cli/demo.ts";
import type { Scenario } from "../../lib/cli/demo/scenario.ts";
import { scenarios } from "../../guests/demo/scenarios.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

/** Runs the demo, and returns its exit code and its text. */
async function run(args: string[], options: DemoOptions = {}) {
  const lines: string[] = [];
  const errors: string[] = [];
  const code = await demo(args, {
    colours: false,
    write: (text) => lines.push(text),
    writeError: (text) => errors.push(text),
    ...options,
  });
  return { code, text: lines.join("\n"), errors: errors.join("\n") };
}

/** A guest that sends one character to port 0x10, as a scenario that matches. */
const sendsX: Scenario = {
  name: "sends-x",
  title: "A guest of this test",
  sentence: "It sends one character.",
  guest: asm`
    mov al, 'X'
    out 0x10, al
    mov byte [0x800], 7
    hlt
  `,
  options: {},
  ports: [[0x10, { name: "sink", write() {} }]],
  exits: [portOut(0x10, "X"), hlt()],
  end: "HLT",
  output: [[0x10, "X"]],
  registers: { al: 0x58 },
  memory: [{ what: "a seven", at: 0x800, content: [7] }],
};

Deno.test("the demo boots all its guests, and exits 0 because all matched", async () => {
  const { code, text, errors } = await run([]);

  assertEquals(errors, "");
  assertEquals(code, 0, text);
  assertMatch(text, /^KVM {3}(this machine's own|nested in QEMU .*no real timing)$/m);
  for (const { name, title } of scenarios) {
    assertMatch(text, new RegExp(`^── ${title} ─+ ${name} ──$`, "m"));
    assertMatch(text, new RegExp(`^✓ ${name}: all matched, \\d+ exits?$`, "m"));
  }
  assertEquals(text.split("\n").at(-1), `${scenarios.length} guests: all matched`);
  assert(text.split("\n").every((line) => line.length <= 80), "fits a terminal of 80 columns");
});

Deno.test("each exit is a row with what it was and what answered it", async () => {
  const { text } = await run(["real-mode", "own-tables", "endless-loop"]);
  const rows = text.split("\n").map((line) => line.trim().split(/\s{2,}/).join(" | "));

  assert(rows.includes("# | kind | port/address | size | data | answered by"));
  assert(rows.includes('1 | IO out | 0x1000 | 1 | 0x48 "H" | console'));
  assert(rows.includes("23 | IO in | 0x1000 | 1 | 0xaa | console"));
  assert(rows.includes("24 | MMIO write | 0x2000 | 1 | 0xaa | device"));
  assert(rows.includes("25 | MMIO read | 0x2000 | 1 | 0xbb | device"));
  assert(rows.includes("26 | HLT"));
  assert(rows.includes("27 | MMIO write | 0x8000 | 8 | 0x8877665544332211 | device"));
  assert(rows.includes("physical 0x6000 | 11 22 33 44 | and where they are"));
  assert(rows.some((row) => /^– \| time limit of \d+ ms, at rip 0x50\d$/.test(row)), text);
});

Deno.test("the greetings are what the guests sent, byte by byte", async () => {
  for (const [name, greeting] of [["real-mode", "Real"], ["own-tables", "Long"]]) {
    const { text } = await run([name]);
    const sent = [...text.matchAll(/^ +\d+ {2}IO out {6}0x1000 {11}1 {2}0x(..)/gm)]
      .map(([, byte]) => String.fromCharCode(parseInt(byte, 16))).join("");
    assertEquals(sent, `Hello from ${greeting} Mode!\n`);
    assertStringIncludes(text, `port 0x1000  Hello from ${greeting} Mode!\n`);
  }
  const { text } = await run([], {
    scenarios: [{ ...sendsX, output: [[0x10, "something else"]] }],
  });
  assertMatch(text, /^ {4}port 0x10 {2}X$/m);
});

Deno.test("a row is written when its exit happens, not at the end", async () => {
  const seen: string[] = [];
  const rowsBefore: number[] = [];
  const scenario: Scenario = {
    ...sendsX,
    guest: asm`
      out 0x10, al
      out 0x10, al
      out 0x10, al
      hlt
    `,
    ports: [[0x10, {
      write: () => rowsBefore.push(seen.filter((line) => line.includes("IO out")).length),
    }]],
  };

  await run([], { scenarios: [scenario], write: (text) => seen.push(text) });

  assertEquals(rowsBefore, [0, 1, 2]);
});

Deno.test("a guest without its expected memory is ✗ with the failure page, and the demo exits 1", async () => {
  const wrong: Scenario = {
    ...sendsX,
    name: "wrong",
    memory: [{ what: "an eight", at: 0x800, content: [8] }],
  };
  const { code, text } = await run([], { scenarios: [wrong, sendsX] });

  assertEquals(code, 1);
  assertMatch(text, /^✗ wrong: did not match: physical 0x800$/m);
  assertMatch(text, /^ {2}expect\(vm\)\.toHaveMemory\(0x800, /m);
  assertMatch(text, /^✓ sends-x: all matched, 2 exits$/m); // the others run all the same
  assertEquals(text.split("\n").at(-1), "2 guests: 1 did not match: wrong");
});

Deno.test("every part of a scenario can fail it", async () => {
  const wrong: [Partial<Scenario>, RegExp][] = [
    [{ exits: [portOut(0x10, "Y"), hlt()] }, /: exit 1$/],
    [{ exits: [portOut(0x10, "X")] }, /: exit 2$/],
    [{ exits: [portOut(0x10, "X"), hlt(), hlt()] }, /: exits$/],
    [{ exits: [] }, /: exit 1$/],
    [{ end: "SHUTDOWN" }, /: end$/],
    [{ end: "time limit" }, /: end$/],
    [{ output: [[0x10, "Y"]] }, /: output of port 0x10$/],
    [{ registers: { al: 1 } }, /: registers$/],
    [{ ports: [] }, /^$/],
  ];
  for (const [change, expected] of wrong) {
    const { code, text } = await run([], { scenarios: [{ ...sendsX, ...change }] });
    const verdict = /^✗ sends-x: did not match.*$/m.exec(text)?.[0] ?? "";
    assertMatch(verdict, expected, JSON.stringify(change));
    assertEquals(code, verdict === "" ? 0 : 1);
  }
});

Deno.test("a guest that runs over its time, or reads what nobody answers, is ✗", async () => {
  const endless: Scenario = {
    ...sendsX,
    name: "endless",
    guest: asm`jmp $`,
    options: { timeout: 10 },
    exits: [shutdown()],
  };
  const unanswered: Scenario = {
    ...sendsX,
    name: "unanswered",
    guest: asm`in al, 0x10`,
    exits: [portIn(0x10)],
  };
  const { code, text } = await run([], { scenarios: [endless, unanswered] });

  assertEquals(code, 1);
  assertMatch(text, /^✗ endless: did not match: exits, end, /m);
  assertMatch(text, /^✗ unanswered: did not match: an exit that nobody answers/m);
  assertMatch(text, /^ +1 {2}IO in +0x10 +1 +nobody$/m);
});

Deno.test("names choose guests, and --list lists them", async () => {
  const chosen = await run(["garbage"]);
  assertEquals(chosen.code, 0);
  assertMatch(chosen.text, /1 guest: all matched$/);

  const list = await run(["--list"]);
  assertEquals(list.code, 0);
  assertEquals(
    list.text.split("\n").map((line) => line.split(" ")[0]),
    scenarios.map(({ name }) => name),
  );
});

Deno.test("an unknown name or option is an error with those there are, and nothing is booted", async () => {
  const name = await run(["real-mode", "reel-mode"]);
  assertEquals([name.code, name.text], [64, ""]);
  assertStringIncludes(name.errors, 'Cannot boot "reel-mode": the demo has no guest of that name');
  assertStringIncludes(name.errors, "real-mode, own-tables, ");

  const option = await run(["--all"]);
  assertEquals([option.code, option.text], [64, ""]);
  assertStringIncludes(option.errors, "Cannot use the option --all");
});

Deno.test("verdicts have colours only where they are wanted", async () => {
  const plain = (await run([], { scenarios: [sendsX] })).text;
  const coloured = (await run([], { scenarios: [sendsX], colours: true })).text;

  assert(!plain.includes("\x1b"));
  assertStringIncludes(coloured, "\x1b[32m✓ sends-x: all matched, 2 exits\x1b[0m");
  // deno-lint-ignore no-control-regex -- escape sequences begin with one.
  assertEquals(coloured.replaceAll(/\x1b\[\d+m/g, ""), plain);
});

Deno.test("a nested KVM is labelled with its machine, and with what it is not good for", () => {
  assertEquals(kvmInUse("qemu-svm"), "nested in QEMU (qemu-svm): real exits, no real timing");
  assertEquals(kvmInUse("bochs-vmx"), "nested in Bochs (bochs-vmx): real exits, no real timing");
  assertEquals(kvmInUse("x"), "nested in an emulated machine (x): real exits, no real timing");
});

Deno.test("this machine's own KVM is called so", () => {
  assertEquals(kvmInUse(""), "this machine's own");
});

Deno.test("the processor has its vendor and the kernel its version", async () => {
  assertMatch(await processorAndKernel(), /^\S.*, Linux \d+\.\d+/);
});
