import { assertEquals } from "@std/assert";
import { testArguments } from "../../lib/cli/test_arguments.ts";

Deno.test("values of options are not taken for paths", () => {
  const parsed = testArguments([
    "--filter",
    "a b",
    "tests",
    "--fail-fast",
    "-c",
    "other.json",
    "--shard=1/2",
    "x_test.ts",
    "--",
    "--filter",
    "y",
  ]);
  assertEquals(parsed.paths, ["tests", "x_test.ts"]);
  assertEquals(parsed.options, [
    "--filter",
    "a b",
    "--fail-fast",
    "-c",
    "other.json",
    "--shard=1/2",
  ]);
  assertEquals(parsed.rest, ["--filter", "y"]);
  assertEquals(parsed.resolution, ["-c", "other.json"]);
});

Deno.test("what is ours to arrange is taken out of the options", () => {
  for (
    const args of [
      ["--junit-path", "j.xml", "--coverage=cov", "--ignore=a,b", "--coverage-raw-data-only"],
      [
        "--junit-path=j.xml",
        "--coverage=cov",
        "--ignore=a",
        "--ignore=b",
        "--coverage-raw-data-only",
      ],
    ]
  ) {
    const parsed = testArguments(args);
    assertEquals(parsed.options.map((option) => option.split("=")[0]).at(0), "--ignore");
    assertEquals(parsed.others, args.filter((arg) => !/junit|^j\.xml$/.test(arg)));
    assertEquals(parsed.junitPath, "j.xml");
    assertEquals(parsed.coverage, "cov");
    assertEquals(parsed.rawCoverage, true);
  }
  assertEquals(testArguments(["--coverage", "tests"]).coverage, "coverage");
  assertEquals(testArguments(["--coverage", "tests"]).paths, ["tests"]);
});

Deno.test("any permission on the command line is noticed", () => {
  for (const arg of ["-A", "--allow-ffi", "--allow-read=x", "-P", "-P=name", "--deny-net", "-R"]) {
    assertEquals(testArguments([arg]).permissions, true, arg);
    assertEquals(testArguments([arg]).options, [arg]);
  }
  assertEquals(testArguments(["--fail-fast", "--parallel"]).permissions, false);
});

Deno.test("--gdb chooses tests as --filter does, in either way of writing it", () => {
  for (const args of [["--gdb", "boot sector", "tests"], ["--gdb=boot sector", "tests"]]) {
    const { gdb, others, options, paths } = testArguments(args);
    assertEquals({ gdb, others, options, paths }, {
      gdb: "boot sector",
      others: ["--filter", "boot sector", "tests"],
      options: ["--filter", "boot sector"],
      paths: ["tests"],
    });
  }
});

Deno.test("--report names a folder, and --report-all one as well", () => {
  const of = (...args: string[]) => {
    const { report, reportAll, others } = testArguments([...args, "tests"]);
    return { report, reportAll, others };
  };
  const others = ["tests"];
  assertEquals(of(), { report: undefined, reportAll: false, others });
  assertEquals(of("--report"), { report: "vmexit-report", reportAll: false, others });
  assertEquals(of("--report=out"), { report: "out", reportAll: false, others });
  assertEquals(of("--report-all"), { report: "vmexit-report", reportAll: true, others });
  assertEquals(of("--report=out", "--report-all"), { report: "out", reportAll: true, others });
});
