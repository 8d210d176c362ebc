/** The line of a module on which the comment `; @MARK` stands, for tests of reported positions. */
export function markedLine(moduleUrl: string, mark: string): number {
  const rows = Deno.readTextFileSync(new URL(moduleUrl)).split("\n");
  return rows.findIndex((row) => row.includes(`; @${mark}`)) + 1;
}

/** The place in the first row of an error's stack trace: `file:///x_test.ts:12`. */
export function firstFrame(error: Error): string | undefined {
  return /^\s+at .*?(file:\S+?:\d+):\d+\)?$/m.exec(error.stack ?? "")?.[1];
}
