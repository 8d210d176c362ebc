/** Goes on from the snapshot in a file, as another process, and prints what the guest has sent by its end. */

import { expect, Snapshot } from "@vmexit/vmexit";
import { start } from "./file_guest.ts";

using vm = start();
vm.restore(Snapshot.load(Deno.args[0]));
expect(vm).toFault("#UD");
console.log(vm.serial.text);
