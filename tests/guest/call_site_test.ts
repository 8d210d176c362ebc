import { assertEquals } from "@std/assert";
import { asm } from "../../lib/guest/asm.ts";
import { markedLine } from "./marked_line.ts";

Deno.test("an asm literal knows the file and line where its template begins", () => {
  const source = asm`nop ; @begin`;
  assertEquals(source.file, import.meta.filename);
  assertEquals(source.line, markedLine(import.meta.url, "begin"));
});

Deno.test("an asm literal is found wherever it stands", async () => {
  class Guests {
    static field = asm`nop`;
    get getter() {
      return asm`nop`;
    }
  }
  const later = async () => {
    await Promise.resolve();
    return asm`nop`;
  };
  const sources = [Guests.field, new Guests().getter, await later(), [1].map(() => asm`nop`)[0]];
  for (const source of sources) assertEquals(source.file, import.meta.filename);
});

Deno.test("an asm literal is found when the program has turned stack traces off", () => {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    assertEquals(asm`nop`.file, import.meta.filename);
    assertEquals(Error.stackTraceLimit, 0);
  } finally {
    Error.stackTraceLimit = limit;
  }
});
