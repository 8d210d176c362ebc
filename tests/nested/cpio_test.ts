import { assertEquals } from "@std/assert";
import { cpio } from "../../lib/nested/cpio.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

Deno.test("a cpio archive has aligned headers, names and data, and a trailer", () => {
  const archive = cpio([{ path: "bin" }, { path: "bin/sh", content: encoder.encode("12345") }]);
  const text = decoder.decode(archive);
  assertEquals(text.slice(0, 6), "070701");
  assertEquals(text.slice(14, 22), "000041ed"); // a directory with rwxr-xr-x
  assertEquals(archive.length % 4, 0);
  const file = text.indexOf("070701", 6);
  assertEquals(file % 4, 0);
  assertEquals(text.slice(file + 54, file + 62), "00000005");
  assertEquals(text.slice(file + 110, file + 116), "bin/sh");
  assertEquals(text.includes("TRAILER!!!"), true);
});
