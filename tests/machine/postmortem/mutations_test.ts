import { assert, assertEquals } from "@std/assert";
import { requires } from "@vmexit/vmexit";
import { SplitMix32 } from "../../../lib/x86/split_mix.ts";
import { checkGuests, ends } from "./mutations/end_of.ts";
import { isNamed, mutate, mutated } from "./mutations/mutation.ts";

const SOURCE = "bits 16\n    mov ax, 1\n    hlt\ngdt:\n    dq 0\n";

Deno.test("a mutation changes one line: an instruction is dropped, or a bit of an entry turned", () => {
  const seen = new Set<string>();
  const random = new SplitMix32(1);
  for (let count = 0; count < 40; count++) {
    const mutation = mutate(SOURCE, random);
    const lines = mutated(SOURCE, mutation).split("\n");
    const changed = SOURCE.split("\n").flatMap((line, index) =>
      line === lines[index] ? [] : [index + 1]
    );
    assertEquals(changed, [mutation.line]);
    seen.add(mutation.what.replace(/\d+/, "n"));
  }
  assertEquals([...seen].sort(), ["bit n turned: dq 0", "dropped: hlt", "dropped: mov ax, n"]);
});

Deno.test("isNamed: by the line, by one beside what was dropped, by what it would have written; by nothing else", () => {
  const turned = { line: 40, was: "dq 1", is: "    dq 3", what: "" };
  assert(isNamed("GDT[1] at 0x7c40, gdt+0x8 (boot.asm:40)", "boot.asm", turned));
  assert(isNamed("  → 40 │ dq 3", "boot.asm", turned));
  assert(!isNamed("(boot.asm:41) and (other.asm:40), 0x40", "boot.asm", turned));
  const dropped = { line: 9, was: "lidt [idtr]", is: "", what: "" };
  assert(isNamed("(boot.asm:11)", "boot.asm", dropped));
  assert(!isNamed("(boot.asm:12)", "boot.asm", dropped));
  assert(isNamed("IDTR (base 0x0, limit 0x3ff) is as it was at boot", "boot.asm", dropped));
  const register = { ...dropped, was: "mov ecx, 0xc0000080" };
  assert(isNamed("RCX (0x0) is as it was\n      at boot", "boot.asm", register));
  assert(!isNamed("RCX (0x0) was last written by `rdmsr`", "boot.asm", register));
});

Deno.test(
  requires({ singleStep: true }, "mutated boot code ends in a page that names what was changed"),
  () => {
    checkGuests();
    const found = [...ends(12, 12)];
    const missed = found.filter(({ how }) => how === "missed");
    const named = found.filter(({ how }) => how === "named");
    assert(named.length >= 4, `only ${named.length} fail with a page that names the change`);
    assert(
      missed.length <= 1,
      missed.map(({ guest, mutation, page }) => `${guest}: ${mutation.what}\n${page}`).join("\n\n"),
    );
  },
);
