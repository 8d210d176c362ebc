import type { TraceReport } from "./trace_report.ts";

const MICROSECONDS = 1_000;

/**
 * A report as a trace that Perfetto's viewer and Chromium's `chrome://tracing` open (the Trace Event Format): a track for
 * each CPU, on which the guest runs from one exit to the next.
 */
export function perfettoTrace({ title, test, exits }: TraceReport): string {
  const PROCESS = 1;
  const names = [...new Set(exits.map(({ cpu }) => cpu))].map((cpu) => ({
    ph: "M",
    pid: PROCESS,
    tid: cpu,
    name: "thread_name",
    args: { name: `CPU ${cpu}` },
  }));
  const latest = new Map<number, number>();
  const events = exits.flatMap((exit, index) => {
    // What the CPUs have done between exits that were left out is not known.
    if (index > 0 && exit.number > exits[index - 1].number + 1) latest.clear();
    const ts = exit.time * MICROSECONDS;
    const begin = latest.get(exit.cpu);
    latest.set(exit.cpu, ts);
    const { number, cpu, text, answeredBy, description, place } = exit;
    const where = place?.symbol ?? place?.linear;
    return [
      ...begin === undefined ? [] : [{
        ph: "X",
        pid: PROCESS,
        tid: cpu,
        ts: begin,
        dur: ts - begin,
        name: "guest",
        args: { until: where },
      }],
      {
        ph: "i",
        s: "t",
        pid: PROCESS,
        tid: cpu,
        ts,
        name: text,
        args: { number, answeredBy, description, where },
      },
    ];
  });
  const process = { ph: "M", pid: PROCESS, name: "process_name", args: { name: test ?? title } };
  return JSON.stringify({ displayTimeUnit: "ns", traceEvents: [process, ...names, ...events] });
}
