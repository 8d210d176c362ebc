/** Reads a snapshot and writes it to the same file, and prints why it cannot. */

import { Snapshot } from "@vmexit/vmexit";

const [path] = Deno.args;
const snapshot = Snapshot.load(path);
try {
  snapshot.save(path);
} catch (error) {
  console.log((error as Error).message);
}
