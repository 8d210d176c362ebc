import { assertEquals } from "@std/assert";
import { nearestNames } from "../../lib/x86/nearest_names.ts";

const names = ["rax", "eax", "ax", "rflags", "r10", "cr0"];

Deno.test("nearestNames has the name that differs least in front, in whatever case", () => {
  assertEquals(nearestNames("rflag", names)[0], "rflags");
  assertEquals(nearestNames("RAX", names)[0], "rax");
  assertEquals(nearestNames("rac", names)[0], "rax");
  assertEquals(nearestNames("r11", names)[0], "r10");
  assertEquals(nearestNames("cr2", ["cs", "cr4"])[0], "cr4");
  assertEquals(nearestNames("ab", ["abxx", "ba"])[0], "abxx");
});

Deno.test("nearestNames gives as many as asked for, or all there are", () => {
  assertEquals(nearestNames("ax", names, 2), ["ax", "rax"]);
  assertEquals(nearestNames("ax", ["rax"]), ["rax"]);
  assertEquals(nearestNames("", ["b", "aaa"]), ["b", "aaa"]);
});
