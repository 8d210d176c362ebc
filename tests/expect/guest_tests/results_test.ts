import { readTap } from "../../../lib/expect/guest_tests/results.ts";
import { assertEquals } from "@std/assert";

const shown = (text: string) => {
  const { tests, flaw } = readTap(text);
  const list = tests.map(({ name, skipped, failures }) =>
    `${failures.length > 0 ? "FAILED " : skipped === undefined ? "" : "skipped "}${name}`
  );
  return [list, flaw];
};

const cases: readonly (readonly [name: string, text: string, tests: string[], flaw?: string])[] = [
  ["a plan first", "TAP version 13\n1..2\nok 1 - a\nnot ok 2 - b\n", ["a", "FAILED b"]],
  ["a plan last", "ok 1 a\nok 2\n1..2\n", ["a", "test 2"]],
  ["directives", "1..2\nok 1 - a # SKIP no disk\nnot ok 2 - b # TODO later", [
    "skipped a",
    "skipped b",
  ]],
  ["all skipped", "1..0 # SKIP no device\n", ["skipped all tests"]],
  ["other lines", "booting\r\n1..1\r\nnoise\r\nok 1 - a\r\nbye", ["a"]],
  ["a kernel's console", "<6>[    0.1] KTAP version 1\n[    0.2] 1..1\n[    1.25] ok 1 a\n", ["a"]],
  [
    "subtests",
    "KTAP version 1\n1..2\n    KTAP version 1\n    1..2\n    ok 1 x\n    not ok 2 y\nnot ok 1 a\nok 2 b\n",
    ["a › x", "FAILED a › y", "b"],
  ],
  ["a parent that failed by itself", "1..1\n  1..1\n  ok 1 x\nnot ok 1 a\n", [
    "a › x",
    "FAILED a",
  ]],
  [
    "the example of the kernel's documentation (dev-tools/ktap.rst)",
    [
      "KTAP version 1",
      "1..1",
      "  KTAP version 1",
      "  1..3",
      "    KTAP version 1",
      "    1..1",
      "    # test_1: initializing test_1",
      "    ok 1 test_1",
      "  ok 1 example_test_1",
      "    KTAP version 1",
      "    1..2",
      "    ok 1 test_1 # SKIP test_1 skipped",
      "    ok 2 test_2",
      "  ok 2 example_test_2",
      "    KTAP version 1",
      "    1..3",
      "    ok 1 test_1",
      "    # test_2: FAIL",
      "    not ok 2 test_2",
      "    ok 3 test_3 # SKIP test_3 skipped",
      "  not ok 3 example_test_3",
      "not ok 1 main_test",
    ].join("\n"),
    [
      "main_test › example_test_1 › test_1",
      "skipped main_test › example_test_2 › test_1",
      "main_test › example_test_2 › test_2",
      "main_test › example_test_3 › test_1",
      "FAILED main_test › example_test_3 › test_2",
      "skipped main_test › example_test_3 › test_3",
    ],
  ],
  ["what was skipped has not failed", "1..1\nnot ok 1 a # SKIP broken\n", ["FAILED a"]],
  ["a suite without tests", "1..2\n    1..0\nok 1 a\nok 2 b\n", ["a", "b"]],
  ["a console that names its callers", "[    0.1][    T1] 1..1\n[    0.2][    C0] not ok 1 a\n", [
    "FAILED a",
  ]],
  [
    "a line that stands for a test that is missing",
    "1..2\nok 1 a\nok, booting on\n",
    ["a", ", booting on"],
    'some results have a number, and "ok, booting on" is not like them',
  ],
  ["no plan", "ok 1 a\n", ["a"], "there is no plan (1..N): whether these are all is not known"],
  ["fewer than planned", "1..3\nok 1 a\n", ["a"], "3 tests were planned, and 1 have a result"],
  [
    "more than planned",
    "1..1\nok 1 a\nok 2 b\n",
    ["a", "b"],
    "1 tests were planned, and 2 have a result",
  ],
  [
    "numbers out of order",
    "1..2\nok 2 a\nok 1 b\n",
    ["a", "b"],
    "test 2 came in the place of test 1",
  ],
  ["giving up", "1..2\nok 1 a\nBail out! no memory\n", ["a"], "the guest gave up: no memory"],
  ["two plans", "1..1\n1..1\nok 1 a\n", ["a"], "there are two plans"],
  [
    "a subtest without its parent",
    "1..1\nok 1 a\n    1..1\n    ok 1 x\n",
    ["a"],
    "a subtest has no result of its parent behind it",
  ],
  [
    "a subtest's plan that does not fit",
    "1..1\n    1..2\n    ok 1 x\nok 1 a\n",
    ["a › x"],
    "2 tests were planned, and 1 have a result, in a",
  ],
];

Deno.test.each(cases.map(([name, text, tests, flaw]) => ({ name, text, tests, flaw })))(
  "TAP: $name",
  ({ text, tests, flaw }) => assertEquals(shown(text), [tests, flaw]),
);
