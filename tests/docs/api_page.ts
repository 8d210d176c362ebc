import configuration from "../../deno.json" with { type: "json" };

/** Where the page is. */
export const API_PAGE = "docs/api.md";

const root = new URL("../../", import.meta.url);

/** What `deno doc --json` says of a symbol. */
interface Documented {
  readonly name: string;
  readonly declarations: readonly {
    readonly kind: string;
    readonly jsDoc?: { readonly doc?: string };
  }[];
}

const TYPES: ReadonlySet<string> = new Set(["interface", "typeAlias"]);

const WORDS: Readonly<Record<string, string>> = { typeAlias: "type", variable: "constant" };

/** The page of all public names: each entry point's, with the first sentence of what is said of them. */
export async function apiPage(): Promise<string> {
  const sections = await Promise.all(
    Object.entries(configuration.exports).map(async ([entryPoint, file]) => {
      const symbols = await documented(file);
      const values = symbols.filter((each) => !TYPES.has(kindOf(each))).length;
      return [
        `## \`@vmexit/vmexit${entryPoint.slice(1)}\``,
        "",
        `${symbols.length} names, ${values} of them values.`,
        "",
        ...symbols.map((each) =>
          `- \`${each.name}\` (${WORDS[kindOf(each)] ?? kindOf(each)}): ${firstSentence(each)}`
        ),
      ].join("\n");
    }),
  );
  return [
    "# The public names, by entry point",
    "",
    "`deno task docs` writes this page, and a test compares it: a change of what is public is seen in review.",
    "`deno doc` shows each of them whole.",
    "",
    sections.join("\n\n"),
    "",
  ].join("\n");
}

async function documented(file: string): Promise<Documented[]> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--json", file],
    cwd: root,
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  const { nodes } = JSON.parse(new TextDecoder().decode(stdout));
  const [{ symbols }] = Object.values(nodes) as { symbols: Documented[] }[];
  return symbols.sort((one, other) => one.name < other.name ? -1 : 1);
}

function kindOf({ declarations: [{ kind }] }: Documented): string {
  return kind;
}

function firstSentence({ name, declarations }: Documented): string {
  const doc = declarations.find(({ jsDoc }) => jsDoc?.doc !== undefined)?.jsDoc?.doc;
  if (doc === undefined) throw new Error(`${name} says nothing of itself.`);
  const [sentence] = doc.replaceAll(/\s+/g, " ").trim().split(/(?<=(?<!Vol|vs|e\.g|i\.e)[.:;]) /);
  return sentence.replaceAll(/\{@linkcode ([^}|]+)[^}]*\}/g, "`$1`")
    .replace(/[:;]$/, ".");
}
