import { findFirmware, type FirmwareFile } from "@vmexit/vmexit/nested";

/**
 * Reads firmware out of the cache.
 *
 * @throws {Error} With the command to type, when it is not there.
 */
export async function firmwareFile(name: FirmwareFile): Promise<Uint8Array<ArrayBuffer>> {
  const path = await findFirmware(name);
  if (path !== undefined) return await Deno.readFile(path);
  throw new Error(
    `Cannot boot ${name}: it has not been fetched. Type: deno run -A lib/cli/main.ts setup --firmware`,
  );
}
