import { emulatedMachineName } from "../host/emulated_machine.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import type { ExitTrace, TracedExit } from "./exit_trace.ts";

/** The version of what a report's JSON has. */
export const REPORT_VERSION = 1;

const LINES_AROUND = 12;

/** All that a report shows. */
export interface TraceReport {
  readonly version: typeof REPORT_VERSION;
  /** The line of the test: `boot_sector_test.ts:12`. */
  readonly title: string;
  /** The name of the test, where it is known. */
  readonly test?: string;
  /** What it has failed with; undefined where it has not. */
  readonly failure?: string;
  /** When it was made, by ISO 8601. */
  readonly date: string;
  readonly mode: string;
  readonly cpus: number;
  /** Which KVM, where it is an emulated machine's. */
  readonly kvm?: string;
  /** How many exits there were. */
  readonly total: number;
  /** Those that are known. */
  readonly exits: readonly TracedExit[];
  readonly serial: string;
  /** Lines of source by file, each with the number of its first line. */
  readonly sources: Readonly<Record<string, readonly SourceExcerpt[]>>;
}

/** Some lines of a file. */
export interface SourceExcerpt {
  readonly first: number;
  readonly lines: readonly string[];
}

/** What is told of a test beside its machine. */
export interface Told {
  readonly title: string;
  readonly failure: string | undefined;
}

/** All that is known of a machine's run. */
export function traceReport(
  machine: StoppedCpu & { readonly mode: string },
  trace: ExitTrace,
  { title, failure }: Told,
): TraceReport {
  trace.finish(machine);
  const { exits } = trace;
  return {
    version: REPORT_VERSION,
    title,
    failure,
    date: new Date().toISOString(),
    mode: machine.mode,
    cpus: machine.machine.cpus.length,
    kvm: emulatedMachineName(),
    total: machine.log.total,
    exits,
    serial: machine.hasSerial ? machine.serial.text : "",
    sources: sourcesOf(machine, exits),
  };
}

function sourcesOf({ image }: StoppedCpu, exits: readonly TracedExit[]): TraceReport["sources"] {
  const wanted = new Map<string, Set<number>>();
  for (const { place } of exits) {
    if (place?.file === undefined || place.line === undefined) continue;
    const lines = wanted.get(place.file) ?? new Set();
    wanted.set(place.file, lines);
    for (let line = place.line - LINES_AROUND; line <= place.line + LINES_AROUND; line++) {
      lines.add(line);
    }
  }
  return Object.fromEntries([...wanted].map(([file, lines]) => {
    const excerpts: { first: number; lines: string[] }[] = [];
    for (const line of [...lines].sort((one, other) => one - other)) {
      const text = image.sourceText(file, line);
      if (text === undefined) continue;
      const current = excerpts.at(-1);
      if (current !== undefined && current.first + current.lines.length === line) {
        current.lines.push(text);
      } else excerpts.push({ first: line, lines: [text] });
    }
    return [file, excerpts];
  }));
}
