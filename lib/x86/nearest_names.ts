const SUGGESTIONS = 3;

/**
 * The names that are spelled most like `name`, nearest first, for messages that refuse an unknown name.
 *
 * @example
 * ```ts
 * import { nearestNames } from "./nearest_names.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(nearestNames("raxx", ["rbx", "rip", "rax", "cr0"], 2), ["rax", "rbx"]);
 * ```
 */
export function nearestNames(
  name: string,
  names: Iterable<string>,
  count: number = SUGGESTIONS,
): string[] {
  return [...names]
    .map((candidate) => ({
      candidate,
      distance: editDistance(name.toLowerCase(), candidate.toLowerCase()),
    }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, count)
    .map(({ candidate }) => candidate);
}

/** Why a name is refused, with the names that it may have meant: the end of such a message. */
export function noneOfThatName(name: string, names: Iterable<string>): string {
  return `there is none of that name; the nearest are ${nearestNames(name, names).join(", ")}`;
}

/** Levenshtein's distance: how many characters to insert, delete or replace. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const replaced = row[j - 1] + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[to.length];
}
