import { assertEquals } from "@std/assert";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** The pages that people read, from the root. */
function pages(folder = root): string[] {
  return [...Deno.readDirSync(folder)].flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory) return /^(\.|node_modules|cov)/.test(entry.name) ? [] : pages(path);
    return entry.name.endsWith(".md") ? [relative(root, path)] : [];
  });
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

for (const page of pages()) {
  Deno.test(`${page} points at what is there`, () => {
    const text = Deno.readTextFileSync(join(root, page));
    const links = [...text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map(([, target]) => target)
      .filter((target) => !/^\w+:/.test(target))
      .map((target) => join(root, dirname(page), target));
    // Names of files and folders of the repository in code: `lib/ffi/pages.ts`.
    const named = [...text.matchAll(/`((?:lib|tests|bench|docs|guests)\/[\w./-]*\w)`/g)]
      .map(([, path]) => join(root, path));
    const missing = [...links, ...named].filter((path) => !exists(path));
    assertEquals(missing.map((path) => relative(root, path)), []);
  });
}

Deno.test("the README is short enough to be read", () => {
  const lines = Deno.readTextFileSync(join(root, "README.md")).trimEnd().split("\n");
  assertEquals(lines.length <= 250, true, `it has ${lines.length} lines`);
});
