/** The line of a module on which the comment `; @MARK` stands, for tests of reported positions. */
export function markedLine(moduleUrl: string, mark: string): number {
  const rows = Deno.readTextFileSync(new URL(moduleUrl)).split("\n");
  return rows.findIndex((row) => row.includes(`; @${mark}`)) + 1;
}
