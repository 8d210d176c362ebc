import { assert, assertEquals, assertMatch } from "@std/assert";
import { ABI_PAGE, abiPage } from "./abi_page.ts";

Deno.test("the page about KVM's ABI is what the tables say", () => {
  const page = Deno.readTextFileSync(new URL(`../../${ABI_PAGE}`, import.meta.url));
  assertEquals(page, abiPage(), "run `deno task docs`");
});

Deno.test("the page begins with how much of the ABI there is", () => {
  const [ioctls, exits] = abiPage().split("\n");
  assertEquals(ioctls, "ioctls: 99 of 99 wrapped");
  const counts = /^exits: (\d+) of (\d+) decoded, (\d+) produced by a guest$/.exec(exits);
  assertMatch(exits, /^exits: /);
  const [decoded, all, produced] = counts!.slice(1).map(Number);
  assertEquals(decoded, all);
  assert(produced <= decoded);
});

Deno.test("every test that the page names is there", () => {
  for (const [, file] of abiPage().matchAll(/\]\(\.\.\/(tests\/[^)]+)\)/g)) {
    assert(Deno.statSync(new URL(`../../${file}`, import.meta.url)).isFile, file);
  }
});
