import { permittedEnvironment } from "../../guest/cache_folder.ts";

/** The folder that reports of failing tests are written to: `vmexit test --report=DIR` sets it. */
export const REPORT_VARIABLE = "VMEXIT_REPORT";

/** Whether tests that pass have a report, too: `--report-all`. */
export const REPORT_ALL_VARIABLE = "VMEXIT_REPORT_ALL";

/** The folder that reports go to; undefined where nobody asks for any. */
export function reportFolder(): string | undefined {
  return permittedEnvironment(REPORT_VARIABLE);
}

/** Whether all machines have one. */
export function reportsAll(): boolean {
  return permittedEnvironment(REPORT_ALL_VARIABLE) !== undefined;
}
