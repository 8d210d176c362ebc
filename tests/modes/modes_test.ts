import { asm, boot, expect, hlt, modes, portOut } from "@vmexit/vmexit";
import { assertEquals, assertThrows } from "@std/assert";

Deno.test.each(modes(["real", "protected", { mode: "long", levels: 5 }]))(
  "one body over several modes: $name",
  ({ options, bits }) => {
    using vm = boot(
      asm`
        %include "../../guests/include/width.inc"
        mov xcx, WORD_SIZE
        mov xax, xcx
        out 0x80, al
        hlt
      `,
      options,
    );
    expect(vm).toExit([portOut(0x80, bits / 8), hlt()]);
  },
);

Deno.test("modes gives each mode a name, its width and its options; without a choice all of them", () => {
  assertEquals(modes(["real", { mode: "long", cpl: 3 }]), [
    { name: "real", mode: "real", bits: 16, options: { mode: "real" } },
    { name: "long, cpl 3", mode: "long", bits: 64, options: { mode: "long", cpl: 3 } },
  ]);
  assertEquals(modes().map(({ mode }) => mode), [
    "real",
    "unreal",
    "protected16",
    "protected",
    "paged",
    "pae",
    "virtual8086",
    "compatibility",
    "long",
  ]);
});

Deno.test("a mode that there is not is refused", () => {
  assertThrows(() => modes(["lng" as "long"]), RangeError, "the nearest are long");
  assertThrows(() => modes([{} as { mode: "real" }]), RangeError, "Cannot run over mode undefined");
});
