import { hex } from "../../x86/hex.ts";
import { describeWalk } from "../../x86/paging/page_walk.ts";
import { exitRows, exitRuns } from "../report/exit_text.ts";
import type { Position } from "../postmortem/history.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import { statePage } from "../report/state_page.ts";
import { gdtText, idtText } from "./descriptor_tables.ts";
import type { DebuggedMachine } from "./debugged_machine.ts";

/** How many exits are shown where nobody says how many. */
const EXITS_SHOWN = 16;

interface Command {
  readonly arguments?: string;
  readonly what: string;
  run(context: Context): string;
}

/** What a command is about. */
export interface MonitorContext {
  readonly machine: DebuggedMachine;
  /** The CPU that gdb's user looks at. */
  readonly cpu: StoppedCpu;
  /** Where the guest stands in its past; undefined in the present. */
  readonly past: Position | undefined;
  /** What the test has failed with, where gdb is wanted for that. */
  readonly failure: string | undefined;
}

interface Context extends MonitorContext {
  readonly given: readonly string[];
}

const COMMANDS: Readonly<Record<string, Command>> = {
  help: { what: "these commands", run: help },
  state: {
    what: "where the guest is and how it came there: the failure page",
    run: ({ cpu }) => statePage(cpu),
  },
  failure: {
    what: "what the test has failed with",
    run: ({ failure }) =>
      failure ?? "the test has not failed: gdb was asked for by serveGdb or vmexit run",
  },
  registers: {
    what: "all registers, segments with their descriptors",
    run: ({ cpu }) => cpu.registers.dump(),
  },
  when: {
    what: "whether the guest stands in the present, or where in its past",
    run: ({ past, machine }) =>
      past === undefined
        ? `the present: behind exit ${machine.exitingCpu.log.total}`
        : `the past: ${past.steps} instruction${
          past.steps === 1 ? "" : "s"
        } behind exit ${past.exit} of ${machine.exitingCpu.log.total}`,
  },
  exits: { arguments: "[COUNT]", what: `the last exits (${EXITS_SHOWN})`, run: exits },
  gdt: { what: "the descriptors of the GDT", run: ({ cpu }) => gdtText(cpu) },
  idt: {
    what: "the gates of the IDT, in real mode the interrupt vectors",
    run: ({ cpu }) => idtText(cpu),
  },
  walk: { arguments: "ADDRESS", what: "the page tables' entries for a linear address", run: walk },
  answer: {
    arguments: "VALUE",
    what: "answers the read that nothing answers, so that the guest can go on",
    run({ machine, past, given }) {
      if (past !== undefined) {
        throw new TypeError("Cannot answer what has been: continue to the present first");
      }
      machine.answer(number(given[0]));
      return `answered with ${hex(number(given[0]))}`;
    },
  },
};

/** Carries out `monitor …` of gdb, and gives the text that its user reads. */
export function monitor(line: string, context: MonitorContext): string {
  const [name = "help", ...given] = line.trim().split(/\s+/).filter((word) => word !== "");
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) return `There is no command "${name}".\n${help()}`;
  try {
    return command.run({ ...context, given });
  } catch (error) {
    if (error instanceof RangeError || error instanceof TypeError) return error.message;
    throw error;
  }
}

function help(): string {
  const rows = Object.entries(COMMANDS).map(([name, command]) => ({
    usage: `monitor ${name}${command.arguments === undefined ? "" : ` ${command.arguments}`}`,
    what: command.what,
  }));
  const width = Math.max(...rows.map(({ usage }) => usage.length));
  return rows.map(({ usage, what }) => `${usage.padEnd(width)}  ${what}`).join("\n");
}

function exits({ machine, past, given: [count] }: Context): string {
  const records = machine.exitingCpu.log.records();
  const shown = exitRuns(records.filter(({ number }) => number <= (past?.exit ?? number))).slice(
    -(count === undefined ? EXITS_SHOWN : Number(number(count))),
  );
  if (shown.length === 0) return "no exits yet";
  return exitRows(shown, machine.exitingCpu.lastExit, machine.cpus.length > 1).join("\n");
}

function walk({ cpu, given: [address] }: Context): string {
  return describeWalk(cpu.linear.walk(number(address))).join("\n");
}

function number(text: string | undefined): bigint {
  if (text !== undefined && /^(0x[\da-f]+|\d+)$/i.test(text)) return BigInt(text);
  throw new RangeError(
    `Cannot read ${
      text === undefined ? "nothing" : JSON.stringify(text)
    } as a number: write 0x1000 or 4096`,
  );
}
