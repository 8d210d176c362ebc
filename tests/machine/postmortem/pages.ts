import { assertEquals } from "@std/assert";

const ROOT = new URL("../../../", import.meta.url).pathname;

/** The test file's argument that writes the pages anew, as in `deno test -A FILE -- update`. */
const UPDATE = "update";

/** What is not of the guest: where the repository lies, and which KVM this is. */
function withoutHost(page: string): string {
  return page.replaceAll(ROOT, "").replace(/\nKVM is that of an emulated machine .*/, "") + "\n";
}

/**
 * Compares a failure page with the one that is kept in `pages/` under a name.
 *
 * @param file The test file, for the command that writes the page anew.
 */
export function assertPage(name: string, page: string, file: string): void {
  const path = `${import.meta.dirname}/pages/${name}.txt`;
  const received = withoutHost(page);
  if (Deno.args.includes(UPDATE)) return Deno.writeTextFileSync(path, received);
  assertEquals(
    received,
    Deno.readTextFileSync(path),
    `The page is another than pages/${name}.txt. If it is meant so: deno test -A ${
      file.replace(ROOT, "")
    } -- ${UPDATE}`,
  );
}
