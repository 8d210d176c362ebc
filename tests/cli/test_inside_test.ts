import { assertEquals } from "@std/assert";
import { filesMeant } from "../../lib/cli/test_inside.ts";

Deno.test("paths, folders and patterns choose test files", () => {
  const files = ["/p/a_test.ts", "/p/t/b_test.ts", "/p/t/c_test.ts", "/p/tt/d_test.ts"];
  const cases: [string[], string[]][] = [
    [[], files],
    [["t"], ["/p/t/b_test.ts", "/p/t/c_test.ts"]],
    [["./t/"], ["/p/t/b_test.ts", "/p/t/c_test.ts"]],
    [["a_test.ts"], ["/p/a_test.ts"]],
    [["t*/**/*_test.ts"], ["/p/t/b_test.ts", "/p/t/c_test.ts", "/p/tt/d_test.ts"]],
    [["none"], []],
  ];
  for (const [paths, expected] of cases) assertEquals(filesMeant(files, paths, "/p"), expected);
});
