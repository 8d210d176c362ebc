import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { differences } from "../../lib/cli/second_opinion.ts";
import type { TracedExit } from "../../lib/machine/viewer/exit_trace.ts";
import type { TraceReport } from "../../lib/machine/viewer/trace_report.ts";
import { start, withProject } from "./project.ts";

const MOD = import.meta.resolve("../../mod.ts");

const exit = (number: number, text: string, reason = "IO"): TracedExit => ({
  number,
  cpu: 0,
  reason,
  text,
  time: 0,
  registers: {},
  walk: [],
  memory: [],
  serial: 0,
});

const report = (exits: readonly TracedExit[], failure?: string): TraceReport => ({
  version: 1,
  title: "a_test.ts:7",
  failure,
  date: "2026-01-01T00:00:00.000Z",
  mode: "real",
  cpus: 1,
  total: exits.length,
  exits,
  serial: "",
  sources: {},
});

const opinion = (
  name: string,
  outcome: string,
  exits: readonly TracedExit[],
  failure?: string,
) => ({
  name,
  code: 0,
  outcomes: new Map([["./a_test.ts: a", outcome]]),
  reports: new Map([["a_test.ts_7", report(exits, failure)]]),
});

const HELLO = [exit(1, "IO out 0x80 byte 0x1"), exit(2, "HLT", "HLT")];

const CASES: readonly [
  what: string,
  other: ReturnType<typeof opinion>,
  said: string[][],
][] = [
  ["the same", opinion("two", "passed", HELLO), []],
  ["what ran on one alone", opinion("two", "skipped", HELLO), []],
  [
    "steps, which are the test's own",
    opinion("two", "passed", [exit(1, "DEBUG", "DEBUG"), ...HELLO]),
    [],
  ],
  ["another outcome", opinion("two", "failed", HELLO), [["one: passed", "two: failed"]]],
  [
    "another exit",
    opinion("two", "passed", [exit(1, "SHUTDOWN", "SHUTDOWN")], "The guest shut down\n\npage"),
    [
      ["one: exit 1 IO out 0x80 byte 0x1", "two: exit 1 SHUTDOWN (The guest shut down)"],
    ],
  ],
  [
    "the manuals' rule, where the page has one",
    opinion(
      "two",
      "passed",
      [exit(1, "SHUTDOWN", "SHUTDOWN")],
      "The guest shut down\n\nwhat happened\n    #GP(0) at 0x10: offset\n      0x20 lies outside\n    more\nguest at",
    ),
    [[
      "one: exit 1 IO out 0x80 byte 0x1",
      "two: exit 1 SHUTDOWN (#GP(0) at 0x10: offset 0x20 lies outside)",
    ]],
  ],
  ["an exit less", opinion("two", "passed", HELLO.slice(0, 1)), [[
    "one: exit 2 HLT",
    "two: no exit 2",
  ]]],
];

for (const [what, other, said] of CASES) {
  Deno.test(`a second opinion: ${what}`, () => {
    assertEquals(
      differences(opinion("one", "passed", HELLO), other).map((each) => each.said),
      said,
    );
  });
}

const PROJECT = {
  "deno.json": `{ "imports": { "@vmexit/vmexit": "${MOD}" } }`,
  "limit_test.ts": `import { asm, boot } from "@vmexit/vmexit";
Deno.test("both agree", () => {
  using vm = boot(asm\`hlt\`);
  vm.run();
});
Deno.test("a limit that QEMU does not look at", () => {
  using vm = boot(asm\`
    bits 32
    lgdt [gdtr]
    mov eax, 0x10
    mov ds, ax
    mov al, [0x20]
    hlt
  gdt: dq 0, 0x00cf9a000000ffff, 0x004092000000000f
  gdtr: dw 23
    dd gdt
  \`, { memory: "1M", strict: false });
  vm.run();
});
`,
};

Deno.test("vmexit test --second-opinion tells what QEMU lets through, and Bochs does not", () =>
  withProject(PROJECT, async (folder) => {
    const { code, stdout } = await start(folder, "test", "--no-check", "--second-opinion").output();
    assertEquals(code, 1);
    assertStringIncludes(
      stdout,
      "second opinion: 2 tests ran on qemu-svm and on bochs-vmx; they differ in 2",
    );
    assertStringIncludes(
      stdout,
      "a limit that QEMU does not look at\n    qemu-svm: passed\n    bochs-vmx: failed\n",
    );
    assertMatch(
      stdout,
      /qemu-svm: exit 1 HLT\n {4}bochs-vmx: exit 1 SHUTDOWN \(#GP\(0\) at 0008:1000e, .*: DS = 0x0010 has base 0x0, limit 0x0f; offset 0x20 lies outside\)/,
    );
  }));
