/**
 * Which files of `lib/` import each other in circles, and which rooms of a folder do. Types count: a reader follows an
 * arrow whatever it brings.
 *
 *     deno run -R tests/lint/circles.ts
 *
 * @module
 */

import { posix } from "node:path";
import { pathFromRoot, roomOf } from "./layers.ts";

/** Who imports whom. */
export type Arrows = ReadonlyMap<string, ReadonlySet<string>>;

/** What a file's source imports by a path. Lines of comments, which hold examples, are none of it. */
const SPECIFIER =
  /^(?!\s*(?:\*|\/\/)).*?\b(?:from|import)\b\s*\(?\s*["'`](\.{1,2}\/[^"'`]+)["'`]/gm;

const root = posix.resolve(import.meta.dirname!, "../..");

/** The files under `lib/`, by their paths from the root of the repository, each with those that it imports. */
export function fileArrows(): Arrows {
  const arrows = new Map<string, Set<string>>();
  for (const path of typeScriptFiles("lib")) {
    arrows.set(path, importsOf(path, Deno.readTextFileSync(posix.join(root, path))));
  }
  return arrows;
}

/** The files that `source`, standing at `path`, imports. */
export function importsOf(path: string, source: string): Set<string> {
  return new Set(
    Array.from(
      source.matchAll(SPECIFIER),
      ([, specifier]) => posix.join(posix.dirname(path), specifier),
    ),
  );
}

/** The rooms of a folder, each with those whose files its own import. See {@linkcode roomOf}. */
export function roomArrows(folder: string, files: Arrows): Arrows {
  const arrows = new Map<string, Set<string>>();
  for (const [importer, imported] of files) {
    const from = roomOf(folder, importer);
    if (from === undefined) continue;
    const targets = arrows.get(from) ?? new Set();
    arrows.set(from, targets);
    for (const each of imported) {
      const to = roomOf(folder, each);
      if (to !== undefined && to !== from) targets.add(to);
    }
  }
  return arrows;
}

/** The groups whose members all reach each other, each in alphabetical order (Tarjan's algorithm). */
export function circles(arrows: Arrows): string[][] {
  const index = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  /** The lowest index that a node reaches among those that are still on the stack. */
  function lowest(node: string): number {
    const own = index.size;
    index.set(node, own);
    stack.push(node);
    let low = own;
    for (const next of arrows.get(node) ?? []) {
      if (!index.has(next)) low = Math.min(low, lowest(next));
      else if (stack.includes(next)) low = Math.min(low, index.get(next)!);
    }
    if (low < own) return low;
    const group = stack.splice(stack.indexOf(node));
    if (group.length > 1 || arrows.get(node)?.has(node)) found.push(group.sort());
    return own;
  }
  for (const node of arrows.keys()) if (!index.has(node)) lowest(node);
  return found;
}

/** A way along the arrows from one node to another, both included; undefined where there is none. */
export function way(arrows: Arrows, from: string, to: string): string[] | undefined {
  const before = new Map<string, string | undefined>([[from, undefined]]);
  const queue = [from];
  for (const node of queue) {
    if (node === to) {
      const path: string[] = [];
      for (let at: string | undefined = to; at !== undefined; at = before.get(at)) path.unshift(at);
      return path;
    }
    for (const next of arrows.get(node) ?? []) {
      if (before.has(next)) continue;
      before.set(next, node);
      queue.push(next);
    }
  }
  return undefined;
}

function* typeScriptFiles(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(posix.join(root, folder))) {
    const path = `${folder}/${name}`;
    if (isDirectory) yield* typeScriptFiles(path);
    else if (name.endsWith(".ts")) yield pathFromRoot(path);
  }
}

if (import.meta.main) {
  const files = fileArrows();
  const folders = [...new Set(Array.from(files.keys(), (path) => path.split("/")[1]))].sort();
  report("files of lib", files);
  for (const folder of folders) {
    report(`rooms of lib/${folder}`, roomArrows(`lib/${folder}`, files));
  }
}

function report(what: string, arrows: Arrows): void {
  const found = circles(arrows);
  console.log(`${what}: ${arrows.size}, in circles: ${found.flat().length}`);
  for (const group of found) {
    console.log(`  ${group.length} in one circle`);
    for (const node of group) {
      const inside = [...arrows.get(node)!].filter((each) => group.includes(each));
      console.log(`    ${node} → ${inside.join(", ")}`);
    }
  }
}
