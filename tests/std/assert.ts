/**
 * The typed doorway to the standard library's assertions: npm's `deno-std` carries them as JavaScript without types,
 * `assert.d.ts` beside this file adds the types. Moving to `jsr:@std/assert` is one line of the import map.
 *
 * @module
 */

// @ts-types="./assert.d.ts"
export * from "deno-std/assert/mod.js";
