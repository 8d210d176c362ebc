import { permittedEnvironment } from "../../guest/cache_folder.ts";

/** The folder that reports of failing tests are written to: `vmexit test --report=DIR` sets it. */
export const REPORT_VARIABLE = "VMEXIT_REPORT";

/** Whether tests that pass have a report, too: `--report-all`. */
export const REPORT_ALL_VARIABLE = "VMEXIT_REPORT_ALL";

/** Which reports are written. */
export interface ReportsWanted {
  /** The folder that they go to; undefined where nobody asks for any. */
  readonly folder: string | undefined;
  /** Whether tests that pass have one, too. */
  readonly all: boolean;
}

let wanted: ReportsWanted | undefined;

/** What the environment asks for, which is read once: each boot wants to know it. */
export function reportsWanted(): ReportsWanted {
  return wanted ??= {
    folder: permittedEnvironment(REPORT_VARIABLE),
    all: permittedEnvironment(REPORT_ALL_VARIABLE) !== undefined,
  };
}

/** Asks for other reports from now on; for the environment's where nothing is given. */
export function wantReports(others?: ReportsWanted): void {
  wanted = others;
}
