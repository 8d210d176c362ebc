import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { cpio } from "../../lib/nested/cpio.ts";
import { debugfsCommands } from "../../lib/nested/job_disk.ts";
import { LineReader, UntilMarker } from "../../lib/nested/streams.ts";
import { NestedError } from "../../lib/nested/nested_error.ts";
import { shellQuote } from "../../lib/nested/job_script.ts";
import { readTar } from "../../lib/nested/tar_reader.ts";

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

Deno.test("debugfs makes the folders on the way once, and quotes names", () => {
  assertEquals(
    debugfsCommands([
      { path: "/script", content: { file: "/tmp/s" } },
      { path: "/a/b c/d", content: { file: '/x "y"' } },
      { path: "/a/b c/e", content: { link: "../d" } },
      { path: "/a/empty" },
    ]),
    [
      'write "/tmp/s" "script"',
      'mkdir "a"',
      'cd "/a"',
      'mkdir "b c"',
      'cd "/a/b c"',
      'write "/x ""y""" "d"',
      'symlink "e" "../d"',
      'cd "/a"',
      'mkdir "empty"',
      'cd "/a/empty"',
    ],
  );
  assertThrows(
    () => debugfsCommands([{ path: "/a\nb", content: { link: "x" } }]),
    NestedError,
    "line break",
  );
});

Deno.test("output ends at the marker however it is cut, and nothing before it is lost or held back", () => {
  const all = encoder.encode("some mamar text MARK");
  for (let first = 0; first <= all.length; first++) {
    for (let second = first; second <= all.length; second++) {
      const until = new UntilMarker("MARK");
      const parts = [all.subarray(0, first), all.subarray(first, second), all.subarray(second)];
      const pushed = parts.map((part) => until.push(part));
      assertEquals(pushed.map(({ bytes }) => decoder.decode(bytes)).join(""), "some mamar text ");
      assertEquals(pushed.some(({ ended }) => ended), true);
    }
  }
  assertEquals(decoder.decode(new UntilMarker("MARK").push(encoder.encode("abc")).bytes), "abc");
});

Deno.test("lines are read whole, however they come", async () => {
  const stream = ReadableStream.from(
    ["one\nt", "wo\r\n", "rest"].map((text) => encoder.encode(text)),
  );
  const reader = new LineReader(stream);
  assertEquals(await reader.next(), "one");
  assertEquals(await reader.next(), "two");
  assertEquals(await reader.next(), undefined);
});

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
