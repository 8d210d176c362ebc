import { basename, dirname, join, relative, resolve } from "node:path";
import { NestedError } from "../nested/mod.ts";
import {
  COVERAGE_VARIABLE,
  handOverParts,
  PART_ENDING,
} from "../machine/coverage/coverage_record.ts";
import { countLines, type LineCounts } from "../machine/coverage/lcov.ts";

/** Where `--guest-coverage` writes to when it is not told. */
export const DEFAULT_GUEST_COVERAGE = "lcov.info";

/** The coverage of guests of one run of the tests. */
export class GuestCoverage {
  readonly #file: string;

  /**
   * Begins anew: what an earlier run has left is removed.
   *
   * @param file The file, as typed.
   * @throws {NestedError} When it cannot be written.
   */
  constructor(file: string) {
    this.#file = resolve(file);
    try {
      Deno.mkdirSync(dirname(this.#file), { recursive: true });
      for (const part of this.#parts()) Deno.removeSync(part);
      Deno.writeTextFileSync(this.#file, "");
    } catch (error) {
      throw new NestedError(
        `Cannot write the guests' coverage to ${file}: ${(error as Error).message}`,
      );
    }
  }

  /** The environment of the tests. */
  get environment(): Record<string, string> {
    return { [COVERAGE_VARIABLE]: this.#file };
  }

  /**
   * Brings together what is still in parts, whose processes have not come to their end.
   *
   * @returns What is to be printed.
   * @throws {NestedError} When it cannot be written: the parts are kept.
   */
  finish(): string {
    const parts = this.#parts();
    try {
      const counts = handOverParts(this.#file, parts);
      return summary(counts, this.#file, parts.length);
    } catch (error) {
      const kept = parts.length === 0
        ? ""
        : ` What was recorded is kept in ${this.#file}.*${PART_ENDING}`;
      throw new NestedError(
        `Cannot write the guests' coverage to ${this.#file}: ${(error as Error).message}.${kept}`,
      );
    }
  }

  #parts(): string[] {
    const folder = dirname(this.#file);
    const start = `${basename(this.#file)}.`;
    return [...Deno.readDirSync(folder)]
      .filter(({ name }) => name.startsWith(start) && name.endsWith(PART_ENDING))
      .map(({ name }) => join(folder, name));
  }
}

/** A table of the files: lines executed of lines there are. */
function summary({ files, gaps }: LineCounts, file: string, unfinished: number): string {
  const rows = [...files].map(([path, lines]) => {
    const { reached, total } = countLines(lines);
    const name = relative(Deno.cwd(), path);
    return { name: name.startsWith("..") ? path : name, reached, total };
  }).sort((a, b) => a.name < b.name ? -1 : 1);
  if (rows.length === 0) {
    return "no line of a guest was executed by a machine that has its source" +
      ` (tests read ${COVERAGE_VARIABLE} only with --allow-env)\n`;
  }
  const sum = (key: "reached" | "total") => rows.reduce((all, row) => all + row[key], 0);
  const all = [...rows, { name: "all", reached: sum("reached"), total: sum("total") }];
  const width = Math.max(...all.map(({ name }) => name.length));
  const digits = String(all.at(-1)!.total).length;
  const table = all.map(({ name, reached, total }) => {
    const lines = `${String(reached).padStart(digits)} of ${String(total).padStart(digits)} lines`;
    return `${name.padEnd(width)}  ${lines}  ${(100 * reached / total).toFixed(1).padStart(5)} %\n`;
  });
  const seen = [...gaps].map(([gap, machines]) =>
    `not all was seen in ${machines} machine${machines === 1 ? "" : "s"}: ${gap}\n`
  );
  const lost = unfinished === 0
    ? ""
    : unfinished === 1
    ? "1 test file ended before its time: what its last machine has executed is not in it\n"
    : `${unfinished} test files ended before their time: what their last machines have executed is not in it\n`;
  return `coverage of guests: ${file}\n${table.join("")}${seen.join("")}${lost}`;
}
