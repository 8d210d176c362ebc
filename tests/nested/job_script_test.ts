import { assertEquals } from "@std/assert";
import { shellQuote } from "../../lib/nested/job_script.ts";

Deno.test("words survive the shell", () => {
  for (
    const [word, quoted] of [
      ["plain-1.2/x", "plain-1.2/x"],
      ["", "''"],
      ["two words", "'two words'"],
      ["it's", `'it'\\''s'`],
      ["$(rm)", "'$(rm)'"],
    ]
  ) assertEquals(shellQuote(word), quoted);
});
