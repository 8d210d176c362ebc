import { AssertionError, failurePage } from "../../expect/failure_page.ts";
import { expect } from "../../expect/expect.ts";
import { TranscriptCursor } from "../../expect/transcript_cursor.ts";
import { asm } from "../../guest/asm.ts";
import { describeExit } from "../../kvm/exits/describe_exit.ts";
import { boot } from "../../machine/boot/boot.ts";
import type { Machine } from "../../machine/machine.ts";
import type { ObservedExit } from "../../machine/run/run_options.ts";
import { TimeLimitError, UnhandledExitError } from "../../machine/run/run_errors.ts";
import { exitRow, exitTableHead, wholeRow } from "./exit_table.ts";
import { finalState, placeOf } from "./final_state.ts";
import type { Scenario } from "./scenario.ts";
import type { Style } from "./style.ts";
import { hex } from "../../x86/hex.ts";

/** Where the demo's text goes, and how it looks. */
export interface Report {
  /** Takes one line, or several, at once: rows come as exits happen. */
  readonly write: (lines: string) => void;
  /** How parts of it are set off. */
  readonly style: Style;
}

/** How wide a heading is: what a terminal shows at the least. */
const WIDTH = 79;

/** What a heading has beside title, rule and name. */
const RULE_ENDS = "── ".length + " ".length + " ".length + " ──".length;

/** Something that is not as the scenario says, with the page that explains it. */
interface Mismatch {
  readonly what: string;
  readonly page: string;
}

/**
 * Boots a scenario's guest and reports its exits as they happen, what it left, and whether all of that is as it must
 * be.
 *
 * @returns Whether it is.
 * @throws What {@linkcode boot} throws, and {@linkcode Machine.exits} but for the guest's own failures.
 */
export function runScenario(scenario: Scenario, { write, style }: Report): boolean {
  write(`\n${heading(scenario, style)}`);
  write(`${scenario.sentence}\n`);
  using vm = bootScenario(scenario);
  const mismatches = [...runToEnd(vm, scenario, { write, style }), ...checkEnd(vm, scenario)];
  for (const line of finalState(vm, scenario)) write(line);
  write("");
  for (const { page } of mismatches) write(`${indented(page)}\n`);
  const exits = `${vm.log.total} exit${vm.log.total === 1 ? "" : "s"}`;
  write(
    mismatches.length === 0 ? style.good(`✓ ${scenario.name}: all matched, ${exits}`) : style.bad(
      `✗ ${scenario.name}: did not match: ${mismatches.map(({ what }) => what).join(", ")}`,
    ),
  );
  return mismatches.length === 0;
}

function heading({ title, name }: Scenario, { strong, faint }: Style): string {
  const rule = "─".repeat(Math.max(2, WIDTH - RULE_ENDS - title.length - name.length));
  return `${faint("──")} ${strong(title)} ${faint(`${rule} ${name} ──`)}`;
}

function bootScenario({ guest, options, prepare, ports = [], mmio = [] }: Scenario): Machine {
  using cleanup = new DisposableStack();
  const vm = cleanup.use(boot(guest instanceof URL ? asm.file(guest) : guest, options));
  for (const [range, handler] of ports) vm.ports.on(range, handler);
  for (const [range, handler] of mmio) vm.mmio.on(range, handler);
  prepare?.(vm);
  cleanup.move();
  return vm;
}

/**
 * Runs the guest and compares its exits, each when it happens: the page about a wrong one shows the guest where it
 * caused it.
 */
function runToEnd(vm: Machine, scenario: Scenario, { write, style }: Report): Mismatch[] {
  const cursor = new TranscriptCursor(scenario.exits);
  const mismatches: Mismatch[] = [];
  const offer = ({ exit, number, fault }: ObservedExit) => {
    if (mismatches.length > 0 || cursor.offer(exit, number, fault).matches) return;
    const received = fault?.text ?? describeExit(exit);
    mismatches.push(exitMismatch(vm, `exit ${number}`, cursor.expected, received));
  };
  write(style.faint(exitTableHead()));
  let end = "";
  try {
    for (const observed of vm.exits()) {
      write(exitRow(observed));
      offer(observed);
      end = observed.fault === undefined ? observed.exit.reason : "fault";
      // Whether that is its end is compared below.
      if (end === "SHUTDOWN" || end === "fault") break;
    }
  } catch (error) {
    if (error instanceof TimeLimitError) {
      write(wholeRow("–", `time limit of ${error.milliseconds} ms, at rip ${hex(error.rip)}`));
      end = "time limit";
    } else if (error instanceof UnhandledExitError) {
      mismatches.push({ what: "an exit that nobody answers", page: error.message });
      return mismatches;
    } else throw error;
  }
  if (mismatches.length === 0 && !cursor.isDone) {
    mismatches.push(exitMismatch(vm, "exits", cursor.expected, "nothing more"));
  }
  if (end !== scenario.end) mismatches.push(exitMismatch(vm, "end", scenario.end, end));
  return mismatches;
}

function exitMismatch(
  vm: Machine,
  what: string,
  expected: string,
  received: string,
): Mismatch {
  const comparison = { what, expected: expected || "no exit", received, matches: false };
  const result = { call: "toExit(…)", matches: false, comparisons: () => [comparison] };
  return { what, page: failurePage(vm, result, false) };
}

/** Asks the matchers about what the guest has left. */
function checkEnd(vm: Machine, scenario: Scenario): Mismatch[] {
  const { output = [], registers, memory = [] } = scenario;
  const checks: (readonly [what: string, check: () => void])[] = [
    ...output.map(([port, text]) =>
      [`output of port ${hex(port)}`, () => expect(vm).toHavePortOutput(port, text)] as const
    ),
    ...registers === undefined
      ? []
      : [["registers", () => expect(vm).toHaveRegisters(registers)] as const],
    ...memory.map((each) => {
      const { address, text } = placeOf(vm, each);
      return [
        text,
        () =>
          each.linear
            ? expect(vm).toHaveLinearMemory(address, each.content)
            : expect(vm).toHaveMemory(address, each.content),
      ] as const;
    }),
  ];
  return checks.flatMap(([what, check]) => {
    try {
      check();
      return [];
    } catch (error) {
      if (!(error instanceof AssertionError)) throw error;
      return [{ what, page: error.message }];
    }
  });
}

function indented(page: string): string {
  return page.split("\n").map((line) => `  ${line}`.trimEnd()).join("\n");
}
