import { join, matchesGlob, relative, resolve } from "node:path";

/** What `deno test` takes for a test file in a folder (its manual, "Running tests"). */
const TEST_FILE = /(^|[._])test\.(ts|tsx|mts|js|mjs|jsx)$/;
const TEST_FOLDER = "__tests__";
const MODULE = /\.(ts|tsx|mts|js|mjs|jsx)$/;
const DOCUMENT = /\.md$/;

/** Folders that hold no tests of the project. */
const SKIPPED_FOLDERS: ReadonlySet<string> = new Set([".git", "node_modules", "vendor"]);

/**
 * The modules below a folder that `deno test` may load: all test files, or, for its doc tests, all modules.
 *
 * @param folder where to look
 * @param all whether to name every module
 * @returns absolute paths, sorted
 */
export async function testFiles(folder: string, all = false): Promise<string[]> {
  const found: string[] = [];
  const visit = async (path: string, inTestFolder: boolean): Promise<void> => {
    for await (const { name, isDirectory, isFile } of Deno.readDir(path)) {
      const child = join(path, name);
      if (isDirectory && !SKIPPED_FOLDERS.has(name)) {
        await visit(child, inTestFolder || name === TEST_FOLDER);
      } else if (isFile && MODULE.test(name) && (all || inTestFolder || TEST_FILE.test(name))) {
        found.push(child);
      }
    }
  };
  await visit(folder, false);
  return found.sort();
}

/**
 * The files that paths, folders and patterns on a command line mean.
 *
 * @param files candidates, absolute
 * @param paths as typed; without any, all files are meant
 * @param cwd what they are relative to
 */
export function filesMeant(
  files: readonly string[],
  paths: readonly string[],
  cwd: string,
): string[] {
  if (paths.length === 0) return [...files];
  return files.filter((file) =>
    paths.some((path) => {
      const meant = resolve(cwd, path);
      return file === meant || file.startsWith(`${meant}/`) ||
        matchesGlob(relative(cwd, file), path.replace(/^\.\//, ""));
    })
  );
}

/** Paths on the command line that name one module or document, whether or not it looks like a test. */
export function namedFiles(paths: readonly string[], cwd: string): string[] {
  return paths.filter((path) => MODULE.test(path) || DOCUMENT.test(path)).map((path) =>
    resolve(cwd, path)
  );
}
