import { HostError } from "../../ffi/errors.ts";
import { permitted, permittedEnvironment } from "../../guest/cache_folder.ts";
import { writeWhole } from "../../guest/write_whole.ts";
import type { Coverage } from "./coverage.ts";
import { addCount, addGap, formatLcov, type LineCounts, noCounts, readLcov } from "./lcov.ts";

/** The file in which all machines' coverage comes together. */
export const COVERAGE_VARIABLE = "VMEXIT_GUEST_COVERAGE";

/** What the names of files end with that a process keeps until it hands its coverage over. */
export const PART_ENDING = ".part";

/** What one machine has executed, as a part has it: a row of JSON. */
interface PartRow {
  /** By file, the lines that are instructions. */
  readonly lines: Readonly<Record<string, readonly number[]>>;
  /** By file, those of them that were executed. */
  readonly reached: Readonly<Record<string, readonly number[]>>;
  /** Why something was not seen. */
  readonly gaps: readonly string[];
}

/** The file that coverage is recorded in: what `VMEXIT_GUEST_COVERAGE` names. Undefined where it names none. */
export function coverageFile(): string | undefined {
  return permittedEnvironment(COVERAGE_VARIABLE);
}

/**
 * What this module's machines execute: a row for each in a file of its own beside the one that is to be, so that it is
 * there when the process is killed; brought together with those of others at the end.
 */
class CoverageRecord {
  readonly #file: string;
  readonly #part: string;
  /** Those whose machines live. */
  readonly #running = new Set<Coverage>();

  constructor(file: string) {
    this.#file = file;
    this.#part = `${file}.${Deno.pid}.${crypto.randomUUID()}${PART_ENDING}`;
    for (const path of [file, this.#part]) {
      if (permitted(path, "write") && permitted(path, "read")) continue;
      throw new HostError(
        `Cannot record the guests' coverage in ${file}: reading and writing there is not permitted. Give ` +
          `--allow-read and --allow-write, or unset ${COVERAGE_VARIABLE}.`,
      );
    }
    this.#append("");
    addEventListener("unload", () => this.#handOver());
  }

  begin(coverage: Coverage): void {
    this.#running.add(coverage);
  }

  end(coverage: Coverage): void {
    if (!this.#running.delete(coverage)) return;
    this.#append(`${JSON.stringify(rowOf(coverage))}\n`);
  }

  #append(text: string): void {
    try {
      Deno.writeTextFileSync(this.#part, text, { append: true });
    } catch (error) {
      throw new HostError(
        `Cannot record the guests' coverage in ${this.#part}: ${(error as Error).message}`,
        { cause: error },
      );
    }
  }

  #handOver(): void {
    for (const coverage of [...this.#running]) this.end(coverage);
    handOverParts(this.#file, [this.#part]);
  }
}

let record: CoverageRecord | undefined;

/** Notes that a machine's coverage is to be recorded, where any is. @throws {HostError} When it cannot be written. */
export function beginRecord(coverage: Coverage): void {
  const file = coverageFile();
  if (file === undefined) return;
  record ??= new CoverageRecord(file);
  record.begin(coverage);
}

/** Writes down what a machine has executed. @throws {HostError} When it cannot be written. */
export function endRecord(coverage: Coverage): void {
  record?.end(coverage);
}

function rowOf({ lines, gaps }: Coverage): PartRow {
  const all: Record<string, Set<number>> = {};
  const reached: Record<string, Set<number>> = {};
  for (const { callers, isReached, ...own } of lines) {
    for (const { file, line } of [own, ...callers]) {
      // What a module has that is no local file is nowhere that a report could show.
      if (!file.startsWith("/")) continue;
      (all[file] ??= new Set()).add(line);
      if (isReached) (reached[file] ??= new Set()).add(line);
    }
  }
  const asLists = (sets: Record<string, Set<number>>) =>
    Object.fromEntries(Object.entries(sets).map(([file, set]) => [file, [...set]]));
  return { lines: asLists(all), reached: asLists(reached), gaps };
}

/** Adds what a part has. A row that is cut short, by a full disk or a killed process, is left out. */
function readPart(text: string, counts: LineCounts): void {
  for (const row of text.split("\n").slice(0, -1)) {
    const { lines, reached, gaps } = JSON.parse(row) as PartRow;
    for (const gap of gaps) addGap(counts, gap, 1);
    for (const [file, numbers] of Object.entries(lines)) {
      const executed = new Set(reached[file] ?? []);
      for (const line of numbers) addCount(counts, file, line, executed.has(line) ? 1 : 0);
    }
  }
}

/**
 * Adds parts to the file, and removes them. Whoever does so at the same time waits: the file is locked, and replaced as a
 * whole.
 *
 * @returns What the file has then.
 */
export function handOverParts(file: string, parts: readonly string[]): LineCounts {
  using locked = lock(file);
  const counts = noCounts();
  readLcov(Deno.readTextFileSync(locked.path), counts);
  for (const part of parts) readPart(Deno.readTextFileSync(part), counts);
  writeWhole(file, formatLcov(counts));
  for (const part of parts) Deno.removeSync(part);
  return counts;
}

/** Locks a file, which may be replaced while that is waited for. */
function lock(path: string): Disposable & { readonly path: string } {
  for (;;) {
    const file = Deno.openSync(path, { read: true, write: true, create: true });
    try {
      file.lockSync(true);
      const found = Deno.statSync(path);
      if (found.ino === file.statSync().ino) {
        return { path, [Symbol.dispose]: () => file.close() };
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) {
        file.close();
        throw error;
      }
    }
    file.close();
  }
}
