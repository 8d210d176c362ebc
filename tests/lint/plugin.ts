/**
 * The house rules as lint rules: the arrows between the folders of `lib/` and between rooms of one, no circles of files,
 * unsafe calls in `lib/ffi` only, nothing that
 * happens at import, `mod.ts` files without logic, and small files. `deno.json` loads it.
 *
 * @module
 */

import { posix } from "node:path";
import { type Arrows, fileArrows, way } from "./circles.ts";
import { forbiddenImport, libFolder, pathFromRoot } from "./layers.ts";

type Node = Deno.lint.Node;

/** A file that grows past this holds more than one thing. */
const maximumLines = 500;

const plugin: Deno.lint.Plugin = {
  name: "vmexit",
  rules: {
    layers: { create: layers },
    "no-circles": { create: noCircles },
    "unsafe-only-in-ffi": { create: unsafeOnlyInFfi },
    "mod-only-re-exports": { create: modOnlyReExports },
    "nothing-at-import": { create: nothingAtImport },
    "quiet-library": { create: quietLibrary },
    "small-files": { create: smallFiles },
  },
};

export default plugin;

function layers(context: Deno.lint.RuleContext): Deno.lint.LintVisitor {
  const importer = pathFromRoot(context.filename);
  return eachImport((node, source) => {
    const specifier = stringValue(source);
    const reason = specifier === undefined
      ? libFolder(importer) && "an import whose target is computed cannot be checked"
      : forbiddenImport(importer, specifier);
    if (reason) context.report({ node, message: `Cannot import: ${reason}.` });
  });
}

function noCircles(context: Deno.lint.RuleContext): Deno.lint.LintVisitor {
  const importer = pathFromRoot(context.filename);
  if (libFolder(importer) === undefined) return {};
  return eachImport((node, source) => {
    const specifier = stringValue(source);
    if (specifier === undefined || !/^\.{1,2}\//.test(specifier)) return;
    const back = way(arrows(), posix.join(posix.dirname(importer), specifier), importer);
    if (back === undefined) return;
    const circle = [importer, ...back].join(" → ");
    context.report({ node, message: `Cannot import: it closes a circle, ${circle}.` });
  });
}

/** How long the arrows between files are taken to be what they were: an editor keeps the plugin, while files change. */
const ARROWS_MILLISECONDS = 2_000;

let known: { readonly arrows: Arrows; readonly until: number } | undefined;

function arrows(): Arrows {
  if (known === undefined || performance.now() > known.until) {
    known = { arrows: fileArrows(), until: performance.now() + ARROWS_MILLISECONDS };
  }
  return known.arrows;
}

/** Calls `check` for whatever imports in a file, with the node of its source. */
function eachImport(check: (node: Node, source: Node) => void): Deno.lint.LintVisitor {
  return {
    ImportDeclaration(node) {
      check(node, node.source);
    },
    ExportAllDeclaration(node) {
      check(node, node.source);
    },
    ExportNamedDeclaration(node) {
      if (node.source !== null) check(node, node.source);
    },
    ImportExpression(node) {
      check(node, node.source);
    },
    TSImportType(node) {
      check(node, node.argument);
    },
  };
}

/** The value of a node that is a literal string, in quotes or backticks, or a type of one. */
function stringValue(node: Node): string | undefined {
  if (node.type === "TSLiteralType") return stringValue(node.literal);
  if (node.type === "Literal" && typeof node.value === "string") return node.value;
  if (node.type === "TemplateLiteral" && node.expressions.length === 0) {
    return node.quasis[0].cooked;
  }
  return undefined;
}

function unsafeOnlyInFfi(context: Deno.lint.RuleContext): Deno.lint.LintVisitor {
  const path = pathFromRoot(context.filename);
  if (/^(lib|tests)\/ffi\//.test(path)) return {};
  function check(node: Node, name: string | undefined): void {
    if (name === undefined) {
      context.report({
        node,
        message: "Name the member of Deno: a computed one cannot be checked.",
      });
    } else if (/^(dlopen$|Unsafe)/.test(name)) {
      context.report({
        node,
        message: `Deno.${name} is used in lib/ffi only.`,
        hint: "Add what is missing to the Libc interface or to the helpers of lib/ffi.",
      });
    }
  }
  return {
    MemberExpression(node) {
      if (!isDeno(node.object)) return;
      check(node, node.computed ? stringValue(node.property) : nameOf(node.property));
    },
    TSQualifiedName(node) {
      if (isDeno(node.left)) check(node, nameOf(node.right));
    },
    VariableDeclarator(node) {
      if (node.init === null || !isDeno(node.init)) return;
      if (node.id.type !== "ObjectPattern") return check(node, undefined);
      for (const property of node.id.properties) {
        const named = property.type === "Property" && !property.computed;
        check(property, named ? nameOf(property.key) ?? stringValue(property.key) : undefined);
      }
    },
  };
}

function nameOf(node: Node): string | undefined {
  return node.type === "Identifier" ? node.name : undefined;
}

/** Whether the node is `Deno` or `globalThis.Deno`. */
function isDeno(node: Node): boolean {
  if (node.type === "MemberExpression") {
    return nameOf(node.object) === "globalThis" &&
      (nameOf(node.property) ?? stringValue(node.property)) === "Deno";
  }
  return nameOf(node) === "Deno";
}

function modOnlyReExports(context: Deno.lint.RuleContext): Deno.lint.LintVisitor {
  if (!/^(lib\/[^/]+\/)?mod\.ts$/.test(pathFromRoot(context.filename))) return {};
  return {
    Program(program) {
      for (const node of program.body as Node[]) {
        const reExports = node.type === "ExportAllDeclaration" ||
          (node.type === "ExportNamedDeclaration" && node.source !== null);
        if (!reExports) context.report({ node, message: "A mod.ts only re-exports." });
      }
    },
  };
}

function nothingAtImport(context: Deno.lint.RuleContext): Deno.lint.LintVisitor {
  const folder = libFolder(pathFromRoot(context.filename));
  if (folder === undefined || folder === "cli") return {};
  return {
    AwaitExpression(node) {
      const inFunction = context.sourceCode.getAncestors(node).some((ancestor) =>
        /Function|^MethodDefinition$/.test(ancestor.type)
      );
      if (!inFunction) {
        context.report({
          node,
          message: "The library does nothing at import: no top-level await.",
        });
      }
    },
  };
}

function quietLibrary(context: Deno.lint.RuleContext): Deno.lint.LintVisitor {
  const folder = libFolder(pathFromRoot(context.filename));
  if (folder === undefined || folder === "cli") return {};
  return {
    MemberExpression(node) {
      // A warning is for the user whoever called: the library may give one.
      if (nameOf(node.object) !== "console" || nameOf(node.property) === "warn") return;
      context.report({
        node,
        message: "The library does not print: its caller decides what is seen.",
      });
    },
  };
}

function smallFiles(context: Deno.lint.RuleContext): Deno.lint.LintVisitor {
  return {
    Program(node) {
      const lines = context.sourceCode.text.trimEnd().split("\n").length;
      if (lines <= maximumLines) return;
      const message = `The file has ${lines} lines: split it below ${maximumLines + 1}.`;
      context.report({ node, message });
    },
  };
}
