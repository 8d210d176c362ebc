import { assertEquals, assertRejects } from "@std/assert";
import { NestedError } from "../../lib/nested/nested_error.ts";
import { readTar } from "../../lib/nested/tar_reader.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function tarHeader(name: string, size: number, type: string, prefix = ""): Uint8Array {
  const header = new Uint8Array(512);
  header.set(encoder.encode(name), 0);
  header.set(encoder.encode(size.toString(8).padStart(11, "0")), 124);
  header.set(encoder.encode(type), 156);
  header.set(encoder.encode("ustar"), 257);
  header.set(encoder.encode(prefix), 345);
  return header;
}

function block(text: string): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(text.length / 512) * 512);
  bytes.set(encoder.encode(text));
  return bytes;
}

Deno.test("a tar archive gives its files and folders, with long names, and ends at its end mark", async () => {
  const long = "l".repeat(150);
  const parts = [
    tarHeader("folder/", 0, "5"),
    tarHeader("a", 3, "0", "folder"),
    block("abc"),
    tarHeader("././@LongLink", long.length + 1, "L"),
    block(`${long}\0`),
    tarHeader(long.slice(0, 100), 0, "0"),
    tarHeader("link", 0, "2"),
    new Uint8Array(1024),
  ];
  const never = new Promise<Uint8Array>(() => {});
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      controller.enqueue(parts.shift() ?? await never);
    },
  });
  const entries = await Array.fromAsync(readTar(stream));
  assertEquals(entries.map(({ path }) => path), ["folder", "folder/a", long]);
  assertEquals(decoder.decode(entries[1].content), "abc");
  await assertRejects(
    () => Array.fromAsync(readTar(ReadableStream.from([tarHeader("a", 600, "0")]))),
    NestedError,
    "broke off",
  );
});
