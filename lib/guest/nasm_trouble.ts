import { HostError } from "../ffi/host_error.ts";
import { runTool, type ToolHost, type ToolResult } from "./tool.ts";

/** The first NASM with the `-i`, `%line` and map behaviour that vmexit relies on. */
const MINIMUM_VERSION = { major: 2, minor: 14 } as const;
const VERSION = /^NASM version (\d+)\.(\d+)/m;
const HOW_TO_GET_IT =
  "Install it with `apt-get install nasm` (Debian, Ubuntu), `dnf install nasm` (Fedora) or " +
  "`deno run -A jsr:@vmexit/vmexit/cli setup`";

/** There is no NASM. */
export function nasmMissing(): HostError {
  return new HostError(
    `Cannot assemble: NASM is not there. ${HOW_TO_GET_IT}; or name it in the environment variable VMEXIT_NASM.`,
  );
}

/** Why NASM failed with no word about the source: it is too old, it is not NASM, or it died. */
export function nasmTrouble(failed: ToolResult, host: ToolHost): HostError {
  const output = runTool(host, "nasm", ["-v"])?.stdout ?? "";
  const version = VERSION.exec(output);
  if (version === null) {
    return new HostError(
      `Cannot assemble: ${failed.command} is not NASM (asked for its version it says ` +
        `${JSON.stringify(output.slice(0, 80))}). ${HOW_TO_GET_IT}.`,
    );
  }
  const [major, minor] = [Number(version[1]), Number(version[2])];
  const { major: wantedMajor, minor: wantedMinor } = MINIMUM_VERSION;
  if (major < wantedMajor || (major === wantedMajor && minor < wantedMinor)) {
    return new HostError(
      `Cannot assemble: ${failed.command} is NASM ${major}.${minor}, and ${wantedMajor}.${wantedMinor} or newer ` +
        `is needed. ${HOW_TO_GET_IT}; or name a newer one in the environment variable VMEXIT_NASM.`,
    );
  }
  return new HostError(
    `Cannot assemble: ${failed.command} ended with code ${failed.code} and said: ` +
      (failed.stderr.trim() || "nothing"),
  );
}
