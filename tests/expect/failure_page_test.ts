import { assertEquals } from "@std/assert";
import { asm, boot, expect, hlt, type Machine, portOut } from "@vmexit/vmexit";
import { failureOf } from "./messages.ts";

/** The file and line of a stack's first frames. */
function framesOf(stack: string): string[] {
  return stack.split("\n    at ").slice(1).map((frame) => {
    const [, file, line] = /([^/(]+):(\d+):\d+\)?$/.exec(frame) ?? [];
    return `${file}:${line}`;
  });
}

/** The line of this file that is `below` lines below the call. */
function lineOfThisFile(below: number): string {
  const [, caller] = framesOf(new Error().stack!);
  const [file, line] = caller.split(":");
  return `${file}:${Number(line) + below}`;
}

const guest = asm`
  out 0x80, al
  hlt
`;

Deno.test("a failing matcher's stack begins at the line that called it", () => {
  using vm = boot(guest);
  const lines: [expected: string, call: () => void][] = [
    [
      lineOfThisFile(1),
      () => expect(vm).toExit([hlt()]),
    ],
    [
      lineOfThisFile(1),
      () => expect(vm).toHaveRegisters({ rax: 5 }),
    ],
    [
      lineOfThisFile(1),
      () => expect(vm).not.toHaveMemory(0x8000, [0]),
    ],
    [
      lineOfThisFile(1),
      () => expect(vm).not.toHaveFlags({ zf: false }),
    ],
    [
      lineOfThisFile(1),
      () => expect(vm).toRunOutOfTime(),
    ],
  ];
  for (const [expected, call] of lines) {
    assertEquals(framesOf(failureOf(call).stack!)[0], expected);
  }
});

function assertPrints(vm: Machine, text: string): void {
  expect(vm).toExit([portOut(0x81, text), hlt()]);
}

Deno.test("inside a test's own helper it is the helper's line, and the test's is the next", () => {
  using vm = boot(guest);
  const here = lineOfThisFile(1);
  const error = failureOf(() => assertPrints(vm, "x"));
  const [first, second] = framesOf(error.stack!);
  assertEquals([first.startsWith("failure_page_test.ts:"), first === here, second], [
    true,
    false,
    here,
  ]);
});

Deno.test("the stack is headed by the page, which is what reporters print", () => {
  using vm = boot(guest);
  const error = failureOf(() => expect(vm).toExit([hlt()]));
  assertEquals(error.stack!.startsWith(`AssertionError: ${error.message}\n    at `), true);
  assertEquals(error.name, "AssertionError");
  assertEquals(/lib\/(expect|machine)/.test(error.stack!), false);
});
