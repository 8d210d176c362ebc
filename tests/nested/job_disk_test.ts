import { assertEquals, assertThrows } from "@std/assert";
import { debugfsCommands } from "../../lib/nested/job_disk.ts";
import { NestedError } from "../../lib/nested/nested_error.ts";

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
