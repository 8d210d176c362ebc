import { dirname, join } from "node:path";
import { DEFAULT_GUEST_COVERAGE } from "./guest_coverage.ts";

const COVERAGE_THRESHOLD = "--coverage-threshold";

/** The options of `deno test` whose value is the next argument (`deno test --help`); all others have it after `=`. */
const WITH_VALUE: ReadonlySet<string> = new Set([
  "--cert",
  "--conditions",
  "--config",
  "-c",
  COVERAGE_THRESHOLD,
  "--ext",
  "--filter",
  "--gdb",
  "--import-map",
  "--inspect-publish-uid",
  "--junit-path",
  "--location",
  "--log-level",
  "-L",
  "--min-dep-age",
  "--node-modules-linker",
  "--preload",
  "--related",
  "--repeats",
  "--reporter",
  "--require",
  "--retry",
  "--seed",
  "--shard",
]);

/** Options that decide how modules are found, so that what looks for them must have them too. */
const RESOLUTION =
  /^(--config|-c|--no-config|--import-map|--lock|--no-lock|--frozen.*|--node-modules-dir|--node-modules-linker|--vendor|--no-remote|--no-npm|--cert|--conditions|--reload|-r|--cached-only|--unstable-.*)(=|$)/;

const PERMISSION =
  /^(-[ARWINESP]|--allow-.*|--deny-.*|--permission-set|--ignore-(env|read)|--no-prompt)(=|$)/;

/** The folder of reports where `--report` names none. */
const DEFAULT_REPORT = "vmexit-report";
const DEFAULT_COVERAGE = "coverage";

/** The arguments of `deno test`, told apart. */
export interface TestArguments {
  /** Options with their values, without those named below. */
  options: string[];
  /** Files, folders and patterns. */
  paths: string[];
  /** What stands after `--`. */
  rest: string[];
  /** The value of `--junit-path`. */
  junitPath?: string;
  /** The folder of `--coverage`. */
  coverage?: string;
  /** The value of `--coverage-threshold`. */
  coverageThreshold?: string;
  /** The file of `--guest-coverage`, which is vmexit's own. */
  guestCoverage?: string;
  /** The value of `--gdb`, vmexit's own: which tests wait for gdb where they fail. */
  gdb?: string;
  /** Whether it is told where the time goes: `--timing`, vmexit's own. */
  timing: boolean;
  /** The folder of `--report`, vmexit's own. */
  report?: string;
  /** Whether tests that pass have reports, too: `--report-all`. */
  reportAll: boolean;
  /** Whether only the raw coverage data are wanted. */
  rawCoverage: boolean;
  /** All of them but `--junit-path`, as typed. */
  others: string[];
  /** Whether any permission is said. */
  permissions: boolean;
  /** The options that decide how modules are found. */
  resolution: string[];
}

/**
 * Tells the arguments of `deno test` apart, as far as it matters who gets them.
 *
 * @param args As typed.
 * @returns The parts.
 */
export function testArguments(args: readonly string[]): TestArguments {
  const end = args.indexOf("--");
  const own = end < 0 ? args : args.slice(0, end);
  const parsed: TestArguments = {
    options: [],
    paths: [],
    rest: end < 0 ? [] : args.slice(end + 1),
    reportAll: false,
    timing: false,
    rawCoverage: false,
    others: [],
    permissions: false,
    resolution: [],
  };
  for (let index = 0; index < own.length; index++) {
    const arg = own[index];
    if (!arg.startsWith("-")) {
      parsed.paths.push(arg);
      parsed.others.push(arg);
      continue;
    }
    const equals = arg.indexOf("=");
    const name = equals < 0 ? arg : arg.slice(0, equals);
    const words = equals < 0 && WITH_VALUE.has(name) ? [arg, own[++index] ?? ""] : [arg];
    const value = equals < 0 ? words[1] : arg.slice(equals + 1);
    if (name === "--junit-path") {
      parsed.junitPath = value;
      continue;
    }
    if (name === "--timing") {
      parsed.timing = true;
      continue;
    }
    if (name === "--guest-coverage") {
      parsed.guestCoverage = value || DEFAULT_GUEST_COVERAGE;
      continue;
    }
    if (name === "--report" || name === "--report-all") {
      parsed.report = value || parsed.report || DEFAULT_REPORT;
      parsed.reportAll ||= name === "--report-all";
      continue;
    }
    if (name === "--gdb") {
      parsed.gdb = value;
      parsed.others.push("--filter", value);
      parsed.options.push("--filter", value);
      continue;
    }
    parsed.others.push(...words);
    if (name === "--coverage") parsed.coverage = value ?? DEFAULT_COVERAGE;
    else if (name === COVERAGE_THRESHOLD) parsed.coverageThreshold = value;
    else if (name === "--coverage-raw-data-only") parsed.rawCoverage = true;
    else {
      parsed.options.push(...words);
      if (PERMISSION.test(arg)) parsed.permissions = true;
      if (RESOLUTION.test(arg)) parsed.resolution.push(...words);
    }
  }
  parsed.others.push(...end < 0 ? [] : args.slice(end));
  return parsed;
}

/** Takes comments and trailing commas away, which deno.json may have and JSON may not. */
function withoutComments(text: string): string {
  return text.replace(
    /("(?:[^"\\]|\\.)*")|\/\/[^\n]*|\/\*[\s\S]*?\*\/|,(?=\s*[}\]])/g,
    (_, quoted: string | undefined) => quoted ?? "",
  );
}

/** Whether the nearest configuration has a permission set for tests. */
async function configuresPermissions(cwd: string): Promise<boolean> {
  for (let folder = cwd;; folder = dirname(folder)) {
    for (const name of ["deno.json", "deno.jsonc"]) {
      try {
        const config = JSON.parse(withoutComments(await Deno.readTextFile(join(folder, name))));
        return config.test?.permissions !== undefined;
      } catch (error) {
        // A broken one is for Deno to complain about.
        if (error instanceof SyntaxError) return false;
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
    if (folder === dirname(folder)) return false;
  }
}

/**
 * The permissions for tests when the command line names none: those that deno.json has for them, else all, because
 * guests need memory mappings, the assembler and the device.
 *
 * @param parsed What the command line has.
 * @param cwd Where the search for deno.json begins.
 */
export async function permissionArguments(parsed: TestArguments, cwd: string): Promise<string[]> {
  if (parsed.permissions) return [];
  return await configuresPermissions(cwd) ? ["--permission-set"] : ["--allow-all"];
}
