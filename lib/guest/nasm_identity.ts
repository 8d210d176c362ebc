import { permitted, permittedEnvironment } from "./cache_folder.ts";
import { toolCommands } from "./tool.ts";

/**
 * Which NASM will assemble: its path, size and time of change. To ask it for its version would cost a run of it.
 * Undefined where that cannot be found out without asking for permissions.
 */
export function nasmIdentity(): string | undefined {
  for (const command of toolCommands("nasm")) {
    for (const path of candidatePaths(command)) {
      const stat = statQuietly(path);
      if (stat?.isFile) return `${path}:${stat.size}:${stat.mtime?.getTime()}`;
    }
  }
  return undefined;
}

function candidatePaths(command: string): string[] {
  if (command.includes("/")) return [command];
  const folders = permittedEnvironment("PATH")?.split(":") ?? [];
  return folders.map((folder) => `${folder}/${command}`);
}

function statQuietly(path: string): Deno.FileInfo | undefined {
  if (!permitted(path, "read")) return undefined;
  try {
    return Deno.statSync(path);
  } catch {
    return undefined;
  }
}
