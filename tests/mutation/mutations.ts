/** A fault that can be put into a source file: `source.slice(start, end)` becomes `replacement`. */
export interface Mutation {
  readonly start: number;
  readonly end: number;
  readonly replacement: string;
  /** What it does, in words: `"< becomes <="`. */
  readonly what: string;
}

type Node = Deno.lint.Node;

const OPERATORS: Readonly<Record<string, string>> = {
  "<": "<=",
  "<=": "<",
  ">": ">=",
  ">=": ">",
  "===": "!==",
  "!==": "===",
  "+": "-",
  "-": "+",
  "*": "/",
  "/": "*",
  "%": "*",
  "&": "|",
  "|": "&",
  "^": "&",
  "<<": ">>",
  ">>": "<<",
  ">>>": "<<",
  "&&": "||",
  "||": "&&",
};

/**
 * All mutations of a source file, in the order of their places: operators, conditions, numbers, truth values, and
 * statements that are left out. Texts of errors are left alone: whether each word of them is tested tells nothing.
 */
export function mutationsOf(path: string, source: string): Mutation[] {
  const found: Mutation[] = [];
  const add = (start: number, end: number, replacement: string, what: string) =>
    found.push({ start, end, replacement, what });

  function operator(node: Deno.lint.BinaryExpression | Deno.lint.LogicalExpression): void {
    if ([node.left, node.right].some(isText)) return;
    const { operator } = node;
    const start = source.indexOf(operator, node.left.range[1]);
    const end = start + operator.length;
    if (start < 0 || end > node.right.range[0]) return;
    if (operator === "??") {
      add(start, node.right.range[1], "", "?? and its right side are left out");
    }
    const replacement = OPERATORS[operator];
    if (replacement === undefined) return;
    add(start, end, replacement, `${operator} becomes ${replacement}`);
  }

  function condition(node: Deno.lint.IfStatement | Deno.lint.ConditionalExpression): void {
    const [start, end] = node.test.range;
    add(start, end, `!(${source.slice(start, end)})`, "the condition is negated");
  }

  const plugin: Deno.lint.Plugin = {
    name: "mutation",
    rules: {
      mutation: {
        create: (context) => {
          /** Visits the node unless it is part of an error's text or of a type. */
          const visit = <N extends Node>(each: (node: N) => void) => (node: N) => {
            const isLeftAlone = context.sourceCode.getAncestors(node).some(({ type }) =>
              type === "ThrowStatement" || type.startsWith("TS") && type !== "TSAsExpression" &&
                type !== "TSNonNullExpression" && type !== "TSSatisfiesExpression"
            );
            if (!isLeftAlone) each(node);
          };
          return {
            BinaryExpression: visit(operator),
            LogicalExpression: visit(operator),
            IfStatement: visit(condition),
            ConditionalExpression: visit(condition),
            Literal: visit<Deno.lint.Literal>((node) => {
              const [start, end] = node.range;
              const { value } = node;
              if (typeof value === "boolean") {
                add(start, end, `${!value}`, `${value} becomes ${!value}`);
              } else if (typeof value === "number") {
                add(start, end, `${value + 1}`, `${source.slice(start, end)} becomes ${value + 1}`);
              }
            }),
            ExpressionStatement: visit<Deno.lint.ExpressionStatement>((node) => {
              const { expression: { type } } = node;
              if (!/^(Call|Assignment|Update)Expression$/.test(type)) return;
              const [start, end] = node.range;
              if (/^super\b/.test(source.slice(start, end))) return;
              add(start, end, "{}", "the statement is left out");
            }),
          };
        },
      },
    },
  };
  Deno.lint.runPlugin(plugin, path, source);
  return found.sort((one, other) => one.start - other.start);
}

/** Whether a side of `+` joins texts. */
function isText(node: Node): boolean {
  return node.type === "TemplateLiteral" ||
    (node.type === "Literal" && typeof node.value === "string") ||
    (node.type === "BinaryExpression" && [node.left, node.right].some(isText));
}

/** The source with the fault in it. */
export function mutate(source: string, { start, end, replacement }: Mutation): string {
  return source.slice(0, start) + replacement + source.slice(end);
}
