import { preprocess } from "./c_compiler.ts";

const INCLUDE = "#include <linux/kvm.h>\n";

/** The names of the header's macros that stand for values: `KVM_…`, `GUEST_MEMFD_…`. */
export async function headerMacros(): Promise<string[]> {
  const macros = await preprocess(INCLUDE, ["-dM"]);
  return Array.from(macros.matchAll(/^#define ((?:KVM|GUEST_MEMFD)_\w+) \S/gm), ([, name]) => name);
}

/** Every structure that the header defines, with the C paths of all that is in it: `"kvm_run"` → `"io.port"`, … */
export async function headerStructs(): Promise<Map<string, string[]>> {
  const text = await preprocess(INCLUDE);
  const tokens = text.match(/\w+|[{}[\];,:*()]/g) ?? [];
  const structs = new Map<string, string[]>();
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] !== "struct" || !tokens[i + 1].startsWith("kvm_") || tokens[i + 2] !== "{") {
      continue;
    }
    structs.set(tokens[i + 1], members(tokens, i + 3).paths);
  }
  return structs;
}

/** The members from `start`, just behind a `{`, to its `}`. */
function members(tokens: readonly string[], start: number): { paths: string[]; next: number } {
  const paths: string[] = [];
  let i = start;
  while (tokens[i] !== "}") {
    let inner: string[] = [];
    let last = "";
    for (; tokens[i] !== ";"; i++) {
      const token = tokens[i];
      if (token === "{") {
        const body = members(tokens, i + 1);
        inner = body.paths;
        i = body.next;
        last = "";
      } else if (token === "[") {
        inner = inner.map((path) => path.startsWith("[0]") ? path : `[0].${path}`);
        while (tokens[i] !== "]") i++;
      } else if (token === ":") i++;
      else if (token === ",") paths.push(last);
      else last = token;
    }
    i++;
    paths.push(...named(last, inner));
  }
  return { paths, next: i };
}

/** A member's own path and those inside it. An anonymous one has only those; the empty ones before flexible arrays none. */
function named(name: string, inner: readonly string[]): string[] {
  if (name === "") return [...inner];
  if (name.startsWith("__empty_")) return [];
  return [name, ...inner.map((path) => `${name}${path.startsWith("[") ? "" : "."}${path}`)];
}
